//! Every model of an experiment: each arm's training runs, over all seeds.

use super::super::case_metrics::{self, Values, averaged as mean_values};
use super::super::comparison::{Patients, compare, held_out_at};
use super::super::matrix::{matrix, worst_cell};
use super::super::schema::{
    Cell, Comparison, DiceAt, EXPERIMENT_VERSION, Experiment, Matrix, MatrixRow, MeanSd, Metrics,
    Model, ModelAtPoint, ModelPoints, SeedRun, SiteCell, Without, Worst,
};
use super::super::wording::plain_run;
use super::Finished;
use protocol::outcome::{RunKind, RunOutcome};
use std::collections::BTreeSet;

/// One training run of an arm, with every seed that is finished.
pub(super) struct ArmModel<'f> {
    pub(super) name: String,
    pub(super) runs: Vec<(&'f Finished, &'f RunOutcome)>,
}

/// In the order of the arms: an arm's federation, then its other models. Where all have some
/// seeds in common, only those count, so that an experiment that is not finished compares like with
/// like.
pub(super) fn models(finished: &[Finished]) -> Vec<ArmModel<'_>> {
    let mut models: Vec<ArmModel<'_>> = Vec::new();
    let arms = |run: &RunKind| {
        let with = finished
            .iter()
            .filter(|one| one.outcome.runs.iter().any(|other| other.name == *run));
        with.map(|one| one.arm.as_str())
            .collect::<BTreeSet<_>>()
            .len()
    };
    for one in finished {
        for run in &one.outcome.runs {
            let federation = one
                .outcome
                .runs
                .first()
                .is_some_and(|first| first.name == run.name);
            let name = match (federation, arms(&run.name)) {
                (true, _) => one.arm.clone(),
                (false, 1) => plain_run(&run.name),
                (false, _) => format!("{} ({})", plain_run(&run.name), one.arm),
            };
            match models.iter_mut().find(|model| model.name == name) {
                Some(model) => model.runs.push((one, run)),
                None => models.push(ArmModel {
                    name,
                    runs: vec![(one, run)],
                }),
            }
        }
    }
    let seeds = |model: &ArmModel<'_>| {
        model
            .runs
            .iter()
            .map(|(one, _)| one.seed)
            .collect::<BTreeSet<_>>()
    };
    let common = models
        .iter()
        .map(seeds)
        .reduce(|a, b| &a & &b)
        .filter(|common| !common.is_empty());
    for model in &mut models {
        model.runs.retain(|(one, _)| {
            common
                .as_ref()
                .is_none_or(|common| common.contains(&one.seed))
        });
    }
    models
}

