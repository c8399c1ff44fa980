//! Numbers and sentences for people.

use super::schema::{AtPoint, Lesions, MeanSd, Report, Scores, TrainingRun};
use protocol::case::Role;
use protocol::outcome::RunKind;

/// A run's name for people: "north alone".
pub(super) fn plain_run(run: &RunKind) -> String {
    match run {
        RunKind::Alone { site } => format!("{site} alone"),
        RunKind::Federation | RunKind::Consensus => run.to_string(),
    }
}

/// A site's part, in the table of the sites.
pub(super) fn part(role: Role) -> &'static str {
    match role {
        Role::Train => "trains",
        Role::Validate => "validates",
        Role::Evaluate => "held out",
    }
}

/// What a site's cases are used for.
pub(super) fn use_of(role: Role) -> &'static str {
    match role {
        Role::Train | Role::Validate => "validation",
        Role::Evaluate => "held out",
    }
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
    let Some(lesions) = lesions else {
        return "–".into();
    };
    if lesions.reference == 0 {
        return "none to find".into();
    }
    let share = 100.0 * lesions.detected as f64 / lesions.reference as f64;
    format!(
        "{} of {} ({share:.0} %)",
        lesions.detected, lesions.reference
    )
}

/// `1 site`, `3 sites`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The two operating points of equal rank, as they are called everywhere in the report.
pub(super) const POINTS: [&str; 2] = ["best Dice", "Youden"];

/// The same points at the beginning of a sentence.
pub(super) const AT_POINTS: [&str; 2] = [
    "At the threshold of the best validation Dice",
    "At Youden's threshold, the publication's",
];

/// A group's scores at both points, in the order of [`POINTS`].
pub(super) fn at_points(scores: &Scores) -> [&AtPoint; 2] {
    [
        &scores.operating_points.dice,
        &scores.operating_points.youden,
    ]
}

/// The report's first sentence: what the model does where it was never trained.
pub(super) fn headline(report: &Report) -> String {
    let held_out = &report.federation.pooled.held_out;
    let sites = report
        .federation
        .sites
        .iter()
        .filter(|site| site.role == Role::Evaluate && site.cases > 0)
        .count();
    if held_out.scores.lesions.is_none() || held_out.scores.metrics.auc_volume.mean.is_none() {
        return "No patient of a site outside the training was scored, so nothing can be said \
                about new hospitals."
            .into();
    }
    let [dice, youden] = at_points(&held_out.scores).map(|point| {
        let false_findings = mean_sd(point.metrics.fp_per_patient, 1);
        (
            found(point.lesions),
            false_findings,
            mean_sd(point.metrics.dice, 3),
        )
    });
    format!(
        "In {} from {} that took no part in training, the model found {} lesions with {} false \
         findings per patient and a mean Dice of {} at the threshold of the best validation \
         Dice; {} with {} and {} at Youden's threshold, the publication's. AUC {} in the brain \
         and {} over the whole volume.",
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

/// The sites by whose Dice nothing can be said, and why.
pub(super) fn silent(report: &Report) -> Option<String> {
    let mut sentences = Vec::new();
    for site in report.federation.sites.iter().filter(|site| site.cases > 0) {
        let held = site.inventory;
        let all = held.training_lesions + held.validation_lesions + held.held_out_lesions;
        let name = &site.name;
        if all == 0 {
            sentences.push(format!(
                "{name}'s labels hold no lesion in any case: its Dice says nothing. If there \
                 should be some, look at data.lesion_labels there."
            ));
        } else if site
            .scores
            .lesions
            .is_some_and(|lesions| lesions.reference == 0)
        {
            sentences.push(format!(
                "The cases of {name} that were scored hold no lesion: its Dice says nothing."
            ));
        }
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// Whether training together paid, when the sites also trained alone: at both operating points.
pub(super) fn verdict(report: &Report) -> Option<String> {
    let at = |place: usize| {
        let dice = |training: &TrainingRun| {
            at_points(&training.pooled.held_out.scores)[place]
                .metrics
                .dice
                .mean
        };
        let together = dice(&report.federation)?;
        let alone = report
            .alone
            .iter()
            .filter_map(|training| Some((dice(training)?, plain_run(&training.run))));
        let (best, name) = alone.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let point = POINTS[place];
        Some(if together > best {
            format!(
                "Trained together, held-out Dice is {together:.3} ({point}); the best of the \
                 sites alone ({name}) reaches {best:.3}."
            )
        } else {
            format!(
                "Training together did not pay here: {name} reaches a held-out Dice of {best:.3} \
                 ({point}), the federation {together:.3}."
            )
        })
    };
    let sentences: Vec<String> = [at(0), at(1)].into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_is_a_dash_and_a_lone_patient_has_no_spread() {
        assert_eq!(mean_sd(MeanSd::of([None, None]), 2), "–");
        assert_eq!(mean_sd(MeanSd::of([Some(0.5), None]), 2), "0.50");
        // Sample standard deviation of 0 and 1: sqrt(0.5).
        assert_eq!(
            mean_sd(MeanSd::of([Some(0.0), Some(1.0)]), 3),
            "0.500 ± 0.707"
        );
    }
}
