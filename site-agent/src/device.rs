//! Where the network runs, and the operators that it is made of.
//!
//! Only this module names burn's backends. `operators` defines each operator and its gradient once
//! for all devices; `processor` and `gpu` compute them on each kind of device.

mod atrous;
#[cfg(feature = "gpu")]
mod cache;
#[cfg(feature = "gpu")]
mod gpu;
mod matrix;
mod normal;
#[cfg(feature = "cuda")]
mod nvidia;
mod operators;
mod processor;

use atrous::Geometry;
use burn::backend::Dispatch;
pub use burn::tensor::Device;
use burn::tensor::{FloatDType, Tensor, TensorData};
pub(crate) use operators::{AdamStep, MomentumStep};
use operators::{Operators, OptimiserSteps};
use program::{Class, Explain};
use protocol::settings::Compute;
use std::borrow::Cow;
use std::path::Path;

/// The kinds of devices that this program was built for.
pub(crate) const BUILT_IN: &[&str] = &[
    "cpu",
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "vulkan")]
    "vulkan",
];

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The settings name no known device.
    #[error("there is no device called \"{0}\"; known are cpu, cuda, cuda:N, vulkan and vulkan:N")]
    Unknown(String),
    #[error(
        "this program was built without {backend}; build it with `cargo build --release \
         --features site-agent/{backend}`"
    )]
    NotBuilt {
        /// The backend: `cuda` or `vulkan`.
        backend: &'static str,
    },
    /// The machine has no such device, or its driver does not answer.
    #[error("{backend} device {index} asked for, but {found} answer")]
    Absent {
        /// The backend: `cuda` or `vulkan`.
        backend: &'static str,
        index: usize,
        /// The number of devices.
        found: usize,
    },
    /// Something that the device needs is not on this machine.
    #[error("{missing} was not found")]
    Missing {
        /// Such as `NVIDIA's driver (libcuda.so.1)`.
        missing: &'static str,
        remedy: &'static str,
    },
    /// The device worked before.
    #[error("the device no longer works: {0}")]
    Lost(DeviceFault),
    /// The device is there and does not work.
    #[error("{name} does not work: {fault}")]
    Broken {
        /// The device's name in the settings.
        name: String,
        fault: DeviceFault,
    },
}

impl Explain for DeviceError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown(_) | Self::NotBuilt { .. } => Class::Configuration,
            Self::Absent { .. } | Self::Missing { .. } | Self::Broken { .. } | Self::Lost(_) => {
                Class::Federation
            }
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unknown(_) | Self::NotBuilt { .. } => "device = \"cpu\" works everywhere",
            Self::Absent { .. } => {
                "is the GPU's driver installed and does `nvidia-smi` or `vulkaninfo` list it? \
                 device = \"cpu\" works everywhere"
            }
            Self::Missing { remedy, .. } => remedy,
            Self::Lost(_) => {
                "a program cannot take up a lost GPU again: start it again, and nothing that was \
                 finished is lost. `site-agent doctor` checks the GPU; device = \"cpu\" works \
                 everywhere"
            }
            Self::Broken { .. } => {
                "is another program using all of the GPU's memory, is it at least of compute \
                 capability 7.0, and is its driver up to date? device = \"cpu\" works everywhere"
            }
        };
        Some(hint.into())
    }
}

/// A device that failed in use. The texts hold no patient data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceFault {
    /// It has less free memory than was asked for.
    #[error("the device has too little memory: {0}")]
    OutOfMemory(String),
    /// Anything else, such as a program that could not be compiled, or a lost GPU.
    #[error("the device failed: {0}")]
    Failed(String),
}

impl Explain for DeviceFault {
    fn class(&self) -> Class {
        Class::Federation
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::OutOfMemory(_) => {
                "close other programs that use the GPU; `site-agent doctor` reports what fits. \
                 --device cpu works everywhere"
            }
            Self::Failed(_) => {
                "try again; `site-agent doctor` checks the device. --device cpu works everywhere"
            }
        };
        Some(hint.into())
    }
}

/// The most lines of a device's message that are kept.
const MOST_LINES: usize = 6;
/// The most characters of a device's message that are kept.
const MOST_LETTERS: usize = 400;

/// What cubecl puts before a device's message when values cannot be read back.
const UNREAD: &str = "failed to materialize bytes: ";

/// Parts of messages, in small letters, that mean a lack of memory.
const NO_MEMORY: [&str; 6] = [
    "out of memory",
    "out of device memory",
    "out_of_memory",
    "outofmemory",
    "too large",
    "too big",
];

