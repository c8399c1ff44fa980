//! What each rule makes of the same updates, to the bit: run folders go on over releases, and a
//! simulation can be repeated.

use super::buffered::moved;
use super::made::{Made, make, rule};
use super::pipeline::vector;
use super::*;
use protocol::settings::ServerOptimiser;

/// Values of the small model, the same each time.
fn values(seed: u32) -> Vec<f32> {
    vector(seed)[..manifest().len()].to_vec()
}

/// Three sites, each without another sequence.
fn three() -> [Site; 3] {
    let site = |seed: u32, slices, bits| Site {
        values: values(seed),
        slices,
        sequences: SequenceSet::from_bits(bits),
    };
    [
        site(1, 100, 0b011),
        site(2, 37, 0b110),
        site(3, 4096, 0b010),
    ]
}

#[test]
fn every_rule_makes_the_model_that_it_always_made() {
    let models = [values(4), values(5), values(6)];
    let updates: Vec<(Site, u32)> = three().into_iter().zip([2, 0, 1]).collect();
    let mut made = Vec::new();
    for rule in [Aggregation::FedAvg, Aggregation::SequenceAware] {
        made.push(average(rule, &models[0], all(&three())));
        made.push(moved(rule, 0.7, &models, &updates));
    }
    let found: Vec<String> = made.iter().map(|model| id(model).to_string()).collect();
    assert_eq!(found, ["19a9d598", "8e02c966", "3eef2609", "dd262e1c"]);
}

#[test]
fn robust_rules_and_optimisers_make_the_models_that_they_always_made() {
    let mut sites = Vec::new();
    for seed in 1..=5 {
        sites.push(Site {
            values: values(seed),
            slices: 8 * u64::from(seed),
            sequences: SequenceSet::from_bits(if seed == 3 { 0b011 } else { 0b111 }),
        });
    }
    let momentum = ServerOptimiser::Momentum {
        rate: 0.7,
        beta: 0.9,
    };
    let yogi = ServerOptimiser::Yogi {
        rate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        tau: 1e-3,
    };
    let adagrad = ServerOptimiser::Adagrad {
        rate: 0.01,
        beta1: 0.0,
        tau: 1e-3,
    };
    let adam = ServerOptimiser::Adam {
        rate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        tau: 1e-3,
    };
    let mut found = Vec::new();
    for (name, optimiser) in [
        (Aggregation::Median, None),
        (Aggregation::TrimmedMean { faulty: 1 }, None),
        (Aggregation::Krum { faulty: 1 }, None),
        (
            Aggregation::MultiKrum {
                faulty: 1,
                chosen: 2,
            },
            None,
        ),
        (Aggregation::GeometricMedian, None),
        (Aggregation::SequenceAware, Some(momentum)),
        (Aggregation::SequenceAware, Some(adam)),
        (Aggregation::SequenceAware, Some(yogi)),
        (Aggregation::SequenceAware, Some(adagrad)),
    ] {
        let rule = rule(name, optimiser);
        let first = make(&*rule, &Made::first(&values(6)), &sites);
        let second = make(&*rule, &first, &sites[..4]);
        found.push(id(&second.values).to_string());
    }
    // Without the two extremes, four updates leave what the median is made of.
    let (value_by_value, whole) = found.split_at(2);
    assert_eq!(value_by_value, ["646b4761", "646b4761"]);
    assert_eq!(whole[..3], ["8ceb4e9e", "e681016c", "162dd5ca"]);
    assert_eq!(
        whole[3..],
        ["9a067aef", "1eebdbc2", "0c2bb27d", "b321964a"],
        "momentum, Adam, Yogi, Adagrad"
    );
}
