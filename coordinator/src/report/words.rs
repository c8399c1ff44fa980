//! Numbers and sentences for people.

use super::contract::{AtPoint, Lesions, Lineage, MeanSd, Report, Scores};
use super::figures::plain_run;
use super::missing;
use shared::case::{Cases, Role};

/// Text made safe inside HTML.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// `0.812 ± 0.051`; without a spread below two patients; a dash where undefined.
pub(super) fn mean_sd(value: MeanSd, decimals: usize) -> String {
    match (value.mean, value.sd) {
        (Some(mean), Some(sd)) => format!("{mean:.decimals$} ± {sd:.decimals$}"),
        (Some(mean), None) => format!("{mean:.decimals$}"),
        (None, _) => "–".into(),
    }
}

/// `18 of 21 (86 %)`.
pub(super) fn found(lesions: Option<Lesions>) -> String {
    let Some(lesions) = lesions else { return "–".into() };
    if lesions.reference == 0 {
        return "none to find".into();
    }
    let share = 100.0 * lesions.detected as f64 / lesions.reference as f64;
    format!("{} of {} ({share:.0} %)", lesions.detected, lesions.reference)
}

/// `3.1 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.1} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.1} MB", c / 1e6),
        c => format!("{:.0} kB", c / 1e3),
    }
}

/// `4 min 12 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `1 site`, `3 sites`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The two operating points of equal rank, as they are called everywhere in the report.
pub(super) const POINTS: [&str; 2] = ["best Dice", "Youden"];

/// A group's scores at both points, in the order of [`POINTS`].
pub(super) fn at_points(scores: &Scores) -> [&AtPoint; 2] {
    [&scores.operating_points.dice, &scores.operating_points.youden]
}

/// The report's first sentence: what the model does where it was never trained.
pub(super) fn headline(report: &Report) -> String {
    let held_out = &report.federation.pooled.held_out;
    let sites = report.federation.sites.iter().filter(|site| site.role == Role::Evaluate && site.cases > 0).count();
    if held_out.scores.lesions.is_none() || held_out.scores.metrics.auc_volume.mean.is_none() {
        return "No patient of a site outside the training was scored, so nothing can be said about new hospitals."
            .into();
    }
    let [dice, youden] = at_points(&held_out.scores).map(|point| {
        let false_findings = mean_sd(point.metrics.fp_per_patient, 1);
        (found(point.lesions), false_findings, mean_sd(point.metrics.dice, 3))
    });
    format!(
        "In {} from {} that took no part in training, the model found {} lesions with {} false findings per patient and \
         a mean Dice of {} at the threshold of the best validation Dice; {} with {} and {} at Youden's threshold, the \
         publication's. AUC {} in the brain and {} over the whole volume.",
        counted(held_out.cases, "patient", "patients"),
        counted(sites, "site", "sites"),
        dice.0,
        dice.1,
        dice.2,
        youden.0,
        youden.1,
        youden.2,
        mean_sd(held_out.scores.metrics.auc_brain, 3),
        mean_sd(held_out.scores.metrics.auc_volume, 3),
    )
}

/// Whether training together paid, when the sites also trained alone: at both operating points.
pub(super) fn verdict(report: &Report) -> Option<String> {
    let at = |place: usize| {
        let dice = |lineage: &Lineage| at_points(&lineage.pooled.held_out.scores)[place].metrics.dice.mean;
        let together = dice(&report.federation)?;
        let alone = report.alone.iter().filter_map(|lineage| Some((dice(lineage)?, plain_run(&lineage.run))));
        let (best, name) = alone.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let point = POINTS[place];
        Some(if together > best {
            format!(
                "Trained together, held-out Dice is {together:.3} ({point}); the best of the sites alone ({name}) reaches \
                 {best:.3}."
            )
        } else {
            format!(
                "Training together did not pay here: {name} reaches a held-out Dice of {best:.3} ({point}), the federation \
                 {together:.3}."
            )
        })
    };
    let sentences: Vec<String> = [at(0), at(1)].into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// The report for a terminal: the headline, and two lines for each site, one for each operating point.
pub(super) fn table(report: &Report) -> String {
    let mut lines = vec![headline(report)];
    lines.extend(verdict(report));
    lines.extend(missing::headline(report));
    lines.push(String::new());
    let head = ["site", "part", "cases", "threshold by", "AUC brain", "Dice", "false/patient", "lesions found"];
    lines.push(terminal_row(&head));
    for site in report.federation.sites.iter().filter(|site| site.cases > 0) {
        lines.extend(score_rows(&site.name, site.role, site.cases, &site.scores));
    }
    for lineage in report.alone.iter().chain(&report.consensus) {
        let group = &lineage.pooled.held_out;
        lines.extend(score_rows(&plain_run(&lineage.run), Role::Evaluate, group.cases, &group.scores));
    }
    lines.push(String::new());
    lines.push(
        "best Dice: for outlines and volumes. Youden: the publication's, finds the most and marks too much.".into(),
    );
    lines.join("\n")
}

fn score_rows(name: &str, role: Role, cases: usize, scores: &Scores) -> Vec<String> {
    let part = if role.judges() == Cases::Validation { "validation" } else { "held out" };
    let row = |(point, at): (&str, &AtPoint)| {
        let threshold = at.threshold.map_or(point.to_owned(), |threshold| format!("{point} {threshold:.4}"));
        let m = &at.metrics;
        let [brain, dice] = [m.auc_brain, m.dice].map(|value| mean_sd(value, 3));
        let false_findings = mean_sd(m.fp_per_patient, 1);
        terminal_row(&[name, part, &cases.to_string(), &threshold, &brain, &dice, &false_findings, &found(at.lesions)])
    };
    POINTS.into_iter().zip(at_points(scores)).map(row).collect()
}

fn terminal_row(cells: &[&str; 8]) -> String {
    let [name, part, cases, threshold, brain, dice, false_findings, found] = cells;
    format!("{name:<24} {part:<10} {cases:>5}  {threshold:<16}  {brain:>15}  {dice:>15}  {false_findings:>14}  {found}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escape("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
    }

    #[test]
    fn undefined_is_a_dash_and_a_lone_patient_has_no_spread() {
        assert_eq!(mean_sd(MeanSd::of([None, None]), 2), "–");
        assert_eq!(mean_sd(MeanSd::of([Some(0.5), None]), 2), "0.50");
        // Sample standard deviation of 0 and 1: sqrt(0.5).
        assert_eq!(mean_sd(MeanSd::of([Some(0.0), Some(1.0)]), 3), "0.500 ± 0.707");
    }

    #[test]
    fn times_and_sizes_are_rounded_for_reading() {
        assert_eq!(
            (duration(4.26), duration(252.0), duration(7300.0)),
            ("4.3 s".into(), "4 min 12 s".into(), "2 h 1 min".into())
        );
        assert_eq!((bytes(2_000), bytes(3_100_000)), ("2 kB".into(), "3.1 MB".into()));
    }
}
