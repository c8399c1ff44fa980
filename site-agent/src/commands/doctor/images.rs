//! What there is to train with.

use super::Finding;
use crate::agent::SiteConfig;
use crate::data::{self, Row, Survey};
use crate::progress_bar::ProgressBar;
use crate::train::on_own_thread;
use program::{Class, Failure};
use protocol::settings::Federation;

/// What is found under the patterns, and what is wrong with any case: all of them are read.
pub(super) fn findings(config: &SiteConfig, federation: Option<Federation>) -> Vec<Finding> {
    let archives = config.data.clone();
    let work = config.work_folder.clone();
    let checked = federation.is_some();
    let input = federation.map(|federation| federation.input);
    let reading = on_own_thread(config.threads, move || {
        let mut meter = None;
        data::survey(
            &archives,
            input.as_ref(),
            Some(&work),
            &mut |done, total| {
                meter
                    .get_or_insert_with(|| ProgressBar::new("cases looked at", total))
                    .at(done);
            },
        )
    });
    let reading = match reading {
        Ok(reading) => reading,
        Err(error) => return vec![Finding::bad("data", Failure::new(Class::Internal, error))],
    };
    match reading.join() {
        Ok(Ok(found)) => {
            let planes = planes(&found, checked);
            let mut findings = vec![finding(found)];
            findings.extend(planes);
            findings
        }
        Ok(Err(error)) => vec![Finding::bad("data", error.into())],
        Err(_) => vec![Finding::bad(
            "data",
            Failure::new(Class::Internal, "the cases could not be looked at"),
        )],
    }
}

/// How large the brains are, next to the federation's planes.
fn planes(found: &Survey, checked: bool) -> Option<Finding> {
    let brain = found.largest_brain?;
    let words = format!(
        "brains are up to {} x {} pixels, {:.0} x {:.0} mm, in plane; {}",
        brain.pixels[0],
        brain.pixels[1],
        brain.mm[0],
        brain.mm[1],
        if checked {
            "those that do not fit the federation's planes are in the table of the data"
        } else {
            "whether they fit the federation's planes was not looked at: --federation FILE, the \
             coordinator's settings, does"
        }
    );
    Some(Finding::good("planes", words))
}

fn finding(found: Survey) -> Finding {
    let held: Vec<String> = found
        .sequences
        .iter()
        .map(|(name, cases)| format!("{name} {cases}"))
        .collect();
    let mut words = format!(
        "{} cases ({}), {} that can be used, of {} patients",
        found.cases,
        held.join(", "),
        found.usable,
        found.patients
    );
    if !found.ignored.is_empty() {
        words += &format!(
            "; {} left behind by other programs and ignored",
            found.ignored.len()
        );
    }
    let finding = if found.usable == 0 || !found.labelled {
        let hint = "data.label and data.lesion_labels say where lesions are marked; without them \
                    no case can be used";
        let hint = if found.labelled {
            "the table below says why"
        } else {
            hint
        };
        Finding::bad("data", Failure::new(Class::Data, words).hint(hint))
    } else if found.rows.is_empty() {
        Finding::good("data", words)
    } else {
        Finding::warning("data", words, "the table below says what to do")
    };
    Finding {
        cases: found.rows,
        ..finding
    }
}

/// The table: case, what, how bad, what to do.
pub(super) fn table(rows: &[Row]) -> String {
    let wide = |longest: usize, text: &str| longest.max(text.chars().count());
    let case = rows
        .iter()
        .fold(4, |longest, row| wide(longest, &row.case))
        .min(40);
    let mut text = format!("\n      {:case$}  {:10}  what", "case", "how bad");
    for row in rows {
        // A name may hold anything that a file system allows.
        let name: String = row
            .case
            .chars()
            .map(|letter| if letter.is_control() { '?' } else { letter })
            .collect();
        text += &format!(
            "\n      {name:case$}  {:10}  {}\n      {:case$}  {:10}  -> {}",
            row.how_bad, row.what, "", "", row.remedy
        );
    }
    text
}
