//! What an aggregation rule keeps is in the folder of the model that it belongs to.

use super::buffered::update;
use super::*;
use aggregation::{AggregateError, Block, Round, Rule, with_optimiser};
use protocol::settings::ServerOptimiser;

/// Makes models of how often the rule was at work.
struct Counting;

impl Rule<FileSource> for Counting {
    fn kept(&self) -> usize {
        2
    }

    fn combine(
        &self,
        _: &Round<FileSource>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<StoreError>> {
        for (index, value) in block.values.iter_mut().enumerate() {
            block.state[2 * index] += 1.0;
            block.state[2 * index + 1] -= 1.0;
            *value = block.state[2 * index];
        }
        Ok(())
    }
}

/// Makes the model of a round of one update.
fn aggregate(store: &Store, round: u32) -> ParametersId {
    aggregate_by(&Counting, store, round, 1.0)
}

/// The same by any rule, of one update of these values.
fn aggregate_by(
    rule: &dyn Rule<FileSource>,
    store: &Store,
    round: u32,
    value: f32,
) -> ParametersId {
    let manifest = manifest();
    let input = Input {
        sequences: vec!["a".into()],
        slices: 1,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: None,
    };
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule,
    };
    let updates = vec![update(store, ("north", round - 1), value, 8)];
    store.aggregate(&average, place(round), updates).unwrap()
}

#[test]
fn a_rule_goes_on_from_what_it_kept_and_a_restored_model_brings_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(0.0)).unwrap();
    assert_eq!(aggregate(&store, 1), model(1.0).id());
    assert_eq!(aggregate(&store, 2), model(2.0).id());
    assert_eq!(
        aggregate(&store, 2),
        model(2.0).id(),
        "made again after a restart it is the same"
    );
    store.restore(FIRST, place(2), &manifest()).unwrap();
    assert_eq!(aggregate(&store, 3), model(2.0).id());
    store.restore(START, place(3), &manifest()).unwrap();
    assert_eq!(aggregate(&store, 4), model(1.0).id());
}

#[test]
fn what_a_rule_kept_goes_with_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(0.0)).unwrap();
    for round in 1..=4 {
        aggregate(&store, round);
    }
    store.prune(&checkpoint(4)).unwrap();
    for round in 1..=4 {
        let (model, state) = (store.model(place(round)), store.rule_state(place(round)));
        assert_eq!(model.exists(), state.exists(), "round {round}");
    }
    assert!(!store.rule_state(FIRST).exists());
}

/// The models of four rounds, each made of another update. `interrupted` makes each of them twice,
/// with the folder closed and opened before both.
fn four_rounds(optimiser: ServerOptimiser, interrupted: bool) -> Vec<ParametersId> {
    let folder = tempfile::tempdir().unwrap();
    let rule = with_optimiser(named_rule(Aggregation::FedAvg, None), optimiser);
    let mut store = open(folder.path()).0;
    store.put_model(START, &model(0.25)).unwrap();
    let mut made = Vec::new();
    for (round, value) in [(1, 1.0), (2, 0.7), (3, -0.3), (4, 0.1)] {
        if interrupted {
            for _ in 0..2 {
                store.persist(&checkpoint(round - 1)).unwrap();
                drop(store);
                store = open(folder.path()).0;
                aggregate_by(&*rule, &store, round, value);
            }
        }
        made.push(aggregate_by(&*rule, &store, round, value));
    }
    made
}

#[test]
fn an_optimiser_that_is_interrupted_makes_the_same_models_to_the_bit() {
    let (rate, beta1, beta2, tau) = (0.05, 0.9, 0.99, 0.1);
    let mut all = Vec::new();
    for optimiser in [
        ServerOptimiser::Momentum {
            rate: 1.0,
            beta: 0.9,
        },
        ServerOptimiser::Adam {
            rate,
            beta1,
            beta2,
            tau,
        },
        ServerOptimiser::Yogi {
            rate,
            beta1,
            beta2,
            tau,
        },
        ServerOptimiser::Adagrad { rate, beta1, tau },
    ] {
        let undisturbed = four_rounds(optimiser, false);
        assert_eq!(four_rounds(optimiser, true), undisturbed, "{optimiser:?}");
        all.extend(undisturbed);
    }
    let different: std::collections::BTreeSet<ParametersId> = all.iter().copied().collect();
    assert_eq!(
        different.len(),
        all.len(),
        "what is kept changes every model"
    );
}
