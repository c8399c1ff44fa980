//! What there is to train with.

use super::Finding;
use crate::agent::SiteConfig;
use crate::data;
use crate::failure::{Class, Failure};

/// What is found under the patterns, and whether the first file of each archive can be read.
pub(super) fn findings(config: &SiteConfig) -> Vec<Finding> {
    match data::survey(&config.data) {
        Ok(surveys) => {
            let mut findings = Vec::new();
            for found in surveys {
                let (refused, odd) = (listed(&found.headers.refused), listed(&found.headers.odd));
                findings.push(survey(found));
                findings.extend(refused.map(|words| {
                    let words = format!("headers of files that cannot be used: {words}");
                    Finding::warning("data", words, "these cases will be skipped; mend their files or leave them out")
                }));
                findings.extend(odd.map(|words| {
                    let words = format!("headers of files that are odd: {words}");
                    Finding::warning(
                        "data",
                        words,
                        "see \"What is read\" in docs/DATA.md, and compare with your viewer",
                    )
                }));
            }
            findings
        }
        Err(error) => vec![Finding::bad("data", error.into())],
    }
}

/// How many cases are named.
const NAMED: usize = 5;

/// Cases and what is said of them, the first few; `None` where there are none.
fn listed(cases: &[data::Remark]) -> Option<String> {
    let (first, rest) = cases.split_at(cases.len().min(NAMED));
    let mut words: Vec<String> = first.iter().map(|remark| format!("{}: {}", remark.case, remark.words)).collect();
    if !rest.is_empty() {
        words.push(format!("and {} more", rest.len()));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn survey(found: data::Survey) -> Finding {
    let sequences: Vec<String> = found.sequences.iter().map(|(name, cases)| format!("{name} {cases}")).collect();
    let name = found.archive.map(|name| format!("{name}: ")).unwrap_or_default();
    let words = format!(
        "{name}{} cases ({}), {} with a reference, {} that cannot be used",
        found.cases,
        sequences.join(", "),
        found.labelled,
        found.unusable
    );
    match found.first {
        Some(Err(error)) => {
            Finding::bad("data", Failure::new(Class::Data, format!("{words}; the first file: {error}")))
        }
        _ if found.labelled == 0 => Finding::bad(
            "data",
            Failure::new(Class::Data, words).hint(
                "data.label and data.lesion_labels say where lesions are marked; without them no case can be used",
            ),
        ),
        _ => Finding::good("data", words),
    }
}
