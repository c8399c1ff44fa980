//! The optimiser of one round, and gradient clipping by the norm over all parameters.

use crate::device::{self, AdamStep, DeviceFault, MomentumStep};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use protocol::settings::{Optimiser, Training};
use std::collections::HashMap;

/// An optimiser with its state, which lives for one round.
pub struct Stepper {
    kind: Optimiser,
    decay: f64,
    steps: i32,
    state: HashMap<ParamId, State>,
}

/// What is remembered of one parameter's gradients, flat.
enum State {
    Moments(Box<[Tensor<1>; 2]>),
    Velocity(Box<Tensor<1>>),
}

impl Stepper {
    /// A fresh one.
    #[must_use]
    pub fn new(kind: Optimiser, decay: f64) -> Self {
        Self {
            kind,
            decay,
            steps: 0,
            state: HashMap::new(),
        }
    }

    /// As the federation's settings say.
    pub(super) fn of(training: &Training) -> Self {
        Self::new(training.optimiser, training.weight_decay)
    }

    /// One step against the gradients, which are multiplied by `factor` first.
    pub fn step<M: Module>(
        &mut self,
        rate: f64,
        module: M,
        gradients: GradientsParams,
        factor: f64,
    ) -> M {
        self.steps += 1;
        module.map(&mut Step {
            stepper: self,
            gradients,
            rate,
            factor,
        })
    }

    fn adam(&self, rate: f64, factor: f64) -> AdamStep {
        let apart = self.kind == Optimiser::AdamW;
        let correction = |beta: f32| (1.0 - f64::from(beta).powi(self.steps)) as f32;
        AdamStep {
            rate: rate as f32,
            factor: factor as f32,
            penalty: if apart { 0.0 } else { self.decay as f32 },
            shrink: if apart {
                (1.0 - rate * self.decay) as f32
            } else {
                1.0
            },
            corrections: AdamStep::BETAS.map(correction),
        }
    }

    /// A parameter's new value, both flat.
    fn moved(
        &mut self,
        id: ParamId,
        weights: Tensor<1>,
        gradient: Tensor<1>,
        rate: f64,
        factor: f64,
    ) -> Tensor<1> {
        let nothing = || gradient.zeros_like();
        match (self.kind, self.state.remove(&id)) {
            (Optimiser::Adam | Optimiser::AdamW, state) => {
                let moments = match state {
                    Some(State::Moments(moments)) => *moments,
                    _ => [nothing(), nothing()],
                };
                let [weights, first, second] =
                    device::adam(weights, gradient, moments, self.adam(rate, factor));
                self.state
                    .insert(id, State::Moments(Box::new([first, second])));
                weights
            }
            (Optimiser::Sgd, state) => {
                let velocity = match state {
                    Some(State::Velocity(velocity)) => *velocity,
                    _ => nothing(),
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

struct Step<'a> {
    stepper: &'a mut Stepper,
    gradients: GradientsParams,
    rate: f64,
    factor: f64,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = parameter.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.dims();
        let (weights, gradient) = (tensor.inner().flatten(0, D - 1), gradient.flatten(0, D - 1));
        let moved = self
            .stepper
            .moved(id, weights, gradient, self.rate, self.factor);
        let tensor = Tensor::from_inner(moved.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

/// The euclidean norm of all gradients together.
///
/// # Errors
/// The device failed.
pub(super) fn norm<M: Module>(gradients: &GradientsParams, module: &M) -> Result<f64, DeviceFault> {
    let mut squares = Squares {
        gradients,
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return Ok(0.0);
    }
    // One transfer from the device for all tensors together.
    let sums = device::read(Tensor::cat(squares.sums, 0))?;
    Ok(sums.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// The parameters of a moment, to draw later ones back to.
pub(super) struct ProximalTerm(HashMap<ParamId, Tensor<1>>);

impl ProximalTerm {
    pub(super) fn of<M: Module>(module: &M) -> Self {
        let mut held = Self(HashMap::new());
        module.visit(&mut held);
        held
    }

    /// Gradients of the loss with `mu / 2` times the squared distance from here added: they grow by
    /// `mu * (w - start)`.
    pub(super) fn add_gradient<M: Module>(
        &self,
        gradients: GradientsParams,
        module: &M,
        mu: f64,
    ) -> GradientsParams {
        let mut pull = Pull {
            from: gradients,
            to: GradientsParams::new(),
            anchor: self,
            mu,
        };
        module.visit(&mut pull);
        pull.to
    }
}

impl ModuleVisitor for ProximalTerm {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.0
            .insert(parameter.id, parameter.val().inner().flatten(0, D - 1));
    }
}

struct Pull<'a> {
    from: GradientsParams,
    to: GradientsParams,
    anchor: &'a ProximalTerm,
    mu: f64,
}

impl ModuleVisitor for Pull<'_> {
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

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
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
        let sum =
            module.plane.val().sum().mul_scalar(2.0) + module.line.val().sum().mul_scalar(3.0);
        GradientsParams::from_grads(sum.backward(), module)
    }

    #[test]
    fn drawing_back_adds_mu_times_the_way_gone() {
        let device = Device::flex().autodiff();
        let start = two(&device);
        let anchor = ProximalTerm::of(&start);
        let gone =
            Stepper::new(Optimiser::Sgd, 0.0).step(0.5, start.clone(), gradients(&start), 1.0);
        // One step of 0.5 along gradients of 2 and 3: the ways gone are -1 and -1.5.
        let drawn = anchor.add_gradient(gradients(&gone), &gone, 0.1);
        let of = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let plane = of(drawn.get::<2>(gone.plane.id).unwrap().flatten(0, 1));
        assert!(
            plane.iter().all(|value| (value - 1.9).abs() < 1e-6),
            "{plane:?}"
        );
        let line = of(drawn.get::<1>(gone.line.id).unwrap());
        assert!(
            line.iter().all(|value| (value - 2.85).abs() < 1e-6),
            "{line:?}"
        );
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
        let module = Two {
            line,
            ..two(&device)
        };
        let expected = (4.0f64 * 4.0 + length as f64 * 9.0).sqrt();
        assert!((norm(&gradients(&module), &module).unwrap() / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn momentum_carries_over_steps_as_in_pytorch() {
        let mut module = two(&Device::flex().autodiff());
        let mut stepper = Stepper::new(Optimiser::Sgd, 0.0);
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
        let module = Stepper::new(Optimiser::Sgd, 0.0).step(0.1, module, found, 0.5);
        let value = module.line.val().into_data().iter::<f32>().next().unwrap();
        assert!((value - (1.0 - 0.1 * 1.5)).abs() < 1e-6, "{value}");
    }

    #[test]
    fn the_first_step_of_adam_is_the_learning_rate_and_adamw_decays_apart_from_it() {
        for (kind, expected) in [(Optimiser::Adam, 0.9), (Optimiser::AdamW, 0.9 - 0.1 * 0.5)] {
            let module = two(&Device::flex().autodiff());
            let found = gradients(&module);
            let module = Stepper::new(kind, 0.5).step(0.1, module, found, 1.0);
            let value = module.line.val().into_data().iter::<f32>().next().unwrap();
            assert!((value - expected).abs() < 1e-5, "{kind:?} {value}");
        }
    }
}
