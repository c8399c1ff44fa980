//! An aggregation rule that no release has: the median of each value over the sites.
//! `docs/developers/adding-a-rule.md` goes through it.
//!
//! ```sh
//! cargo run --release --locked -p aggregation --example median_rule
//! ```

#![allow(clippy::unwrap_used, reason = "an example, whose input is known")]

use aggregation::{AggregateError, Average, Block, Checked, Cut, FedAvg, Models, Round, Rule};
use aggregation::{Made, Source};
use metrics::sequence::SequenceSet;
use protocol::coordinator::Contribution;
use protocol::identity::Version;
use protocol::parameters::{Kind, Manifest, ParametersId, TensorSpec, to_bytes};
use protocol::settings::Input;

/// The median of each value over the updates, whatever their weights (Yin et al. 2018, arXiv
/// 1803.01498): fewer than half of the sites can send what they like and not move it far.
struct Median;

impl<S: Source> Rule<S> for Median {
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
        let mut learnt: Vec<Vec<f32>> = Vec::new();
        for update in round.updates(block.segment) {
            update.read(block.start, block.update)?;
            learnt.push(block.update.to_vec());
        }
        if learnt.is_empty() {
            return round.read_model(round.newest(), block.start, block.values);
        }
        let mut column = vec![0.0; learnt.len()];
        for (index, value) in block.values.iter_mut().enumerate() {
            for (site, values) in learnt.iter().enumerate() {
                column[site] = values[index];
            }
            column.sort_unstable_by(f32::total_cmp);
            let (low, high) = (column[(column.len() - 1) / 2], column[column.len() / 2]);
            *value = 0.5 * low + 0.5 * high;
        }
        Ok(())
    }
}

/// What a rule makes of three sites' updates of a model of four values, which was 0.
fn next_model<'a>(rule: &dyn Rule<&'a [f32]>, updates: &'a [[f32; 4]; 3]) -> Vec<f32> {
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
    for (site, values) in ["east", "north", "south"].iter().zip(updates) {
        let parameters = ParametersId(*blake3::hash(&to_bytes(values)).as_bytes());
        let contribution = Contribution {
            site: site.parse().unwrap(),
            parameters,
            slices: 100,
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
    // The scanner of the south has written one value a thousand times too large.
    let updates = [
        [1.0, 2.0, 3.0, 4.0],
        [1.5, 2.5, 3.5, 4.5],
        [2.0, 3.0, 4000.0, 5.0],
    ];
    let mean = next_model(&FedAvg, &updates);
    let median = next_model(&Median, &updates);
    println!("fed-avg {mean:?}");
    println!("median  {median:?}");
    assert_eq!(median, [1.5, 2.5, 3.5, 4.5]);
}
