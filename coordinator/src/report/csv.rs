//! The report's numbers as tables for spreadsheets and other programs: the curves of training, and
//! a row for each patient. An undefined value is empty.

use super::case_metrics::{CaseMetrics, at, hold_lesions, value};
use metrics::case_metrics::METRICS;
use metrics::score::CaseScore;
use metrics::sequence::SequenceSet;
use program::csv::cell;
use protocol::identity::SiteName;
use protocol::outcome::{Outcome, RoundRecord, RunOutcome, SiteScores, UpdateRecord};
use std::collections::BTreeSet;
use std::fmt::Display;

/// For the rows about all sites together.
const ALL: &str = "all";

/// A row for each round, and for each site in it.
pub(super) fn curves(outcome: &Outcome) -> String {
    let mut text = "run,round,site,validation_dice,held_out_dice,seconds,bytes,missing,mean_loss,\
                    last_loss,slices,steps,asked_steps\n"
        .to_owned();
    for run in &outcome.runs {
        for round in &run.rounds {
            add_row(&mut text, &all_sites(run, round));
            for site in sites_of(round) {
                add_row(&mut text, &one_site(run, round, site));
            }
        }
    }
    text
}

fn all_sites(run: &RunOutcome, round: &RoundRecord) -> Vec<String> {
    let mut row = vec![
        run.name.to_string(),
        round.round.to_string(),
        ALL.to_owned(),
    ];
    row.push(number(round.validation));
    row.push(number(round.held_out));
    row.push(round.seconds.to_string());
    row.push(round.bytes.to_string());
    row.push(round.missing.len().to_string());
    add_update(&mut row, None);
    row
}

fn one_site(run: &RunOutcome, round: &RoundRecord, site: &SiteName) -> Vec<String> {
    let update = round.updates.iter().find(|update| update.site == *site);
    let mut validation = None;
    for (validated, dice) in &round.validation_by_site {
        if validated == site {
            validation = *dice;
        }
    }
    let missing = round.missing.iter().any(|(missing, _)| missing == site);
    let mut row = vec![
        run.name.to_string(),
        round.round.to_string(),
        site.to_string(),
    ];
    row.push(number(validation));
    row.push(String::new());
    row.push(number(update.map(|update| update.seconds)));
    row.push(String::new());
    row.push(u8::from(missing).to_string());
    add_update(&mut row, update);
    row
}

/// The columns from `mean_loss` on.
fn add_update(row: &mut Vec<String>, update: Option<&UpdateRecord>) {
    row.push(number(update.map(|update| update.mean_loss)));
    row.push(number(update.map(|update| update.last_loss)));
    row.push(number(update.map(|update| update.slices)));
    row.push(number(update.map(|update| update.steps)));
    row.push(number(update.map(|update| update.asked_steps)));
}

/// The sites that a round knows anything of.
fn sites_of(round: &RoundRecord) -> BTreeSet<&SiteName> {
    let mut sites = BTreeSet::new();
    for update in &round.updates {
        sites.insert(&update.site);
    }
    for (site, _) in &round.validation_by_site {
        sites.insert(site);
    }
    for (site, _) in &round.missing {
        sites.insert(site);
    }
    sites
}

/// A row for each patient under each model, at each of the two operating points. The patient's name
/// is not known here: `case` is its place in the site's list.
pub(super) fn cases(outcome: &Outcome) -> String {
    let mut text = "run,site,role,case,sequences,operating_point,threshold,reference_lesions,\
                    detected_lesions,predicted_lesions"
        .to_owned();
    for metric in METRICS {
        text += ",";
        text += metric.key;
    }
    text += "\n";
    let names = &outcome.federation.input.sequences;
    for run in &outcome.runs {
        for site in &run.scores {
            for case in &site.cases {
                let points = [("dice", run.threshold_dice), ("youden", run.threshold)];
                for (point, threshold) in points {
                    let mut row = vec![
                        run.name.to_string(),
                        site.site.to_string(),
                        site.role.word().to_owned(),
                        case.case.to_string(),
                        cell(&sequences(case.subset, names)),
                        point.to_owned(),
                        number(threshold),
                    ];
                    add_lesions(&mut row, case, threshold);
                    add_metrics(&mut row, site, case, threshold);
                    add_row(&mut text, &row);
                }
            }
        }
    }
    text
}

fn add_lesions(row: &mut Vec<String>, case: &CaseScore, threshold: Option<f32>) {
    let lesions = at(&case.at, threshold).map(|counts| counts.lesions);
    row.push(number(lesions.map(|lesions| lesions.reference)));
    row.push(number(lesions.map(|lesions| lesions.detected)));
    row.push(number(lesions.map(|lesions| lesions.predicted)));
}

/// As in the report: overlap says nothing at a site none of whose cases has a lesion.
fn add_metrics(row: &mut Vec<String>, site: &SiteScores, case: &CaseScore, threshold: Option<f32>) {
    let values = CaseMetrics::from(case).values(threshold);
    let telling = hold_lesions(&site.cases);
    for metric in METRICS {
        if metric.needs_lesions && !telling {
            row.push(String::new());
        } else {
            row.push(number(value(&values, metric.key)));
        }
    }
}

fn sequences(subset: SequenceSet, names: &[String]) -> String {
    let mut held = Vec::new();
    for index in subset.iter() {
        if let Some(name) = names.get(index) {
            held.push(name.as_str());
        }
    }
    held.join(" ")
}

fn number(value: Option<impl Display>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// The cells are numbers, names of sites (letters, digits, dashes inside), and what `cell` made.
fn add_row(text: &mut String, cells: &[String]) {
    text.push_str(&cells.join(","));
    text.push('\n');
}
