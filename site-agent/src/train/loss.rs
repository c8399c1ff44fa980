//! What training lowers: weighted cross entropy and soft Dice.

use crate::device::{mean, total};
use burn::tensor::{Tensor, activation};

/// Keeps the soft Dice of a batch without lesion defined, and near 0 when nothing is called lesion.
const SMOOTH: f32 = 1.0;

/// The loss of a batch, one value.
///
/// Cross entropy from logits `x` and labels `y` in {0, 1}, averaged over all pixels, lesion pixels
/// weighted by `w`: `(1 - y) x - (1 + (w - 1) y) log sigmoid(x)`, as
/// `BCEWithLogitsLoss(pos_weight=w)` of PyTorch; plus `dice_weight` times `1 - (2 sum(p y) + 1) /
/// (sum(p) + sum(y) + 1)` with `p = sigmoid(x)`, over all pixels of the batch (Milletari et al.
/// 2016, arXiv 1606.04797, with the unsquared denominator).
///
/// # Shapes
/// - logits, labels: `[batch, 1, height, width]`
pub(super) fn loss(
    logits: Tensor<4>,
    labels: Tensor<4>,
    positive_weight: f32,
    dice_weight: f32,
) -> Tensor<1> {
    let certainty = activation::log_sigmoid(logits.clone());
    let weight = labels
        .clone()
        .mul_scalar(positive_weight - 1.0)
        .add_scalar(1.0);
    let others = labels.clone().neg().add_scalar(1.0);
    let entropy = mean(others * logits.clone() - weight * certainty);
    if dice_weight == 0.0 {
        return entropy;
    }
    let probability = activation::sigmoid(logits);
    let both = total(probability.clone() * labels.clone())
        .mul_scalar(2.0)
        .add_scalar(SMOOTH);
    let either = (total(probability) + total(labels)).add_scalar(SMOOTH);
    entropy
        + (both / either)
            .neg()
            .add_scalar(1.0)
            .mul_scalar(dice_weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[derive(serde::Deserialize)]
    struct Fixture {
        shape: [usize; 4],
        logits: Vec<f32>,
        labels: Vec<f32>,
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        positive_weight: f32,
        dice_weight: f32,
        loss: f32,
        gradient: Vec<f32>,
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * b.abs().max(1e-2)
    }

    #[test]
    fn loss_and_gradient_are_pytorchs_even_at_extreme_logits() {
        let fixture: Fixture =
            serde_json::from_str(include_str!("../../../tests/fixtures/loss.json")).unwrap();
        let device = Device::flex().autodiff();
        for case in fixture.cases {
            let logits = TensorData::new(fixture.logits.clone(), fixture.shape);
            let labels = TensorData::new(fixture.labels.clone(), fixture.shape);
            let logits = Tensor::<4>::from_data(logits, &device).require_grad();
            let found = loss(
                logits.clone(),
                Tensor::from_data(labels, &device),
                case.positive_weight,
                case.dice_weight,
            );
            let gradient = logits
                .grad(&found.backward())
                .unwrap()
                .into_data()
                .try_to_vec::<f32>()
                .unwrap();
            let found = found.into_scalar::<f32>();
            assert!(close(found, case.loss), "{found} {}", case.loss);
            for (&found, &expected) in gradient.iter().zip(&case.gradient) {
                assert!(close(found, expected), "{found} {expected}");
            }
        }
    }
}