impl ArmModel<'_> {
    /// Whether this is the arm's main model.
    pub(super) fn is_federation(&self) -> bool {
        self.runs
            .first()
            .is_some_and(|(finished, _)| finished.arm == self.name)
    }

    fn dice_at(&self, threshold: fn(&RunOutcome) -> Option<f32>) -> MeanSd {
        MeanSd::of(
            self.patients_at(threshold)
                .values()
                .map(|values| values.dice),
        )
    }

    /// Each held-out patient's mean over the seeds, at each run's threshold.
    pub(super) fn patients_at(&self, threshold: fn(&RunOutcome) -> Option<f32>) -> Patients {
        let seeds: Vec<Patients> = self
            .runs
            .iter()
            .map(|(_, run)| held_out_at(run, threshold(run)))
            .collect();
        let names = seeds.iter().flat_map(|patients| patients.keys().cloned());
        let names: BTreeSet<_> = names.collect();
        let mean = |name: (String, u32)| {
            let values: Vec<Values> = seeds
                .iter()
                .filter_map(|patients| patients.get(&name).copied())
                .collect();
            (name, mean_values(&values))
        };
        names.into_iter().map(mean).collect()
    }

    /// The mean over seeds of each run's matrix; `None` where a run has none.
    fn matrix_at(&self, threshold: fn(&RunOutcome) -> Option<f32>) -> Option<Matrix> {
        let mut matrices = Vec::new();
        for (finished, run) in &self.runs {
            matrices.push(matrix(run, &finished.outcome, threshold(run))?);
        }
        averaged(&matrices)
    }

    /// At one operating point: a comparison of all models, and this one's means in each seed.
    fn at_point(&self, comparison: &Comparison, seeds: &[Metrics]) -> ModelAtPoint {
        let arm = comparison.arms.iter().find(|arm| arm.run == self.name);
        let of_seeds: Vec<Values> = seeds.iter().map(case_metrics::only_means).collect();
        ModelAtPoint {
            metrics: arm.map(|arm| arm.metrics).unwrap_or_default(),
            intervals: arm.map(|arm| arm.intervals.clone()).unwrap_or_default(),
            between_seeds: case_metrics::means(&of_seeds),
        }
    }

    fn summary(&self, at_dice: &Comparison, at_youden: &Comparison) -> Option<Model> {
        let (first, run) = self.runs.first()?;
        let seeds: Vec<SeedRun> = self
            .runs
            .iter()
            .map(|(finished, run)| seed_run(finished, run))
            .collect();
        let seeds_at_dice: Vec<Metrics> = seeds.iter().map(|seed| seed.metrics_at_dice).collect();
        let seeds_at_youden: Vec<Metrics> = seeds.iter().map(|seed| seed.metrics).collect();
        let dice = self.at_point(at_dice, &seeds_at_dice);
        let youden = self.at_point(at_youden, &seeds_at_youden);
        Some(Model {
            name: self.name.clone(),
            arm: first.arm.clone(),
            run: run.name.to_string(),
            metrics: youden.metrics,
            intervals: youden.intervals.clone(),
            dice_at: DiceAt {
                youden_pooled: self.dice_at(|run| run.threshold_pooled),
                dice: self.dice_at(|run| run.threshold_dice),
            },
            between_seeds: youden.between_seeds,
            operating_points: ModelPoints { dice, youden },
            matrix: self.matrix_at(|run| run.threshold),
            matrix_at_dice: self.matrix_at(|run| run.threshold_dice),
            seeds,
        })
    }
}

