//! What there is to train with.

use super::Finding;
use crate::agent::SiteConfig;
use crate::data::{self, Row, Survey};
use crate::progress_bar::ProgressBar;
use crate::train::on_own_thread;
use program::{Class, Failure};

/// What is found under the patterns, and what is wrong with any case: all of them are read.
pub(super) fn findings(config: &SiteConfig) -> Vec<Finding> {
    let archives = config.data.clone();
    let reading = on_own_thread(config.threads, move || {
        let mut meter = None;
        data::survey(&archives, &mut |done, total| {
            meter
                .get_or_insert_with(|| ProgressBar::new("cases looked at", total))
                .at(done);
        })
    });
    let reading = match reading {
        Ok(reading) => reading,
        Err(error) => return vec![Finding::bad("data", Failure::new(Class::Internal, error))],
    };
    match reading.join() {
        Ok(Ok(found)) => vec![finding(found)],
        Ok(Err(error)) => vec![Finding::bad("data", error.into())],
        Err(_) => vec![Finding::bad(
            "data",
            Failure::new(Class::Internal, "the cases could not be looked at"),
        )],
    }
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
        let hint = "data.label and data.lesion_labels say where lesions are marked; without them no case can be used";
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
