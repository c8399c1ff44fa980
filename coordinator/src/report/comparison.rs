//! Models side by side on the same held-out patients: intervals and tests.

use super::case_metrics::{CaseMetrics, Values, means, value};
use super::schema::{Arm, Comparison, Intervals, MeanSd, Test};
use metrics::case_metrics::METRICS;
use metrics::statistics::{bootstrap, holm, mean, rank_sum, signed_rank};
use protocol::case::Role;
use protocol::outcome::{Outcome, RunOutcome};
use std::collections::BTreeMap;

/// Draws of the bootstrap.
const DRAWS: usize = 10_000;

/// Held-out patients by site and place: the same patient in every arm.
pub(super) type Patients = BTreeMap<(String, u32), Values>;

/// All training runs of a federation, each at its own threshold; without any held-out case there is
/// nothing to compare.
pub(super) fn comparison(
    outcome: &Outcome,
    threshold: fn(&RunOutcome) -> Option<f32>,
) -> Option<Comparison> {
    let of = |run: &RunOutcome| (run.name.to_string(), held_out_at(run, threshold(run)));
    let arms: Vec<_> = outcome.runs.iter().map(of).collect();
    compare(&arms, outcome.federation.seed)
}

/// The first arm, and every other one against it.
pub(super) fn compare(arms: &[(String, Patients)], seed: u64) -> Option<Comparison> {
    let (_, first) = arms.first().filter(|(_, patients)| !patients.is_empty())?;
    let mut tests: Vec<Test> = Vec::new();
    for (name, patients) in &arms[1..] {
        for metric in METRICS.iter().filter(|metric| metric.tested) {
            tests.push(test(name, metric.key, first, patients, seed));
        }
    }
    correct(&mut tests);
    Some(Comparison {
        arms: arms
            .iter()
            .map(|(name, patients)| arm(name, patients, seed))
            .collect(),
        tests,
    })
}

/// A training run's held-out patients at a threshold.
pub(super) fn held_out_at(run: &RunOutcome, threshold: Option<f32>) -> Patients {
    let sites = run.scores.iter().filter(|site| site.role == Role::Evaluate);
    let patients = sites.flat_map(|site| {
        site.cases.iter().map(|case| {
            (
                (site.site.to_string(), case.case),
                CaseMetrics::from(case).values(threshold),
            )
        })
    });
    patients.collect()
}

fn arm(name: &str, patients: &Patients, seed: u64) -> Arm {
    let values: Vec<Values> = patients.values().copied().collect();
    let interval = |name: &str| {
        let defined: Vec<f64> = values
            .iter()
            .filter_map(|values| value(values, name))
            .collect();
        interval(&defined, seed)
    };
    let mut intervals = Intervals::new();
    for metric in METRICS {
        intervals.insert(metric.key.to_owned(), interval(metric.key));
    }
    Arm {
        run: name.to_owned(),
        cases: values.len(),
        metrics: means(&values),
        intervals,
    }
}

fn interval(values: &[f64], seed: u64) -> Option<[f64; 2]> {
    bootstrap(values, mean, DRAWS, seed).map(|interval| [interval.low, interval.high])
}

fn test(name: &str, metric: &str, federation: &Patients, other: &Patients, seed: u64) -> Test {
    let pairs = federation.iter().filter_map(|(patient, values)| {
        Some((value(values, metric)?, value(other.get(patient)?, metric)?))
    });
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let differences: Vec<f64> = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| ours - theirs)
        .collect();
    Test {
        run: name.to_owned(),
        metric: metric.to_owned(),
        difference: MeanSd::of(differences.iter().copied().map(Some)),
        interval: interval(&differences, seed),
        signed_rank: signed_rank(&ours, &theirs).map(|test| test.p),
        signed_rank_holm: None,
        rank_sum: rank_sum(&ours, &theirs).map(|test| test.p),
        rank_sum_holm: None,
    }
}

/// Corrects each kind of test for all tests of that kind that could be made.
fn correct(tests: &mut [Test]) {
    let corrected = |p: fn(&Test) -> Option<f64>, tests: &[Test]| {
        let defined: Vec<usize> = (0..tests.len())
            .filter(|&i| p(&tests[i]).is_some())
            .collect();
        let holm = holm(
            &defined
                .iter()
                .filter_map(|&i| p(&tests[i]))
                .collect::<Vec<_>>(),
        );
        defined.into_iter().zip(holm).collect::<Vec<_>>()
    };
    for (index, p) in corrected(|test| test.signed_rank, tests) {
        tests[index].signed_rank_holm = Some(p);
    }
    for (index, p) in corrected(|test| test.rank_sum, tests) {
        tests[index].rank_sum_holm = Some(p);
    }
}
