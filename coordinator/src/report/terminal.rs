//! The report for a terminal.

use super::ablation;
use super::schema::{AtPoint, Report, Scores};
use super::wording::{POINTS, at_points, found, headline, mean_sd, plain_run, silent, verdict};
use protocol::case::{Cases, Role};

/// The report for a terminal: the headline, and two lines for each site, one for each operating
/// point.
pub(super) fn table(report: &Report) -> String {
    let mut lines = vec![headline(report)];
    lines.extend(verdict(report));
    lines.extend(ablation::headline(report));
    lines.extend(silent(report));
    lines.push(String::new());
    let head = [
        "site",
        "part",
        "cases",
        "threshold by",
        "AUC brain",
        "Dice",
        "false/patient",
        "lesions found",
    ];
    lines.push(terminal_row(&head));
    for site in report.federation.sites.iter().filter(|site| site.cases > 0) {
        lines.extend(score_rows(&site.name, site.role, site.cases, &site.scores));
    }
    for training in report.alone.iter().chain(&report.consensus) {
        let group = &training.pooled.held_out;
        lines.extend(score_rows(
            &plain_run(&training.run),
            Role::Evaluate,
            group.cases,
            &group.scores,
        ));
    }
    lines.push(String::new());
    lines.push(
        "best Dice: for outlines and volumes. Youden: the publication's, finds the most and \
         marks too much."
            .into(),
    );
    lines.join("\n")
}

fn score_rows(name: &str, role: Role, cases: usize, scores: &Scores) -> Vec<String> {
    let part = if role.judges() == Cases::Validation {
        "validation"
    } else {
        "held out"
    };
    let row = |(point, at): (&str, &AtPoint)| {
        let threshold = at.threshold.map_or(point.to_owned(), |threshold| {
            format!("{point} {threshold:.4}")
        });
        let m = &at.metrics;
        let [brain, dice] = [m.auc_brain, m.dice].map(|value| mean_sd(value, 3));
        let false_findings = mean_sd(m.fp_per_patient, 1);
        terminal_row(&[
            name,
            part,
            &cases.to_string(),
            &threshold,
            &brain,
            &dice,
            &false_findings,
            &found(at.lesions),
        ])
    };
    POINTS.into_iter().zip(at_points(scores)).map(row).collect()
}

fn terminal_row(cells: &[&str; 8]) -> String {
    let [
        name,
        part,
        cases,
        threshold,
        brain,
        dice,
        false_findings,
        found,
    ] = cells;
    format!(
        "{name:<24} {part:<10} {cases:>5}  {threshold:<16}  {brain:>15}  {dice:>15}  \
         {false_findings:>14}  {found}"
    )
}
