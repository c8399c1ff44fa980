//! A rule that keeps numbers on the server.

use super::pipeline::vector;
use super::*;

/// Moves on by what the updates' mean is away from the newest model, and by half of the last move.
struct Momentum;

impl<S: Source> Rule<S> for Momentum {
    fn kept(&self) -> usize {
        1
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        FedAvg.combine(round, block)?;
        round.read_model(round.newest(), block.start, block.base)?;
        for (index, value) in block.values.iter_mut().enumerate() {
            let newest = block.base[index];
            block.state[index] = 0.5 * block.state[index] + (*value - newest);
            *value = newest + block.state[index];
        }
        Ok(())
    }
}

/// The next model and what the rule keeps with it.
fn step(newest: &[f32], state: Option<&[f32]>, update: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let manifest = Manifest {
        tensors: vec![TensorSpec {
            name: "backbone.bn0.weight".into(),
            shape: vec![newest.len()],
            kind: Kind::Weight,
        }],
    };
    let parameters = id(update);
    let contribution = Contribution {
        site: "north".parse().unwrap(),
        parameters,
        slices: 8,
        sequences: SequenceSet::full(1),
        base: Version::INITIAL,
    };
    let checked = Checked::check(update, &manifest, parameters).unwrap();
    let models = Models {
        state,
        ..Models::only(Version::INITIAL, newest)
    };
    let average = Average {
        manifest: &manifest,
        input: &input(),
        rule: &Momentum,
    };
    let (mut values, mut kept) = (Vec::new(), Vec::new());
    let write = |made: Made<'_>| {
        values.extend_from_slice(made.values);
        kept.extend_from_slice(made.state);
        Ok(())
    };
    average
        .run(models, vec![(contribution, checked)], write)
        .unwrap();
    (values, kept)
}

#[test]
fn what_a_rule_keeps_comes_back_with_the_next_model() {
    let [start, one, other] = [1, 2, 3].map(vector);
    let (first, kept) = step(&start, None, &one);
    let (second, _) = step(&first, Some(kept.as_slice()), &other);
    for index in 0..start.len() {
        let move_one = one[index] - start[index];
        assert_eq!(kept[index], move_one);
        assert_eq!(first[index], start[index] + move_one);
        let move_two = 0.5 * move_one + (other[index] - first[index]);
        assert_eq!(second[index], first[index] + move_two);
    }
}
