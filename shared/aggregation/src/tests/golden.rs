//! What each rule makes of the same updates, to the bit: run folders go on over releases, and a
//! simulation can be repeated.

use super::buffered::moved;
use super::pipeline::vector;
use super::*;

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