/// All models side by side, each run at its own threshold; empty without a held-out patient.
fn compare_at(
    models: &[ArmModel<'_>],
    threshold: fn(&RunOutcome) -> Option<f32>,
    seed: u64,
) -> Comparison {
    let mut patients: Vec<(String, Patients)> = Vec::new();
    for model in models {
        patients.push((model.name.clone(), model.patients_at(threshold)));
    }
    compare(&patients, seed).unwrap_or(Comparison {
        arms: Vec::new(),
        tests: Vec::new(),
    })
}

/// The whole `experiment.json`.
pub(super) fn summary(name: &str, models: &[ArmModel<'_>], seed: u64) -> Experiment {
    let at_dice = compare_at(models, |run| run.threshold_dice, seed);
    let at_youden = compare_at(models, |run| run.threshold, seed);
    Experiment {
        version: EXPERIMENT_VERSION,
        software: env!("CARGO_PKG_VERSION").into(),
        name: name.into(),
        cases: at_youden.arms.first().map_or(0, |arm| arm.cases),
        models: models
            .iter()
            .filter_map(|model| model.summary(&at_dice, &at_youden))
            .collect(),
        tests: at_youden.tests,
        tests_at_dice: at_dice.tests,
    }
}

/// A run's means over the held-out patients.
fn means_at(run: &RunOutcome, threshold: Option<f32>) -> Metrics {
    let patients: Vec<Values> = held_out_at(run, threshold).into_values().collect();
    case_metrics::means(&patients)
}

fn seed_run(finished: &Finished, run: &RunOutcome) -> SeedRun {
    SeedRun {
        seed: finished.seed,
        folder: finished.folder.clone(),
        seconds: finished.outcome.seconds,
        bytes: run.rounds.iter().map(|round| round.bytes).sum(),
        best_round: run.best_round,
        threshold: run.threshold,
        metrics: means_at(run, run.threshold),
        threshold_dice: run.threshold_dice,
        metrics_at_dice: means_at(run, run.threshold_dice),
    }
}

/// Matrices of the same sites and subsets, averaged over seeds.
fn averaged(seeds: &[Matrix]) -> Option<Matrix> {
    let first = seeds.first()?;
    let row = |(index, own): (usize, &MatrixRow)| {
        let rows: Vec<&MatrixRow> = seeds
            .iter()
            .filter_map(|matrix| matrix.rows.get(index))
            .collect();
        let site = |site: &SiteCell| {
            let own = rows
                .iter()
                .filter_map(|row| row.sites.iter().find(|other| other.site == site.site));
            let cells: Vec<&Cell> = own.map(|site| &site.cell).collect();
            SiteCell {
                site: site.site.clone(),
                role: site.role,
                cell: mean_cell(&cells),
            }
        };
        MatrixRow {
            sequences: own.sequences.clone(),
            sites: own.sites.iter().map(site).collect(),
            held_out: mean_cell(&rows.iter().map(|row| &row.held_out).collect::<Vec<_>>()),
            validation: mean_cell(&rows.iter().map(|row| &row.validation).collect::<Vec<_>>()),
        }
    };
    let rows: Vec<MatrixRow> = first.rows.iter().enumerate().map(row).collect();
    let without = first
        .without
        .iter()
        .enumerate()
        .map(|(index, one)| mean_without(one, seeds, index));
    let without: Vec<Without> = without.collect();
    let change = without
        .iter()
        .filter_map(|one| Some((one.change.mean?, &one.sequence)));
    let worst_missing = change
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, sequence)| sequence.clone());
    let worst = |site: &Worst| {
        let own = seeds.iter().filter_map(|matrix| {
            matrix
                .worst_site
                .as_ref()
                .filter(|worst| worst.site == site.site)
        });
        Worst {
            site: site.site.clone(),
            dice: MeanSd::of(own.map(|worst| Some(worst.dice)))
                .mean
                .unwrap_or(site.dice),
        }
    };
    Some(Matrix {
        worst_site: seeds
            .iter()
            .filter_map(|matrix| matrix.worst_site.as_ref())
            .map(worst)
            .min_by(lower),
        worst_cell: worst_cell(&rows),
        worst_missing,
        rows,
        without,
    })
}

fn lower(a: &Worst, b: &Worst) -> std::cmp::Ordering {
    a.dice.total_cmp(&b.dice)
}

fn mean_cell(seeds: &[&Cell]) -> Cell {
    let metrics = |of: fn(&Cell) -> &Metrics| {
        case_metrics::means(
            &seeds
                .iter()
                .map(|cell| case_metrics::only_means(of(cell)))
                .collect::<Vec<_>>(),
        )
    };
    let dice = |of: fn(&Cell) -> MeanSd| MeanSd::of(seeds.iter().map(|cell| of(cell).mean));
    Cell {
        cases: seeds.first().map_or(0, |cell| cell.cases),
        metrics: metrics(|cell| &cell.metrics),
        dice_at: DiceAt {
            youden_pooled: dice(|cell| cell.dice_at.youden_pooled),
            dice: dice(|cell| cell.dice_at.dice),
        },
        change: metrics(|cell| &cell.change),
    }
}

fn mean_without(first: &Without, seeds: &[Matrix], index: usize) -> Without {
    let own = || seeds.iter().filter_map(|matrix| matrix.without.get(index));
    let of = |value: fn(&Without) -> MeanSd| MeanSd::of(own().map(|one| value(one).mean));
    Without {
        dice: of(|one| one.dice),
        dice_without: of(|one| one.dice_without),
        change: of(|one| one.change),
        ..first.clone()
    }
}
