//! Where the network runs: the only file that names burn's backends.

pub use burn::tensor::Device;

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A name that means no device.
    #[error("there is no device called \"{0}\"; known are cpu, cuda and cuda:N")]
    Unknown(String),
    /// The program was built without the device's backend.
    #[error(
        "this program was built without NVIDIA support; build it with `cargo build --release --features site-agent/cuda`"
    )]
    NotBuilt,
    /// The machine has no such device, or its driver does not answer.
    #[error("device {index} asked for, but {found} NVIDIA devices answer")]
    Absent {
        /// The index asked for.
        index: usize,
        /// How many there are.
        found: usize,
    },
}

/// Opens a device by its name in a site's settings: `cpu`, `cuda` (the first one) or `cuda:N`.
///
/// Tensors and modules made on it run inference; training happens on `device.autodiff()`.
///
/// # Errors
/// A name that means nothing, a backend that was not built in, a device that is not there.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let index = match name {
        "cpu" => return Ok(Device::flex()),
        "cuda" => 0,
        _ => name
            .strip_prefix("cuda:")
            .and_then(|index| index.parse().ok())
            .ok_or_else(|| DeviceError::Unknown(name.into()))?,
    };
    cuda(index)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, DeviceError> {
    let devices = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    let found = devices.len();
    devices.into_iter().nth(index).ok_or(DeviceError::Absent { index, found })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_typo_is_not() {
        assert!(open("cpu").is_ok());
        for name in ["gpu", "", "cuda:", "cuda:one", "cuda:-1", "CPU"] {
            assert_eq!(open(name).err(), Some(DeviceError::Unknown(name.into())));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_one() {
        assert!(open("cuda:1").unwrap_err().to_string().contains("--features"));
    }
}
