//! Known results: tests/fixtures/rules.py computes the same in float64, with numpy.

use super::made::{Made, make_of, rule};
use super::*;
use protocol::settings::ServerOptimiser;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/rules.json")).unwrap()
}

fn numbers(of: &Value) -> Vec<f32> {
    let values = of.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap() as f32).collect()
}

/// The model of the script.
fn small() -> Manifest {
    let tensor = |name: &str, shape: &[usize], kind| TensorSpec {
        name: name.into(),
        shape: shape.into(),
        kind,
    };
    Manifest {
        tensors: vec![
            tensor("backbone.bn0.running_mean", &[2], Kind::RunningStatistic),
            tensor(STEM, &[2, 3, 1, 2], Kind::Weight),
            tensor("backbone.bn1.weight", &[5], Kind::Weight),
        ],
    }
}

fn one_slice() -> Input {
    Input {
        slices: 1,
        ..input()
    }
}

/// The sites of a round, with the sequences that the fixture has under this name.
fn sites(fixture: &Value, updates: &Value, sequences: &str) -> Vec<Site> {
    let mut sites = Vec::new();
    for (index, values) in updates.as_array().unwrap().iter().enumerate() {
        let bits = fixture[sequences][index].as_u64().unwrap() as u16;
        sites.push(Site {
            values: numbers(values),
            slices: fixture["slices"][index].as_u64().unwrap(),
            sequences: SequenceSet::from_bits(bits),
        });
    }
    sites
}

fn assert_close(found: &[f32], expected: &Value, most: f32, of: &str) {
    let expected = numbers(expected);
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let apart = (found - expected).abs() / expected.abs().max(1.0);
        assert!(apart <= most, "{of} at {index}: {found}, not {expected}");
    }
}

#[test]
fn robust_rules_make_what_numpy_makes() {
    let fixture = fixture();
    let newest = Made::first(&numbers(&fixture["newest"]));
    let sites = sites(&fixture, &fixture["updates"], "sequences");
    let arrival: Vec<usize> = (0..sites.len()).collect();
    for (name, aggregation) in [
        ("median", Aggregation::Median),
        ("trimmed_mean_1", Aggregation::TrimmedMean { faulty: 1 }),
        ("trimmed_mean_3", Aggregation::TrimmedMean { faulty: 3 }),
        ("krum_2", Aggregation::Krum { faulty: 2 }),
        (
            "multi_krum_2_3",
            Aggregation::MultiKrum {
                faulty: 2,
                chosen: 3,
            },
        ),
        ("geometric_median", Aggregation::GeometricMedian),
    ] {
        let made = make_of(
            &*rule(aggregation, None),
            &small(),
            &one_slice(),
            &newest,
            (&sites, &arrival),
        );
        assert_close(&made.values, &fixture["made"][name], 1e-6, name);
    }
}

fn optimiser(of: &Value) -> ServerOptimiser {
    let number = |key: &str| of[key].as_f64().unwrap();
    let rate = number("rate");
    match of["name"].as_str().unwrap() {
        "momentum" => ServerOptimiser::Momentum {
            rate,
            beta: number("beta"),
        },
        "adam" => ServerOptimiser::Adam {
            rate,
            beta1: number("beta1"),
            beta2: number("beta2"),
            tau: number("tau"),
        },
        "yogi" => ServerOptimiser::Yogi {
            rate,
            beta1: number("beta1"),
            beta2: number("beta2"),
            tau: number("tau"),
        },
        _ => ServerOptimiser::Adagrad {
            rate,
            beta1: number("beta1"),
            tau: number("tau"),
        },
    }
}

#[test]
fn optimisers_of_the_server_make_what_numpy_makes_round_by_round() {
    let fixture = fixture();
    for of in fixture["optimisers"].as_array().unwrap() {
        let rule = rule(Aggregation::SequenceAware, Some(optimiser(of)));
        let mut newest = Made::first(&numbers(&fixture["newest"]));
        for (round, updates) in fixture["rounds"].as_array().unwrap().iter().enumerate() {
            let sites = sites(&fixture, updates, "known_sequences");
            let arrival: Vec<usize> = (0..sites.len()).collect();
            newest = make_of(&*rule, &small(), &one_slice(), &newest, (&sites, &arrival));
            let name = format!("{}, round {}", of["name"], round + 1);
            assert_close(&newest.values, &of["models"][round], 2e-6, &name);
        }
    }
}
