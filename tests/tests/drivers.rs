//! What a site is told where NVIDIA's driver, its compiler for kernels or the GPU fails.
//!
//! No GPU is needed: `fixtures/cuda_driver.c` takes the driver's place, and fails where a test
//! wants it to. The programs must be built for CUDA, as `.ci/run` does; otherwise these tests say
//! that they checked nothing.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use journeys::{binary, compile_c};
use std::path::PathBuf;
use std::process::Command;

/// A folder with a driver, a compiler for kernels and its headers, each where the system has it.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        machine.add_library("driver/libcuda.so.1");
        machine.add_library("compiler/libnvrtc.so.12");
        machine.add_headers("toolkit/include");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add_library(&self, name: &str) {
        let library = self.path(name);
        std::fs::create_dir_all(library.parent().unwrap()).unwrap();
        compile_c("cuda_driver.c", &library);
    }

    fn add_headers(&self, folder: &str) {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        std::fs::write(self.path(folder).join("cuda_fp16.h"), "").unwrap();
    }

    /// What `site-agent doctor` says of the first CUDA GPU.
    fn doctor(&self, fault: &str) -> Said {
        let libraries = [self.path("driver"), self.path("compiler")];
        let output = Command::new(binary("site-agent"))
            .args(["doctor", "--device", "cuda"])
            .env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap())
            .env("CUDA_PATH", self.path("toolkit"))
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env_remove("CONDA_PREFIX")
            .env_remove("VIRTUAL_ENV")
            .env("CUDA_FAULT", fault)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Said {
            code: output.status.code(),
            words,
        }
    }
}

struct Said {
    /// `None` where a signal ended the program.
    code: Option<i32>,
    words: String,
}

impl Said {
    /// Whether the programs were built for CUDA. Says so where they were not.
    fn is_of_cuda(&self) -> bool {
        let built = !self.words.contains("built without cuda");
        if !built {
            eprintln!("SKIPPED, NOTHING WAS CHECKED: these programs are not for CUDA");
        }
        built
    }

    /// The exit code for devices, these words, and no trace of a panic.
    fn must_say(&self, words: &str) {
        assert_eq!(self.code, Some(5), "{}", self.words);
        assert!(
            self.words.contains(words),
            "no {words:?} in: {}",
            self.words
        );
        assert!(!self.words.contains("panicked at"), "{}", self.words);
    }
}

#[test]
fn a_driver_that_fails_answers_for_no_gpu_and_a_busy_gpu_says_so() {
    let machine = Machine::new();
    let said = machine.doctor("cuInit=999");
    if !said.is_of_cuda() {
        return;
    }
    said.must_say("is the GPU's driver installed and does `nvidia-smi`");
    machine
        .doctor("cuDevicePrimaryCtxRetain=46")
        .must_say("CUDA-capable device(s) is/are busy or unavailable");
}

#[test]
fn a_gpu_without_memory_says_so_before_a_federation_begins() {
    let machine = Machine::new();
    let said = machine.doctor("cuMemAlloc_v2=2");
    if said.is_of_cuda() {
        said.must_say("too little memory");
    }
}

#[test]
fn a_kernel_that_does_not_compile_is_shown_with_the_compilers_words() {
    let machine = Machine::new();
    let said = machine.doctor("nvrtcCompileProgram=6");
    if said.is_of_cuda() {
        said.must_say("error: what");
    }
}

#[test]
fn a_gpu_that_vanishes_or_computes_nonsense_is_not_used() {
    let machine = Machine::new();
    let said = machine.doctor("cuLaunchKernel=719");
    if said.is_of_cuda() {
        said.must_say("cuLaunchKernel failed with status 719");
        machine.doctor("").must_say("a sum of a thousand ones is");
    }
}

#[test]
fn what_is_missing_is_named_with_the_packages_that_bring_it() {
    let machine = Machine::new();
    let said = machine.doctor("");
    if !said.is_of_cuda() {
        return;
    }
    std::fs::remove_dir_all(machine.path("toolkit")).unwrap();
    machine.doctor("").must_say("cuda_fp16.h");
    std::fs::remove_dir_all(machine.path("compiler")).unwrap();
    machine.doctor("").must_say("libnvrtc.so");
    std::fs::remove_dir_all(machine.path("driver")).unwrap();
    machine.doctor("").must_say("libcuda.so");
}

#[test]
fn a_compiler_that_pip_brought_is_found() {
    let machine = Machine::new();
    let said = machine.doctor("");
    if !said.is_of_cuda() {
        return;
    }
    std::fs::remove_dir_all(machine.path("toolkit")).unwrap();
    std::fs::remove_dir_all(machine.path("compiler")).unwrap();
    let packages = "home/.local/lib/python3.11/site-packages/nvidia";
    machine.add_library(&format!("{packages}/cuda_nvrtc/lib/libnvrtc.so.12"));
    machine.add_headers(&format!("{packages}/cuda_runtime/include"));
    // The kernel was compiled and started: nothing was missing.
    machine.doctor("").must_say("a sum of a thousand ones is");
}
