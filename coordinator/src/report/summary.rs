//! From what the sites counted to what the report says.

use super::case_metrics::{CaseMetrics, at, hold_lesions, means_at, with_overlap_of};
use super::comparison::comparison;
use super::matrix::matrix;
use super::schema::*;
use metrics::lesion::{SIZE_BINS_MM, counted_points};
use metrics::reliability::reliability;
use metrics::score::{AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SizeBinCounts};
use protocol::case::{Cases, Role};
use protocol::identity::SiteName;
use protocol::outcome::{Outcome, RoundRecord, RunKind, RunOutcome, SiteRecord, SiteScores};

/// The report of an outcome. Runs without a federation training run give one without any sites.
#[must_use]
pub fn summarise(outcome: &Outcome) -> Report {
    let federation =
        federation_run(outcome).map_or_else(no_training_run, |run| training_run(run, outcome));
    let (consensus, alone): (Vec<_>, Vec<_>) = outcome
        .runs
        .iter()
        .skip(1)
        .map(|run| training_run(run, outcome))
        // Only the consensus never trained.
        .partition(|run| run.rounds.is_empty());
    Report {
        version: VERSION,
        software: env!("CARGO_PKG_VERSION").into(),
        name: outcome.federation.name.clone(),
        seconds: outcome.seconds,
        worst_held_out: worst_held_out(&federation.sites, |scores| &scores.metrics),
        worst_held_out_at_dice: worst_held_out(&federation.sites, |scores| {
            &scores.operating_points.dice.metrics
        }),
        comparison: comparison(outcome, |run| run.threshold),
        comparison_at_dice: comparison(outcome, |run| run.threshold_dice),
        federation,
        alone,
        consensus: consensus.into_iter().next(),
        settings: outcome.federation.clone(),
    }
}

/// The federation's own training run: the first.
pub(super) fn federation_run(outcome: &Outcome) -> Option<&RunOutcome> {
    outcome.runs.first()
}

fn no_training_run() -> TrainingRun {
    TrainingRun {
        run: RunKind::Federation,
        members: Vec::new(),
        best_round: 0,
        bytes: 0,
        thresholds: Thresholds::default(),
        validation_curve: Vec::new(),
        sites: Vec::new(),
        pooled: Pooled {
            held_out: no_cases(),
            validation: no_cases(),
        },
        matrix: None,
        matrix_at_dice: None,
        rounds: Vec::new(),
    }
}

impl From<&RunOutcome> for Thresholds {
    fn from(run: &RunOutcome) -> Self {
        Self {
            youden: run.threshold,
            youden_pooled: run.threshold_pooled,
            dice: run.threshold_dice,
        }
    }
}

fn training_run(run: &RunOutcome, outcome: &Outcome) -> TrainingRun {
    let thresholds = Thresholds::from(run);
    let names = &outcome.federation.input.sequences;
    TrainingRun {
        run: run.name.clone(),
        members: run.members.iter().map(SiteName::to_string).collect(),
        best_round: run.best_round,
        bytes: run.rounds.iter().map(|round| round.bytes).sum(),
        thresholds,
        validation_curve: counted_points(&cases_of(run, Cases::Validation)),
        sites: outcome
            .sites
            .iter()
            .map(|record| site(record, names, run, thresholds))
            .collect(),
        pooled: Pooled {
            held_out: group(run, Cases::HeldOut, thresholds),
            validation: group(run, Cases::Validation, thresholds),
        },
        matrix: matrix(run, outcome, thresholds.youden),
        matrix_at_dice: matrix(run, outcome, thresholds.dice),
        rounds: run.rounds.iter().map(round).collect(),
    }
}

/// The scored cases of this kind, of all sites.
pub(super) fn cases_of(run: &RunOutcome, cases: Cases) -> Vec<&CaseScore> {
    run.scores
        .iter()
        .filter(|scores| scores.role.judges() == cases)
        .flat_map(|scores| &scores.cases)
        .collect()
}

fn site(record: &SiteRecord, names: &[String], run: &RunOutcome, thresholds: Thresholds) -> Site {
    let own = |scores: &&SiteScores| scores.site == record.name;
    let own: Vec<&SiteScores> = run.scores.iter().filter(own).collect();
    let cases: Vec<&CaseScore> = own.iter().flat_map(|scores| &scores.cases).collect();
    let telling = own.iter().any(|scores| hold_lesions(&scores.cases));
    let all = scores(&cases, thresholds);
    let held = &record.inventory;
    Site {
        name: record.name.to_string(),
        role: record.role,
        sequences: held
            .sequences
            .iter()
            .filter_map(|i| names.get(i))
            .cloned()
            .collect(),
        cases: cases.len(),
        inventory: Inventory {
            training: held.training_cases,
            validation: held.validation_cases,
            held_out: held.held_out_cases,
            skipped: held.skipped_cases,
            training_lesions: held.training_lesions,
            validation_lesions: held.validation_lesions,
            held_out_lesions: held.held_out_lesions,
        },
        scores: if telling {
            all
        } else {
            scores_with_overlap_of(all, &scores(&[], thresholds))
        },
    }
}

impl Report {
    /// The federation's training run, then those of the sites alone, then their consensus.
    pub(super) fn training_runs(&self) -> impl Iterator<Item = &TrainingRun> {
        std::iter::once(&self.federation)
            .chain(&self.alone)
            .chain(&self.consensus)
    }
}

