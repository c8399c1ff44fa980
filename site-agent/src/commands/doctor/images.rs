//! What there is to train with.

use super::Finding;
use crate::agent::SiteConfig;
use crate::data;
use program::{Class, Failure};

/// What is found under the patterns, and whether the first file of each archive can be read.
pub(super) fn findings(config: &SiteConfig) -> Vec<Finding> {
    match data::survey(&config.data) {
        Ok(surveys) => surveys.into_iter().map(survey).collect(),
        Err(error) => vec![Finding::bad("data", error.into())],
    }
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
