//! The report for a terminal.

use super::contract::{Report, Scores};
use super::missing;
use super::words::{found, headline, mean_sd, plain_run, silent, verdict};
use protocol::case::{Cases, Role};

/// The report for a terminal: the headline, and a line for each site.
pub(super) fn table(report: &Report) -> String {
    let mut lines = vec![headline(report)];
    lines.extend(verdict(report));
    lines.extend(missing::headline(report));
    lines.extend(silent(report));
    lines.push(String::new());
    lines.push(terminal_row(&["site", "part", "cases", "AUC brain", "AUC volume", "Dice", "lesions found"]));
    for site in report.federation.sites.iter().filter(|site| site.cases > 0) {
        lines.push(scores_row(&site.name, site.role, site.cases, &site.scores));
    }
    for lineage in report.alone.iter().chain(&report.consensus) {
        let group = &lineage.pooled.held_out;
        lines.push(scores_row(&plain_run(&lineage.run), Role::Evaluate, group.cases, &group.scores));
    }
    lines.join("\n")
}

fn scores_row(name: &str, role: Role, cases: usize, scores: &Scores) -> String {
    let part = if role.judges() == Cases::Validation { "validation" } else { "held out" };
    let m = &scores.metrics;
    let [brain, volume, dice] = [m.auc_brain, m.auc_volume, m.dice].map(|value| mean_sd(value, 3));
    terminal_row(&[name, part, &cases.to_string(), &brain, &volume, &dice, &found(scores.lesions)])
}

fn terminal_row(cells: &[&str; 7]) -> String {
    let [name, part, cases, brain, volume, dice, found] = cells;
    format!("{name:<24} {part:<10} {cases:>5}  {brain:>15}  {volume:>15}  {dice:>15}  {found}")
}
