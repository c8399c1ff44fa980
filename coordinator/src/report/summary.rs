//! From what the sites counted to what the report says.

use super::contract::*;
use crate::outcome::{Outcome, RoundRecord, RunOutcome, SiteRecord, SiteScores};
use shared::case::Role;
use shared::metrics::confusion::Confusion;
use shared::score::{AtThreshold, CaseScore, ScoreHistogram};

/// The report of an outcome. Runs without a federation lineage give one without any sites.
#[must_use]
pub fn summarise(outcome: &Outcome) -> Report {
    let federation = federation_run(outcome).map_or_else(no_lineage, |run| lineage(run, outcome));
    Report {
        version: VERSION,
        software: env!("CARGO_PKG_VERSION").into(),
        name: outcome.federation.name.clone(),
        seconds: outcome.seconds,
        worst_held_out: worst_held_out(&federation.sites),
        federation,
        alone: outcome.runs.iter().skip(1).map(|run| lineage(run, outcome)).collect(),
        settings: outcome.federation.clone(),
    }
}

/// The federation's own lineage: the first.
pub(super) fn federation_run(outcome: &Outcome) -> Option<&RunOutcome> {
    outcome.runs.first()
}

fn no_lineage() -> Lineage {
    Lineage {
        run: "federation".into(),
        members: Vec::new(),
        best_round: 0,
        bytes: 0,
        thresholds: Thresholds::default(),
        sites: Vec::new(),
        pooled: Pooled { held_out: group(&[], Thresholds::default()), validation: group(&[], Thresholds::default()) },
        rounds: Vec::new(),
    }
}

fn lineage(run: &RunOutcome, outcome: &Outcome) -> Lineage {
    let thresholds =
        Thresholds { youden: run.threshold, youden_per_patient: run.threshold_per_patient, dice: run.threshold_dice };
    let names = &outcome.federation.input.sequences;
    Lineage {
        run: run.name.clone(),
        members: run.members.clone(),
        best_round: run.best_round,
        bytes: run.rounds.iter().map(|round| round.bytes).sum(),
        thresholds,
        sites: outcome.sites.iter().map(|record| site(record, names, run, thresholds)).collect(),
        pooled: Pooled {
            held_out: group(&cases_of(run, Role::Evaluate), thresholds),
            validation: group(&cases_of(run, Role::Train), thresholds),
        },
        rounds: run.rounds.iter().map(round).collect(),
    }
}

/// The scored cases of all sites that play this part.
pub(super) fn cases_of(run: &RunOutcome, role: Role) -> Vec<&CaseScore> {
    run.scores.iter().filter(|scores| scores.role == role).flat_map(|scores| &scores.cases).collect()
}

fn site(record: &SiteRecord, names: &[String], run: &RunOutcome, thresholds: Thresholds) -> Site {
    let own = |scores: &&SiteScores| scores.site == record.name;
    let cases: Vec<&CaseScore> = run.scores.iter().filter(own).flat_map(|scores| &scores.cases).collect();
    let held = &record.inventory;
    Site {
        name: record.name.clone(),
        role: record.role,
        sequences: held.sequences.iter().filter_map(|i| names.get(i)).cloned().collect(),
        cases: cases.len(),
        inventory: Inventory {
            training: held.training_cases,
            validation: held.validation_cases,
            held_out: held.held_out_cases,
            skipped: held.skipped_cases,
        },
        scores: scores(&cases, thresholds),
    }
}

impl Report {
    /// The federation's lineage, then those of the sites alone.
    pub(super) fn lineages(&self) -> impl Iterator<Item = &Lineage> {
        std::iter::once(&self.federation).chain(&self.alone)
    }
}

fn group(cases: &[&CaseScore], thresholds: Thresholds) -> Group {
    Group { cases: cases.len(), scores: scores(cases, thresholds) }
}

