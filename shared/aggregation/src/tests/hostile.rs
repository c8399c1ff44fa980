//! A federation of nine sites, two of them hostile, that learns a model for which the right answer
//! is known: logistic regression on synthetic examples.

use super::made::{Made, make_of, rule};
use super::*;

const INPUTS: usize = 20;
const SITES: usize = 9;
const HOSTILE: usize = 2;
const ROUNDS: usize = 30;
const EXAMPLES: usize = 200;

/// Numbers between -1 and 1, the same each time.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

struct Example {
    inputs: [f64; INPUTS],
    is_positive: bool,
}

/// Examples around another middle at each site, with one label in twenty turned.
fn examples(random: &mut Random, count: usize, middle: f64) -> Vec<Example> {
    let mut examples = Vec::new();
    for _ in 0..count {
        let mut inputs = [0.0; INPUTS];
        let mut sum = 0.0;
        for (index, input) in inputs.iter_mut().enumerate() {
            *input = random.draw() + middle;
            let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
            sum += sign * (1.0 + index as f64 / 10.0) * *input;
        }
        let turned = random.draw() > 0.9;
        examples.push(Example {
            inputs,
            is_positive: (sum > 0.0) != turned,
        });
    }
    examples
}

fn logit(model: &[f32], inputs: &[f64; INPUTS]) -> f64 {
    let mut sum = f64::from(model[INPUTS]);
    for (weight, input) in model.iter().zip(inputs) {
        sum += f64::from(*weight) * input;
    }
    sum
}

/// Five steps of gradient descent on all examples of a site.
fn train(start: &[f32], examples: &[Example]) -> Vec<f32> {
    let mut model = start.to_vec();
    for _ in 0..5 {
        let mut gradient = [0.0; INPUTS + 1];
        for example in examples {
            let probability = 1.0 / (1.0 + (-logit(&model, &example.inputs)).exp());
            let wrong = probability - f64::from(u8::from(example.is_positive));
            for (sum, input) in gradient.iter_mut().zip(&example.inputs) {
                *sum += wrong * input;
            }
            gradient[INPUTS] += wrong;
        }
        for (weight, sum) in model.iter_mut().zip(gradient) {
            *weight -= (0.5 * sum / examples.len() as f64) as f32;
        }
    }
    model
}

/// The share of examples that a model gets right.
fn right(model: &[f32], examples: &[Example]) -> f64 {
    let mut right = 0;
    for example in examples {
        if (logit(model, &example.inputs) > 0.0) == example.is_positive {
            right += 1;
        }
    }
    f64::from(right) / examples.len() as f64
}

/// What a hostile site sends in place of an honest update: its opposite, so many times as large.
fn turned(start: &[f32], honest: &[f32], times: f32) -> Vec<f32> {
    let mut update = Vec::new();
    for (before, after) in start.iter().zip(honest) {
        update.push(before - times * (after - before));
    }
    update
}

/// The share of new examples that the federation's last model gets right, where the hostile sites
/// send the opposite of what they learn; `None` without any.
fn learnt(name: Aggregation, times: Option<f32>) -> f64 {
    let mut random = Random(7);
    let mut data = Vec::new();
    for index in 0..SITES {
        let middle = 0.1 * (index as f64 - 4.0);
        data.push(examples(&mut random, EXAMPLES, middle));
    }
    let unseen = examples(&mut random, 2000, 0.0);
    let manifest = Manifest {
        tensors: vec![TensorSpec {
            name: "classifier.weight".into(),
            shape: vec![INPUTS + 1],
            kind: Kind::Weight,
        }],
    };
    let rule = rule(name, None);
    let arrival: Vec<usize> = (0..SITES).collect();
    let mut newest = Made::first(&[0.0; INPUTS + 1]);
    for _ in 0..ROUNDS {
        let mut sites = Vec::new();
        for (index, examples) in data.iter().enumerate() {
            let honest = train(&newest.values, examples);
            let values = match times {
                Some(times) if index < HOSTILE => turned(&newest.values, &honest, times),
                _ => honest,
            };
            sites.push(Site {
                values,
                slices: EXAMPLES as u64,
                sequences: SequenceSet::full(SEQUENCES),
            });
        }
        newest = make_of(&*rule, &manifest, &input(), &newest, (&sites, &arrival));
    }
    right(&newest.values, &unseen)
}

/// Run with `--nocapture` for the table in docs/science/RESULTS.md.
#[test]
fn two_hostile_sites_of_nine_break_the_mean_and_no_robust_rule() {
    println!("rule | all honest | opposite | 5 times | 100 times");
    for (name, is_robust) in [
        (Aggregation::FedAvg, false),
        (Aggregation::Median, true),
        (Aggregation::TrimmedMean { faulty: HOSTILE }, true),
        (Aggregation::Krum { faulty: HOSTILE }, true),
        (
            Aggregation::MultiKrum {
                faulty: HOSTILE,
                chosen: 5,
            },
            true,
        ),
        (Aggregation::GeometricMedian, true),
    ] {
        let honest = learnt(name, None);
        let [opposite, five, hundred] = [1.0, 5.0, 100.0].map(|times| learnt(name, Some(times)));
        println!("{name:?} | {honest:.3} | {opposite:.3} | {five:.3} | {hundred:.3}");
        assert!(honest > 0.85, "{name:?}: {honest}");
        if is_robust {
            for attacked in [opposite, five, hundred] {
                assert!(
                    attacked > honest - 0.03,
                    "{name:?}: {attacked}, not {honest}"
                );
            }
        } else {
            assert!(five < 0.5 && hundred < 0.5, "{name:?}: {five}, {hundred}");
        }
    }
}
