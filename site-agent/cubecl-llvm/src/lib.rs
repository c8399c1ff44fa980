//! The names of cubecl's LLVM compiler that `cubecl-cuda` mentions, without a compiler behind them.
//! README.md says why.

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_server::compiler::{CompilationError, Compiler};
use cubecl_server::kernel::BufferIOAttr;
use std::convert::Infallible;
use std::ffi::c_char;
use std::fmt;

/// What a kernel would be compiled for.
#[derive(Clone, Copy, Debug, Default)]
pub enum LlvmTarget {
    /// NVIDIA's assembly language.
    #[default]
    Nvptx,
}

/// A compiler that refuses every kernel.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

/// Options that nothing reads.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD architecture: none is ever given.
    pub arch: Option<Infallible>,
    /// The NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// The version of NVIDIA's assembly language.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars are passed as kernel parameters.
    pub grid_constants: bool,
    /// Keeps `..Default::default()`, which `cubecl-cuda` writes, from being needless.
    pub unused: (),
}

/// What a compiler would give.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// A module for NVIDIA GPUs.
    NvptxCode(NvptxModule),
}

/// A compiled module, which is never made here.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// Assembly that ends with a zero byte.
    pub ptx: Vec<c_char>,
    /// The kernel's symbol.
    pub entrypoint: String,
    /// The compiler's intermediate representation.
    pub ir: String,
    /// Bytes of shared memory for each launch.
    pub shared_memory_size: usize,
    /// What the kernel does with each buffer.
    pub io: Vec<BufferIOAttr>,
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _: KernelDefinition,
        _: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this program was built without cubecl's LLVM compiler; kernels are compiled \
                     by NVRTC, which the feature `cpp` of `cubecl-cuda` selects"
                .into(),
            backtrace: Default::default(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// What concerns NVIDIA's assembly language.
pub mod nvptx {
    /// Its versions.
    pub mod ptx_version {
        use std::fmt;

        /// A version of it, which only the LLVM compiler would need.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(());

        impl PtxVersion {
            /// None: NVRTC chooses by itself.
            #[must_use]
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ptx")
            }
        }
    }
}

/// What several targets of the LLVM compiler share.
pub mod shared {
    /// What the LLVM compiler can lower.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A kind of GPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's.
            Nvptx,
        }

        /// Nothing is restricted: NVRTC compiles what the GPU offers.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}