impl DeviceFault {
    /// From a message of burn, cubecl or a driver: its line about memory if there is one, otherwise
    /// its first lines. Traces of their own code follow those.
    #[must_use]
    pub fn new(message: &str) -> Self {
        let message = message.strip_prefix(UNREAD).unwrap_or(message);
        for line in message.lines().map(str::trim) {
            let small = line.to_lowercase();
            if NO_MEMORY.iter().any(|word| small.contains(word)) {
                return Self::OutOfMemory(line.chars().take(MOST_LETTERS).collect());
            }
        }
        let mut lines: Vec<&str> = Vec::new();
        for line in message.lines().map(str::trim) {
            if line.starts_with("Backtrace") {
                break;
            }
            // The cause itself is on the next line, and may be there more than once.
            if line.is_empty() || line == "Caused by:" || lines.contains(&line) {
                continue;
            }
            lines.push(line);
        }
        lines.truncate(MOST_LINES);
        Self::Failed(lines.join("; ").chars().take(MOST_LETTERS).collect())
    }
}

/// A tensor's values, read back from its device.
///
/// # Errors
/// What went wrong on the device since the last time that something was read.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, DeviceFault> {
    let data = tensor
        .try_into_data()
        .map_err(|error| DeviceFault::new(&error.to_string()))?;
    let shape = data.shape().clone();
    let dtype = data.dtype();
    let bytes = data.into_bytes();
    // A lost GPU is noticed only here. The other ways to read the values would panic.
    bytes
        .read(Default::default())
        .map_err(|error| DeviceFault::new(&error.to_string()))?;
    let data = TensorData::from_bytes(bytes, shape, dtype);
    Ok(data.iter::<f32>().collect())
}

/// Whether a device still works after a fault: one that only lacked memory does, a lost GPU does
/// not.
///
/// # Errors
/// Why the device could not compute a small sum.
pub(crate) fn check(device: &Device) -> Result<(), DeviceFault> {
    #[cfg(feature = "gpu")]
    if is_gpu(device) {
        return gpu::check(device);
    }
    let _ = device;
    Ok(())
}

/// Whether the device is a GPU, where each new shape of a tensor costs preparations.
pub(crate) fn is_gpu(device: &Device) -> bool {
    device.clone().without_autodiff() != Device::flex()
}

/// Opens a device by its name in a site's settings: `cpu`, `cuda` (the first one) or `cuda:N`,
/// `vulkan` or `vulkan:N`.
///
/// Tensors and modules made on it run inference; training happens on `device.autodiff()`.
///
/// # Errors
/// A name that means nothing, a backend that was not built in, a device that is not there or cannot
/// work.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    open_with(name, None)
}

/// The same, with a folder for what is compiled for GPUs, instead of one in the user's cache
/// folder. A process has one such folder: the first device's.
///
/// # Errors
/// See [`open`].
pub fn open_with(name: &str, kernel_cache: Option<&Path>) -> Result<Device, DeviceError> {
    if name == "cpu" {
        return Ok(Device::flex());
    }
    let (backend, index) = name.split_once(':').unwrap_or((name, "0"));
    match (backend, index.parse()) {
        ("cuda", Ok(index)) => cuda(index, kernel_cache),
        ("vulkan", Ok(index)) => vulkan(index, kernel_cache),
        _ => Err(DeviceError::Unknown(name.into())),
    }
}

/// Finds the libraries that the device needs. Must be called before anything else, because the
/// program may have to restart itself to load them.
pub fn prepare(name: &str) {
    #[cfg(feature = "cuda")]
    if name.starts_with("cuda") {
        nvidia::find();
    }
    #[cfg(not(feature = "cuda"))]
    let _ = name;
}

#[cfg(feature = "cuda")]
fn cuda(index: usize, kernel_cache: Option<&Path>) -> Result<Device, DeviceError> {
    nvidia::check()?;
    gpu::open("cuda", burn::tensor::DeviceType::Cuda, index, kernel_cache)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize, _kernel_cache: Option<&Path>) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { backend: "cuda" })
}

#[cfg(feature = "vulkan")]
fn vulkan(index: usize, kernel_cache: Option<&Path>) -> Result<Device, DeviceError> {
    gpu::open(
        "vulkan",
        burn::tensor::DeviceType::Vulkan,
        index,
        kernel_cache,
    )
}

#[cfg(not(feature = "vulkan"))]
fn vulkan(_index: usize, _kernel_cache: Option<&Path>) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt { backend: "vulkan" })
}

/// The device's memory in bytes; `None` for the processor.
pub(crate) fn memory(device: &Device) -> Option<u64> {
    #[cfg(feature = "gpu")]
    return gpu::memory(device);
    #[cfg(not(feature = "gpu"))]
    {
        let _ = device;
        None
    }
}

/// Whether the device supports this arithmetic.
pub(crate) fn computes_in(device: &Device, compute: Compute) -> bool {
    match compute {
        Compute::F32 => true,
        Compute::Bf16 => is_gpu(device) && device.supports_dtype(FloatDType::BF16),
    }
}

