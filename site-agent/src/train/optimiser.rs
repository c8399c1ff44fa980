//! The optimiser of one round, and gradient clipping by the norm over all parameters.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use shared::federation::{Optimiser, Training};
use std::collections::HashMap;

/// Momentum of stochastic gradient descent; without dampening, as PyTorch's default.
const MOMENTUM: f64 = 0.9;
/// PyTorch's default for Adam; burn's is a thousand times larger.
const EPSILON: f32 = 1e-8;

/// Gradients are summed in parts of this size: over larger ones, burn's sum depends on how threads share the work.
const PART: usize = 1 << 20;

/// A fresh optimiser: its state lives for one round.
pub(super) fn optimiser(training: &Training) -> ModuleOptimizer {
    let decay = training.weight_decay as f32;
    let penalty = (decay > 0.0).then(|| WeightDecayConfig::new(decay));
    match training.optimiser {
        Optimiser::Adam => AdamConfig::new().with_epsilon(EPSILON).with_weight_decay(penalty).init(),
        Optimiser::AdamW => AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(decay).init(),
        Optimiser::Sgd => {
            let momentum = MomentumConfig::new().with_momentum(MOMENTUM).with_dampening(0.0);
            SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(penalty).init()
        }
    }
}

/// The euclidean norm of all gradients together.
pub(super) fn norm<M: Module>(gradients: &GradientsParams, module: &M) -> f64 {
    let mut squares = Squares { gradients, sums: Vec::new() };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    // One transfer from the device for all tensors together.
    let sums = Tensor::cat(squares.sums, 0).into_data();
    sums.iter::<f32>().map(f64::from).sum::<f64>().sqrt()
}

/// All gradients multiplied by `factor`.
pub(super) fn scaled<M: Module>(gradients: GradientsParams, module: &M, factor: f64) -> GradientsParams {
    let mut scale = Scale { from: gradients, to: GradientsParams::new(), factor };
    module.visit(&mut scale);
    scale.to
}

/// The parameters of a moment, to draw later ones back to.
pub(super) struct Anchor(HashMap<ParamId, Tensor<1>>);

impl Anchor {
    pub(super) fn of<M: Module>(module: &M) -> Self {
        let mut held = Self(HashMap::new());
        module.visit(&mut held);
        held
    }

    /// Gradients of the loss with `mu / 2` times the squared distance from here added: they grow by `mu * (w - start)`.
    pub(super) fn draw_back<M: Module>(&self, gradients: GradientsParams, module: &M, mu: f64) -> GradientsParams {
        let mut pull = Pull { from: gradients, to: GradientsParams::new(), anchor: self, mu };
        module.visit(&mut pull);
        pull.to
    }
}

impl ModuleVisitor for Anchor {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0.insert(parameter.id, parameter.val().inner().flatten(0, D - 1));
    }
}

struct Pull<'a> {
    from: GradientsParams,
    to: GradientsParams,
    anchor: &'a Anchor,
    mu: f64,
}

impl ModuleVisitor for Pull<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.from.remove::<D>(parameter.id) else { return };
        let gradient = match self.anchor.0.get(&parameter.id) {
            Some(start) => {
                let start = start.clone().reshape(gradient.dims());
                gradient + (parameter.val().inner() - start).mul_scalar(self.mu)
            }
            None => gradient,
        };
        self.to.register(parameter.id, gradient);
    }
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(parameter.id) else { return };
        let squares: Tensor<1> = gradient.square().flatten(0, D - 1);
        let length = squares.dims()[0];
        let parts = (0..length).step_by(PART).map(|start| start..length.min(start + PART));
        self.sums.extend(parts.map(|part| squares.clone().slice([part]).sum()));
    }
}

struct Scale {
    from: GradientsParams,
    to: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.from.remove::<D>(parameter.id) {
            self.to.register(parameter.id, gradient.mul_scalar(self.factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Initializer;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Two {
        plane: Param<Tensor<2>>,
        line: Param<Tensor<1>>,
    }

    fn two(device: &Device) -> Two {
        Two {
            plane: Initializer::Constant { value: 1.0 }.init([2, 2], device),
            line: Initializer::Constant { value: 1.0 }.init([3], device),
        }
    }

    /// Gradients 2 on the plane and 3 on the line.
    fn gradients(module: &Two) -> GradientsParams {
        let sum = module.plane.val().sum().mul_scalar(2.0) + module.line.val().sum().mul_scalar(3.0);
        GradientsParams::from_grads(sum.backward(), module)
    }

    #[test]
    fn drawing_back_adds_mu_times_the_way_gone() {
        let device = Device::flex().autodiff();
        let start = two(&device);
        let anchor = Anchor::of(&start);
        let mut plain: ModuleOptimizer = SgdConfig::new().init();
        let gone = plain.step(0.5, start.clone(), gradients(&start));
        // One step of 0.5 along gradients of 2 and 3: the ways gone are -1 and -1.5.
        let drawn = anchor.draw_back(gradients(&gone), &gone, 0.1);
        let of = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let plane = of(drawn.get::<2>(gone.plane.id).unwrap().flatten(0, 1));
        assert!(plane.iter().all(|value| (value - 1.9).abs() < 1e-6), "{plane:?}");
        let line = of(drawn.get::<1>(gone.line.id).unwrap());
        assert!(line.iter().all(|value| (value - 2.85).abs() < 1e-6), "{line:?}");
    }

    #[test]
    fn the_norm_is_over_all_tensors_and_scaling_scales_it() {
        let module = two(&Device::flex().autodiff());
        let expected = (4.0f64 * 4.0 + 3.0 * 9.0).sqrt();
        assert!((norm(&gradients(&module), &module) - expected).abs() < 1e-6);
        let half = scaled(gradients(&module), &module, 0.5);
        assert!((norm(&half, &module) - expected / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_tensor_summed_in_parts_is_summed_whole() {
        let device = Device::flex().autodiff();
        let line: Param<Tensor<1>> = Initializer::Constant { value: 0.0 }.init([2 * PART + 7], &device);
        let module = Two { line, ..two(&device) };
        let expected = (4.0f64 * 4.0 + (2 * PART + 7) as f64 * 9.0).sqrt();
        assert!((norm(&gradients(&module), &module) / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn momentum_carries_over_steps_as_in_pytorch() {
        let training = training(Optimiser::Sgd, 0.0);
        let mut module = two(&Device::flex().autodiff());
        let mut optimiser = optimiser(&training);
        for _ in 0..2 {
            let found = gradients(&module);
            module = optimiser.step(0.1, module, found);
        }
        // 1 - 0.1 * 2 - 0.1 * (0.9 * 2 + 2)
        let value = module.plane.val().into_data().iter::<f32>().next().unwrap();
        assert!((value - 0.42).abs() < 1e-6, "{value}");
    }

    #[test]
    fn the_first_step_of_adam_is_the_learning_rate_and_adamw_decays_apart_from_it() {
        for (kind, expected) in [(Optimiser::Adam, 0.9), (Optimiser::AdamW, 0.9 - 0.1 * 0.5)] {
            let module = two(&Device::flex().autodiff());
            let found = gradients(&module);
            let module = optimiser(&training(kind, 0.5)).step(0.1, module, found);
            let value = module.line.val().into_data().iter::<f32>().next().unwrap();
            assert!((value - expected).abs() < 1e-5, "{kind:?} {value}");
        }
    }

    fn training(optimiser: Optimiser, weight_decay: f64) -> Training {
        Training { optimiser, weight_decay, ..crate::train::tests::federation("").training }
    }
}