fn scores(cases: &[&CaseScore], thresholds: Thresholds) -> Scores {
    Scores {
        metrics: metrics(cases, thresholds.youden),
        alternatives: Alternatives {
            youden_per_patient: metrics(cases, thresholds.youden_per_patient),
            dice: metrics(cases, thresholds.dice),
        },
        lesions: lesions(cases, thresholds.youden),
        voxel_auc_brain: merged(cases.iter().map(|case| &case.brain)).auc(),
        voxel_auc_volume: whole_volume(cases).auc(),
    }
}

/// All voxels of all cases as one histogram.
pub(super) fn whole_volume(cases: &[&CaseScore]) -> ScoreHistogram {
    merged(cases.iter().flat_map(|case| [&case.brain, &case.outside]))
}

/// Several histograms as one.
pub(super) fn merged<'a>(histograms: impl Iterator<Item = &'a ScoreHistogram>) -> ScoreHistogram {
    ScoreHistogram::merged(&histograms.collect::<Vec<_>>())
}

/// The counts of a case at an operating point, if the site was asked for it.
fn at(case: &CaseScore, threshold: Option<f32>) -> Option<&AtThreshold> {
    let threshold = threshold?;
    case.at.iter().find(|at| (at.threshold - threshold).abs() <= threshold * 1e-6)
}

/// A case's voxels at an operating point.
pub(super) fn confusion(case: &CaseScore, threshold: Option<f32>) -> Option<Confusion> {
    let (lesions, others) = case.whole().totals();
    Some(at(case, threshold)?.confusion(lesions + others))
}

fn metrics(cases: &[&CaseScore], threshold: Option<f32>) -> Metrics {
    let voxels = |value: fn(&Confusion) -> Option<f64>| {
        MeanSd::of(cases.iter().map(|case| confusion(case, threshold).and_then(|counts| value(&counts))))
    };
    let lesions = |value: fn(&AtThreshold) -> u32| {
        MeanSd::of(cases.iter().map(|case| at(case, threshold).map(|at| f64::from(value(at)))))
    };
    Metrics {
        auc_brain: MeanSd::of(cases.iter().map(|case| case.brain.auc())),
        auc_volume: MeanSd::of(cases.iter().map(|case| case.whole().auc())),
        dice: voxels(Confusion::dice),
        iou: voxels(Confusion::iou),
        precision: voxels(Confusion::precision),
        recall: voxels(Confusion::recall),
        fp_per_patient: lesions(|at| at.lesions.false_positive),
        fp_per_patient_10mm3: lesions(|at| at.lesions.false_positive_10mm3),
    }
}

fn lesions(cases: &[&CaseScore], threshold: Option<f32>) -> Option<Lesions> {
    let counts: Vec<_> = cases.iter().filter_map(|case| at(case, threshold)).map(|at| at.lesions).collect();
    let sum = |value: fn(&shared::score::LesionCounts) -> u32| counts.iter().map(|c| u64::from(value(c))).sum();
    (!counts.is_empty()).then(|| Lesions {
        reference: sum(|c| c.reference),
        detected: sum(|c| c.detected),
        predicted: sum(|c| c.predicted),
        false_positive: sum(|c| c.false_positive),
        false_positive_10mm3: sum(|c| c.false_positive_10mm3),
    })
}

fn round(record: &RoundRecord) -> Round {
    Round {
        round: record.round,
        validation_dice: record.validation,
        seconds: record.seconds,
        bytes: record.bytes,
        updates: record.updates.iter().map(update).collect(),
        missing: record
            .missing
            .iter()
            .map(|(site, reason)| Missing { site: site.clone(), reason: reason.clone() })
            .collect(),
    }
}

fn update(record: &crate::outcome::UpdateRecord) -> Update {
    Update {
        site: record.site.clone(),
        slices: record.slices,
        mean_loss: record.mean_loss,
        last_loss: record.last_loss,
        seconds: record.seconds,
    }
}

fn worst_held_out(sites: &[Site]) -> Option<Worst> {
    let held_out = sites.iter().filter(|site| site.role == Role::Evaluate);
    let dice =
        held_out.filter_map(|site| Some(Worst { site: site.name.clone(), dice: site.scores.metrics.dice.mean? }));
    dice.min_by(|a, b| a.dice.total_cmp(&b.dice))
}
