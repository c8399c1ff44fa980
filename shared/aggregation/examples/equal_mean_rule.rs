//! An aggregation rule that no release has: the mean in which every site counts the same.
//! `docs/developers/adding-a-rule.md` goes through it.
//!
//! ```sh
//! cargo run --release --locked -p aggregation --example equal_mean_rule
//! ```

#![allow(clippy::unwrap_used, reason = "an example, whose input is known")]

use aggregation::{AggregateError, Average, Block, Checked, Cut, FedAvg, Models, Round, Rule};
use aggregation::{Made, Source};
use metrics::sequence::SequenceSet;
use protocol::coordinator::Contribution;
use protocol::identity::Version;
use protocol::parameters::{Kind, Manifest, ParametersId, TensorSpec, to_bytes};
use protocol::settings::Input;

/// The mean of the updates, in which every site counts the same, however many slices it has seen.
struct EqualMean;

impl<S: Source> Rule<S> for EqualMean {
    fn cut(&self) -> Cut {
        Cut {
            sequences: true,
            statistics: false,
        }
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        let mut sites = 0;
        for update in round.updates(block.segment) {
            update.read(block.start, block.update)?;
            for (sum, value) in block.sums.iter_mut().zip(&*block.update) {
                *sum += f64::from(*value);
            }
            sites += 1;
        }
        if sites == 0 {
            return round.read_model(round.newest(), block.start, block.values);
        }
        for (value, sum) in block.values.iter_mut().zip(&*block.sums) {
            *value = (sum / f64::from(sites)) as f32;
        }
        Ok(())
    }
}

/// What a rule makes of three sites' updates of a model of four values, which was 0.
fn next_model<'a>(rule: &dyn Rule<&'a [f32]>, updates: &'a [(u64, [f32; 4]); 3]) -> Vec<f32> {
    let manifest = Manifest {
        tensors: vec![TensorSpec {
            name: "classifier.4.bias".into(),
            shape: vec![4],
            kind: Kind::Weight,
        }],
    };
    let input = Input {
        sequences: vec!["t1".into()],
        slices: 1,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: None,
    };
    let mut checked = Vec::new();
    for (site, (slices, values)) in ["east", "north", "south"].iter().zip(updates) {
        let parameters = ParametersId(*blake3::hash(&to_bytes(values)).as_bytes());
        let contribution = Contribution {
            site: site.parse().unwrap(),
            parameters,
            slices: *slices,
            sequences: SequenceSet::full(1),
            base: Version::INITIAL,
        };
        let update = Checked::check(values.as_slice(), &manifest, parameters).unwrap();
        checked.push((contribution, update));
    }
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule,
    };
    let mut made = Vec::new();
    let write = |block: Made<'_>| {
        made.extend_from_slice(block.values);
        Ok(())
    };
    average
        .run(
            Models::only(Version::INITIAL, [0.0; 4].as_slice()),
            checked,
            write,
        )
        .unwrap();
    made
}

fn main() {
    // The south has three times as many slices as the others.
    let updates = [
        (100, [1.0, 2.0, 3.0, 4.0]),
        (100, [1.5, 2.5, 3.5, 4.5]),
        (300, [3.5, 4.5, 5.5, 6.5]),
    ];
    let mean = next_model(&FedAvg, &updates);
    let equal = next_model(&EqualMean, &updates);
    println!("fed-avg {mean:?}");
    println!("equal   {equal:?}");
    assert_eq!(mean, [2.6, 3.6, 4.6, 5.6]);
    assert_eq!(equal, [2.0, 3.0, 4.0, 5.0]);
}
