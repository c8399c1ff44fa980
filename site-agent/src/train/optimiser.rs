//! The optimiser of one round, and gradient clipping by the norm over all parameters.

use crate::device::{self, AdamStep, DeviceFault, MomentumStep};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use protocol::settings::{Optimiser, Training};
use std::collections::HashMap;

/// An optimiser with its state, which is dropped at the end of the round.
pub struct LocalOptimiser {
    kind: Optimiser,
    decay: f64,
    steps: i32,
    state: HashMap<ParamId, State>,
}

/// The running averages of one parameter's gradients, `[values]`.
enum State {
    /// Adam's first and second moment.
    Moments(Box<[Tensor<1>; 2]>),
    /// Of gradient descent with momentum.
    Velocity(Box<Tensor<1>>),
}

impl LocalOptimiser {
    /// `decay` is the weight decay: added to the gradient, or, with AdamW, applied to the weights.
    #[must_use]
    pub fn new(kind: Optimiser, decay: f64) -> Self {
        Self {
            kind,
            decay,
            steps: 0,
            state: HashMap::new(),
        }
    }

    pub(super) fn of(training: &Training) -> Self {
        Self::new(training.optimiser, training.weight_decay)
    }

    /// One step along the negative gradients, which are multiplied by `factor` first. `rate` is the
    /// learning rate.
    pub fn step<M: Module>(
        &mut self,
        rate: f64,
        module: M,
        gradients: GradientsParams,
        factor: f64,
    ) -> M {
        self.steps += 1;
        module.map(&mut StepMapper {
            optimiser: self,
            gradients,
            rate,
            factor,
        })
    }

    fn adam(&self, rate: f64, factor: f64) -> AdamStep {
        let mut step = AdamStep {
            rate: rate as f32,
            factor: factor as f32,
            penalty: self.decay as f32,
            shrink: 1.0,
            corrections: AdamStep::BETAS
                .map(|beta| (1.0 - f64::from(beta).powi(self.steps)) as f32),
        };
        if self.kind == Optimiser::AdamW {
            step.penalty = 0.0;
            step.shrink = (1.0 - rate * self.decay) as f32;
        }
        step
    }

    /// A parameter's value after the step, `[values]` like the weights and the gradient.
    fn stepped(
        &mut self,
        id: ParamId,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        rate: f64,
        factor: f64,
    ) -> Tensor<1> {
        let state = self.state.remove(&id);
        match self.kind {
            Optimiser::Adam | Optimiser::AdamW => {
                let moments = match state {
                    Some(State::Moments(moments)) => *moments,
                    _ => [gradient.zeros_like(), gradient.zeros_like()],
                };
                let [weights, first, second] =
                    device::adam(weights, gradient, moments, self.adam(rate, factor));
                self.state
                    .insert(id, State::Moments(Box::new([first, second])));
                weights
            }
            Optimiser::Sgd => {
                let velocity = match state {
                    Some(State::Velocity(velocity)) => *velocity,
                    _ => gradient.zeros_like(),
                };
                let step = MomentumStep {
                    rate: rate as f32,
                    factor: factor as f32,
                    penalty: self.decay as f32,
                };
                let [weights, velocity] = device::momentum(weights, gradient, velocity, step);
                self.state.insert(id, State::Velocity(Box::new(velocity)));
                weights
            }
        }
    }
}

/// Replaces each parameter by its value after the step.
struct StepMapper<'a> {
    optimiser: &'a mut LocalOptimiser,
    gradients: GradientsParams,
    rate: f64,
    factor: f64,
}

