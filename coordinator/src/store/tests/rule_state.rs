//! What an aggregation rule keeps is in the folder of the model that it belongs to.

use super::buffered::update;
use super::*;
use aggregation::{AggregateError, Block, Round, Rule};

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
        rule: &Counting,
    };
    let updates = vec![update(store, ("north", round - 1), 1.0, 8)];
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
