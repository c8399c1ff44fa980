//! Models of many blocks: the order in which threads make them shows nowhere.

use super::made::{make_of, rule};
use super::*;
use protocol::settings::ServerOptimiser;

/// Several batches of blocks, the last one short.
const LENGTH: usize = 40 * BLOCK + 77;

fn wide() -> Manifest {
    let tensor = |name: &str, length, kind| TensorSpec {
        name: name.into(),
        shape: vec![length],
        kind,
    };
    let rest = LENGTH - 3 - BLOCK;
    Manifest {
        tensors: vec![
            tensor("backbone.bn0.running_mean", 3, Kind::RunningStatistic),
            tensor("backbone.conv1.weight", rest, Kind::Weight),
            tensor("backbone.bn1.running_var", BLOCK, Kind::RunningStatistic),
        ],
    }
}

pub(super) fn vector(seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 1e6 - 8.0
    };
    std::iter::repeat_with(next).take(LENGTH).collect()
}

/// A vector that may be readable up to some index only.
struct Stored<'a> {
    values: &'a [f32],
    readable: usize,
}

impl Source for Stored<'_> {
    type Error = &'static str;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error> {
        if start + out.len() > self.readable {
            return Err("unreadable");
        }
        out.copy_from_slice(&self.values[start..start + out.len()]);
        Ok(())
    }
}

/// The sites' updates, with weights 1, 2, 3, ..., from the model of round 0.
fn updates(vectors: &[Vec<f32>], readable: usize) -> Vec<(Contribution, Checked<Stored<'_>>)> {
    let update = |(index, values)| {
        let (site, parameters) = (
            format!("site-{index}").parse().unwrap(),
            ParametersId([index as u8; 32]),
        );
        let (slices, sequences) = (index as u64 + 1, SequenceSet::full(3));
        let checked = Checked {
            parameters,
            source: Stored { values, readable },
        };
        (
            Contribution {
                site,
                parameters,
                slices,
                sequences,
                base: Version::INITIAL,
            },
            checked,
        )
    };
    vectors
        .iter()
        .map(Vec::as_slice)
        .enumerate()
        .map(update)
        .collect()
}

/// The average, or the next version of a buffer, made by so many threads.
fn made(threads: usize, buffered: bool, vectors: &[Vec<f32>], start: &[f32]) -> Vec<f32> {
    let (manifest, input, mut new) = (wide(), input(), Vec::new());
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(Aggregation::FedAvg, buffered.then_some(0.5)),
    };
    let write = |made: Made<'_>| {
        new.extend_from_slice(made.values);
        Ok(())
    };
    let (updates, start) = (
        updates(vectors, LENGTH),
        Stored {
            values: start,
            readable: LENGTH,
        },
    );
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let done = pool.install(|| average.run(Models::only(Version::INITIAL, start), updates, write));
    done.unwrap();
    new
}

#[test]
fn any_number_of_threads_makes_the_model_that_a_plain_loop_makes() {
    let (vectors, start) = ([vector(1), vector(2), vector(3)], vector(4));
    let plain = |buffered: bool, index: usize| {
        let base = if buffered {
            f64::from(start[index])
        } else {
            0.0
        };
        let weighted = vectors
            .iter()
            .zip([1.0, 2.0, 3.0])
            .map(|(values, n)| n * (f64::from(values[index]) - base));
        let sum = weighted.fold(0.0, |sum, value| sum + value);
        (if buffered {
            base + 0.5 / 6.0 * sum
        } else {
            sum / 6.0
        }) as f32
    };
    for buffered in [false, true] {
        let expected: Vec<f32> = (0..LENGTH).map(|index| plain(buffered, index)).collect();
        for threads in [1, 2, 5] {
            assert!(
                bits(&made(threads, buffered, &vectors, &start)) == bits(&expected),
                "{threads} threads"
            );
        }
    }
}

#[test]
fn what_fails_in_a_late_block_fails_the_whole() {
    let (manifest, input, vectors) = (wide(), input(), [vector(1), vector(2)]);
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(Aggregation::FedAvg, None),
    };
    let run = |readable: usize, writable: usize| {
        let mut written = 0;
        let write = |made: Made<'_>| {
            written += made.values.len();
            if written > writable {
                Err("full")
            } else {
                Ok(())
            }
        };
        let start = Stored {
            values: &vectors[0],
            readable: LENGTH,
        };
        average.run(
            Models::only(Version::INITIAL, start),
            updates(&vectors, readable),
            write,
        )
    };
    assert_eq!(run(LENGTH, LENGTH), Ok(()));
    assert_eq!(
        run(LENGTH - 1, LENGTH),
        Err(AggregateError::Storage("unreadable"))
    );
    assert_eq!(
        run(20 * BLOCK, LENGTH),
        Err(AggregateError::Storage("unreadable"))
    );
    assert_eq!(
        run(LENGTH, 20 * BLOCK),
        Err(AggregateError::Storage("full"))
    );
    assert_eq!(
        run(LENGTH, LENGTH - 1),
        Err(AggregateError::Storage("full"))
    );
}

#[test]
fn any_number_of_threads_makes_the_same_of_rules_that_compare_or_keep() {
    let mut sites = Vec::new();
    for seed in 1..=3 {
        sites.push(Site {
            values: vector(seed),
            slices: 8,
            sequences: SequenceSet::full(SEQUENCES),
        });
    }
    let adam = ServerOptimiser::Adam {
        rate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        tau: 1e-3,
    };
    for (name, optimiser) in [
        (Aggregation::Krum { faulty: 1 }, None),
        (Aggregation::GeometricMedian, None),
        (Aggregation::Median, Some(adam)),
    ] {
        let rule = rule(name, optimiser);
        let mut expected = None;
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let first = made::Made::first(&vector(4));
            let made =
                pool.install(|| make_of(&*rule, &wide(), &input(), &first, (&sites, &[0, 1, 2])));
            let expected = expected.get_or_insert_with(|| made.clone());
            assert!(
                bits(&made.values) == bits(&expected.values)
                    && bits(&made.state) == bits(&expected.state),
                "{name:?} with {threads} threads"
            );
        }
    }
}