impl ModuleMapper for StepMapper<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = parameter.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.dims();
        let weights = tensor.inner().flatten(0, D - 1);
        let gradient = gradient.flatten(0, D - 1);
        let moved = self
            .optimiser
            .stepped(id, weights, gradient, self.rate, self.factor);
        let tensor = Tensor::from_inner(moved.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// The Euclidean norm of all gradients together.
///
/// # Errors
/// The device failed.
pub(super) fn norm<M: Module>(gradients: &GradientsParams, module: &M) -> Result<f64, DeviceFault> {
    let mut visitor = SquaredNorms {
        gradients,
        sums: Vec::new(),
    };
    module.visit(&mut visitor);
    if visitor.sums.is_empty() {
        return Ok(0.0);
    }
    // One transfer from the device for all tensors.
    let sums = device::read(Tensor::cat(visitor.sums, 0))?;
    Ok(sums.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// The proximal term of FedProx (Li et al. 2020, arXiv 1812.06127): `mu / 2` times the squared
/// distance of the weights from those at the start of the round.
pub(super) struct ProximalTerm(HashMap<ParamId, Tensor<1>>);

impl ProximalTerm {
    pub(super) fn of<M: Module>(module: &M) -> Self {
        let mut anchor = Self(HashMap::new());
        module.visit(&mut anchor);
        anchor
    }

    /// The gradients of the loss with the proximal term: `gradient + mu * (w - start)`.
    pub(super) fn add_gradient<M: Module>(
        &self,
        gradients: GradientsParams,
        module: &M,
        mu: f64,
    ) -> GradientsParams {
        let mut visitor = AddProximal {
            from: gradients,
            to: GradientsParams::new(),
            anchor: self,
            mu,
        };
        module.visit(&mut visitor);
        visitor.to
    }
}

impl ModuleVisitor for ProximalTerm {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0
            .insert(parameter.id, parameter.val().inner().flatten(0, D - 1));
    }
}

struct AddProximal<'a> {
    from: GradientsParams,
    to: GradientsParams,
    anchor: &'a ProximalTerm,
    mu: f64,
}

impl ModuleVisitor for AddProximal<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.from.remove::<D>(parameter.id) else {
            return;
        };
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

/// Collects the sum of squares of each parameter's gradient, `[1]` each.
struct SquaredNorms<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorms<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(parameter.id) else {
            return;
        };
        self.sums.push(device::squares(gradient));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Initializer;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct TwoTensors {
        plane: Param<Tensor<2>>,
        line: Param<Tensor<1>>,
    }

    fn two(device: &Device) -> TwoTensors {
        TwoTensors {
            plane: Initializer::Constant { value: 1.0 }.init([2, 2], device),
            line: Initializer::Constant { value: 1.0 }.init([3], device),
        }
    }

    /// Gradients 2 on the plane and 3 on the line.
    fn gradients(module: &TwoTensors) -> GradientsParams {
        let sum =
            module.plane.val().sum().mul_scalar(2.0) + module.line.val().sum().mul_scalar(3.0);
        GradientsParams::from_grads(sum.backward(), module)
    }

    #[test]
    fn the_proximal_term_adds_mu_times_the_distance_from_the_start() {
        let device = Device::flex().autodiff();
        let start = two(&device);
        let anchor = ProximalTerm::of(&start);
        let gone = LocalOptimiser::new(Optimiser::Sgd, 0.0).step(
            0.5,
            start.clone(),
            gradients(&start),
            1.0,
        );
        // One step of 0.5 along gradients of 2 and 3: the distances are -1 and -1.5.
        let drawn = anchor.add_gradient(gradients(&gone), &gone, 0.1);
        let plane = drawn.get::<2>(gone.plane.id).unwrap();
        for value in plane.into_data().iter::<f32>() {
            assert!((value - 1.9).abs() < 1e-6, "{value}");
        }
        let line = drawn.get::<1>(gone.line.id).unwrap();
        for value in line.into_data().iter::<f32>() {
            assert!((value - 2.85).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn the_norm_is_over_all_tensors() {
        let module = two(&Device::flex().autodiff());
        let expected = (4.0f64 * 4.0 + 3.0 * 9.0).sqrt();
        assert!((norm(&gradients(&module), &module).unwrap() - expected).abs() < 1e-6);
    }

    #[test]
    fn a_long_tensor_is_summed_whole() {
        let device = Device::flex().autodiff();
        let length = 2_097_159;
        let line: Param<Tensor<1>> = Initializer::Constant { value: 0.0 }.init([length], &device);
        let module = TwoTensors {
            line,
            ..two(&device)
        };
        let expected = (4.0f64 * 4.0 + length as f64 * 9.0).sqrt();
        assert!((norm(&gradients(&module), &module).unwrap() / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn momentum_carries_over_steps_as_in_pytorch() {
        let mut module = two(&Device::flex().autodiff());
        let mut stepper = LocalOptimiser::new(Optimiser::Sgd, 0.0);
        for _ in 0..2 {
            let found = gradients(&module);
            module = stepper.step(0.1, module, found, 1.0);
        }
        // 1 - 0.1 * 2 - 0.1 * (0.9 * 2 + 2)
        let value = module.plane.val().into_data().iter::<f32>().next().unwrap();
        assert!((value - 0.42).abs() < 1e-6, "{value}");
    }

    #[test]
    fn gradients_are_scaled_before_they_count() {
        let module = two(&Device::flex().autodiff());
        let found = gradients(&module);
        let module = LocalOptimiser::new(Optimiser::Sgd, 0.0).step(0.1, module, found, 0.5);
        let value = module.line.val().into_data().iter::<f32>().next().unwrap();
        assert!((value - (1.0 - 0.1 * 1.5)).abs() < 1e-6, "{value}");
    }

    #[test]
    fn the_first_step_of_adam_is_the_learning_rate_and_adamw_decays_apart_from_it() {
        for (kind, expected) in [(Optimiser::Adam, 0.9), (Optimiser::AdamW, 0.9 - 0.1 * 0.5)] {
            let module = two(&Device::flex().autodiff());
            let found = gradients(&module);
            let module = LocalOptimiser::new(kind, 0.5).step(0.1, module, found, 1.0);
            let value = module.line.val().into_data().iter::<f32>().next().unwrap();
            assert!((value - expected).abs() < 1e-5, "{kind:?} {value}");
        }
    }
}