fn no_cases() -> Group {
    Group {
        cases: 0,
        scores: scores(&[], Thresholds::default()),
    }
}

/// The cases of all sites; the overlap with lesions only from sites that have some.
fn group(run: &RunOutcome, cases: Cases, thresholds: Thresholds) -> Group {
    let all = cases_of(run, cases);
    let telling = run
        .scores
        .iter()
        .filter(|site| site.role.judges() == cases && hold_lesions(&site.cases));
    let telling: Vec<&CaseScore> = telling.flat_map(|site| &site.cases).collect();
    let scores = scores_with_overlap_of(scores(&all, thresholds), &scores(&telling, thresholds));
    Group {
        cases: all.len(),
        scores,
    }
}

fn scores_with_overlap_of(scores: Scores, other: &Scores) -> Scores {
    let (own, others) = (&scores.alternatives, &other.alternatives);
    let alternatives = Alternatives {
        youden_pooled: with_overlap_of(&own.youden_pooled, &others.youden_pooled),
        dice: with_overlap_of(&own.dice, &others.dice),
    };
    let mut points = scores.operating_points;
    let others = &other.operating_points;
    points.dice.metrics = with_overlap_of(&points.dice.metrics, &others.dice.metrics);
    points.youden.metrics = with_overlap_of(&points.youden.metrics, &others.youden.metrics);
    Scores {
        metrics: with_overlap_of(&scores.metrics, &other.metrics),
        alternatives,
        operating_points: points,
        ..scores
    }
}

fn scores(cases: &[&CaseScore], thresholds: Thresholds) -> Scores {
    let looks: Vec<CaseMetrics<'_>> = cases.iter().map(|&case| CaseMetrics::from(case)).collect();
    let at_point = |threshold: Option<f32>| AtPoint {
        threshold,
        metrics: means_at(&looks, threshold),
        lesions: lesions(cases, threshold),
    };
    let brain = merged(cases.iter().map(|case| &case.brain));
    Scores {
        metrics: means_at(&looks, thresholds.youden),
        alternatives: Alternatives {
            youden_pooled: means_at(&looks, thresholds.youden_pooled),
            dice: means_at(&looks, thresholds.dice),
        },
        lesions: lesions(cases, thresholds.youden),
        operating_points: OperatingScores {
            dice: at_point(thresholds.dice),
            youden: at_point(thresholds.youden),
        },
        calibration: reliability(&brain),
        voxel_auc_brain: brain.auc(),
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

fn lesions(cases: &[&CaseScore], threshold: Option<f32>) -> Option<Lesions> {
    let counts: Vec<&AtThreshold> = cases
        .iter()
        .filter_map(|case| at(&case.at, threshold))
        .collect();
    let sum = |value: fn(&LesionCounts) -> u32| {
        counts.iter().map(|at| u64::from(value(&at.lesions))).sum()
    };
    let detected: u64 = sum(|c| c.detected);
    let dice = |at: &&AtThreshold| at.dice_detected.unwrap_or(0.0) * f64::from(at.lesions.detected);
    (!counts.is_empty()).then(|| Lesions {
        reference: sum(|c| c.reference),
        detected,
        predicted: sum(|c| c.predicted),
        false_positive: sum(|c| c.false_positive),
        false_positive_10mm3: sum(|c| c.false_positive_10mm3),
        dice_detected: (detected > 0)
            .then(|| counts.iter().map(dice).sum::<f64>() / detected as f64),
        by_size: std::array::from_fn(|bin| size_bin(&counts, bin)),
    })
}

fn size_bin(counts: &[&AtThreshold], bin: usize) -> SizeBin {
    let sum = |count: fn(&SizeBinCounts) -> u32| {
        counts
            .iter()
            .map(|at| u64::from(count(&at.by_size[bin])))
            .sum()
    };
    SizeBin {
        from_mm: bin.checked_sub(1).map_or(0.0, |below| SIZE_BINS_MM[below]),
        to_mm: SIZE_BINS_MM.get(bin).copied(),
        reference: sum(|found| found.lesions),
        detected: sum(|found| found.found),
    }
}

fn round(record: &RoundRecord) -> Round {
    Round {
        round: record.round,
        validation_dice: record.validation,
        validation_sites: record
            .validation_by_site
            .iter()
            .map(|(site, dice)| SiteDice {
                site: site.to_string(),
                dice: *dice,
            })
            .collect(),
        seconds: record.seconds,
        bytes: record.bytes,
        updates: record.updates.iter().map(update).collect(),
        missing: record
            .missing
            .iter()
            .map(|(site, reason)| Missing {
                site: site.to_string(),
                reason: reason.clone(),
            })
            .collect(),
    }
}

fn update(record: &protocol::outcome::UpdateRecord) -> Update {
    Update {
        site: record.site.to_string(),
        slices: record.slices,
        mean_loss: record.mean_loss,
        last_loss: record.last_loss,
        seconds: record.seconds,
        steps: record.steps,
        asked_steps: record.asked_steps,
        staleness: record.staleness,
        compute: record.compute,
    }
}

fn worst_held_out(sites: &[Site], metrics: fn(&Scores) -> &Metrics) -> Option<Worst> {
    let held_out = sites.iter().filter(|site| site.role == Role::Evaluate);
    let dice = held_out.filter_map(|site| {
        Some(Worst {
            site: site.name.clone(),
            dice: metrics(&site.scores).dice.mean?,
        })
    });
    dice.min_by(|a, b| a.dice.total_cmp(&b.dice))
}