/// The convolution of an input `[batch, height, width, inputs]` with a kernel `[outputs, inputs,
/// side, side]`.
pub(crate) fn convolve(
    input: Tensor<4>,
    kernel: Tensor<4>,
    [stride, padding, dilation]: [usize; 3],
) -> Tensor<4> {
    let geometry = Geometry {
        input: input.dims(),
        kernel: kernel.dims(),
        stride,
        padding,
        dilation,
    };
    Tensor::from_dispatch(<Dispatch as Operators>::convolution(
        input.into_dispatch(),
        kernel.into_dispatch(),
        geometry,
    ))
}

/// Mean and biased variance, `[2, channels]`, of each channel of `[batch, height, width,
/// channels]`; without gradient.
pub(crate) fn statistics(input: Tensor<4>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Operators>::statistics(input.into_dispatch()))
}

/// Batch normalisation of `[batch, height, width, channels]` by statistics as [`statistics`] gives
/// them; at least zero if `rectified`. The gradient assumes that the statistics are the input's
/// own.
pub(crate) fn normalise(
    input: Tensor<4>,
    statistics: Tensor<2>,
    [weight, bias]: [Tensor<1>; 2],
    epsilon: f32,
    rectified: bool,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Operators>::normalisation(
        input.into_dispatch(),
        statistics.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
        rectified,
    ))
}

/// The sum of all values.
pub(crate) fn total<const D: usize>(input: Tensor<D>) -> Tensor<1> {
    let values = input.dims().iter().product();
    let column = input.reshape([1, values, 1]);
    Tensor::<2>::from_dispatch(<Dispatch as Operators>::sums(column.into_dispatch())).reshape([1])
}

/// The mean of all values.
#[must_use]
pub fn mean<const D: usize>(input: Tensor<D>) -> Tensor<1> {
    let values: usize = input.dims().iter().product();
    total(input).div_scalar(values as f64)
}

/// The mean over the rows of each group: `[groups, rows, columns]` becomes `[groups, columns]`.
pub(crate) fn row_means(input: Tensor<3>) -> Tensor<2> {
    let [_, rows, _] = input.dims();
    let sums = Tensor::<2>::from_dispatch(<Dispatch as Operators>::sums(input.into_dispatch()));
    sums.div_scalar(rows as f64)
}

/// `matrix`, `[outputs, rows]`, times each group: `[groups, rows, columns]` becomes `[groups,
/// outputs, columns]`.
pub(crate) fn times(matrix: Tensor<2>, input: Tensor<3>) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as Operators>::product(
        input.into_dispatch(),
        matrix.into_dispatch(),
    ))
}

/// The sum of two tensors of one shape; at least zero.
pub(crate) fn join(left: Tensor<4>, right: Tensor<4>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Operators>::joined(
        left.into_dispatch(),
        right.into_dispatch(),
    ))
}

/// The sum of all squares, `[1]`; without gradient.
pub(crate) fn squares<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as OptimiserSteps>::squares(
        values.into_dispatch(),
    ))
}

/// One step of Adam: new weights, first and second moments.
pub(crate) fn adam(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    moments: [Tensor<1>; 2],
    step: AdamStep,
) -> [Tensor<1>; 3] {
    let [first, second] = moments;
    let (weights, first, second) = <Dispatch as OptimiserSteps>::adam(
        weights.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        step,
    );
    [weights, first, second].map(Tensor::from_dispatch)
}

/// One step of gradient descent with momentum: new weights and velocity.
pub(crate) fn momentum(
    weights: Tensor<1>,
    gradient: Tensor<1>,
    velocity: Tensor<1>,
    step: MomentumStep,
) -> [Tensor<1>; 2] {
    let (weights, velocity) = <Dispatch as OptimiserSteps>::momentum(
        weights.into_dispatch(),
        gradient.into_dispatch(),
        velocity.into_dispatch(),
        step,
    );
    [weights, velocity].map(Tensor::from_dispatch)
}

/// `[batch, height, width, channels]` with a bias added to each channel.
pub(crate) fn shift(input: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let [batch, height, width, channels] = input.dims();
    let rows = input.reshape([batch * height * width, channels]);
    let shifted = <Dispatch as Operators>::shifted(rows.into_dispatch(), bias.into_dispatch());
    Tensor::<2>::from_dispatch(shifted).reshape([batch, height, width, channels])
}

#[cfg(all(test, feature = "gpu"))]
pub(crate) mod tests;

#[cfg(test)]
mod names {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_typo_is_not() {
        assert!(open("cpu").is_ok());
        for name in [
            "gpu", "", "cuda:", "cuda:one", "cuda:-1", "CPU", "cpu:0", "vulkan:", "Vulkan",
        ] {
            assert_eq!(open(name).err(), Some(DeviceError::Unknown(name.into())));
        }
    }

    #[cfg(not(feature = "gpu"))]
    #[test]
    fn a_build_without_gpus_says_how_to_get_them() {
        for (name, feature) in [
            ("cuda:1", "site-agent/cuda"),
            ("vulkan", "site-agent/vulkan"),
        ] {
            assert!(open(name).unwrap_err().to_string().contains(feature));
        }
    }
}
