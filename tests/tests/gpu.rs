//! Federations and predictions on a GPU, compared with the processor's.
//!
//! `LACUNA_DEVICE` names the GPU; the default is Vulkan's first device. Mesa's software GPU is
//! enough. The programs must be built for GPUs, as in `.ci/run`. Without a GPU or such a build,
//! these tests print that they checked nothing.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use journeys::binary;
use journeys::settings::{SimulatedSite, Simulation};
use protocol::parameters::from_bytes;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `device` is the one of the sites called west, which trains, and harbour, which evaluates.
fn settings(device: &str) -> String {
    let simulation = Simulation {
        name: "gpu",
        seed: 5,
        rounds: 2,
        slices: 3,
        steps: 2,
        validation_share: 0.3,
        sites: &[
            SimulatedSite::training("north", 3).lacking(&["bravo"]),
            SimulatedSite::training("west", 3)
                .lacking(&["t1_pre", "flair"])
                .on_device(device),
            SimulatedSite::evaluating("harbour", 2).on_device(device),
        ],
    };
    simulation.toml()
}

/// How far two models, or two probabilities, may be apart after the few steps of these tests.
const APART: f32 = 1e-3;

fn gpu_name() -> String {
    std::env::var("LACUNA_DEVICE").unwrap_or_else(|_| "vulkan".into())
}

/// A program of ours that keeps what it compiles for GPUs in `cache`.
fn program(name: &str, cache: &Path) -> Command {
    let mut command = Command::new(binary(name));
    command
        .env("XDG_CACHE_HOME", cache)
        .env("XDG_RUNTIME_DIR", cache);
    command
}

/// What the site-agent says of a GPU that no machine has.
fn absent(folder: &Path) -> Output {
    let name = gpu_name();
    let backend = name.split(':').next().unwrap();
    let device = format!("{backend}:77");
    program("site-agent", folder)
        .args(["doctor", "--device", &device])
        .output()
        .unwrap()
}

/// Whether there is a GPU and the programs were built for it. Prints a message if not.
fn there_is_a_gpu(folder: &Path) -> bool {
    let said = absent(folder);
    let said =
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    let none = said.contains("but 0 answer");
    if said.contains("asked for, but") && !none {
        return true;
    }
    eprintln!("SKIPPED, NOTHING WAS CHECKED: no GPU for these programs: {said}");
    false
}

fn simulate(folder: &Path, device: &str, out: &str) -> PathBuf {
    let config = folder.join(format!("{out}.toml"));
    std::fs::write(&config, settings(device)).unwrap();
    let run = folder.join(out);
    let output = program("coordinator", &folder.join("cache"))
        .arg("simulate")
        .args([&config, Path::new("--out"), &run])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    run
}

fn model(run: &Path) -> Vec<f32> {
    from_bytes(&std::fs::read(run.join("federation/round-0002/global.f32")).unwrap()).unwrap()
}

fn most_apart(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let mut most = 0.0_f32;
    for (left, right) in left.iter().zip(right) {
        most = most.max((left - right).abs());
    }
    most
}

fn report(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("report.json")).unwrap()).unwrap()
}

/// A metric's mean over the cases of the held-out site.
fn held_out(report: &serde_json::Value, metric: &str) -> f64 {
    let sites = report["sites"].as_array().unwrap();
    let harbour = sites.iter().find(|site| site["name"] == "harbour").unwrap();
    harbour["metrics"][metric]["mean"].as_f64().unwrap()
}

#[test]
fn a_federation_of_processors_and_gpus_comes_to_what_processors_alone_come_to() {
    let folder = tempfile::tempdir().unwrap();
    if !there_is_a_gpu(folder.path()) {
        return;
    }
    let gpu = gpu_name();
    let plain = simulate(folder.path(), "cpu", "plain");
    let mixed = simulate(folder.path(), &gpu, "mixed");
    let apart = most_apart(&model(&plain), &model(&mixed));
    assert!(apart <= APART, "{apart}");
    assert!(apart > 0.0, "the GPU was not used");
    let plain = held_out(&report(&plain), "auc_brain");
    let mixed = held_out(&report(&mixed), "auc_brain");
    let apart = (plain - mixed).abs();
    assert!(apart <= 0.01, "{apart}");
}

#[test]
fn what_was_compiled_is_kept_and_damage_to_it_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    if !there_is_a_gpu(folder.path()) {
        return;
    }
    let gpu = gpu_name();
    let first = model(&simulate(folder.path(), &gpu, "first"));
    let kept = files(&folder.path().join("cache"));
    assert!(!kept.is_empty(), "nothing is kept of what was compiled");
    for file in kept {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes.truncate(middle);
        bytes.extend_from_slice(b"damage");
        std::fs::write(&file, bytes).unwrap();
    }
    assert_eq!(model(&simulate(folder.path(), &gpu, "damaged")), first);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_prediction_on_a_gpu_is_that_of_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    if !there_is_a_gpu(folder.path()) {
        return;
    }
    let run = simulate(folder.path(), "cpu", "run");
    let case = run.join("phantoms/harbour/harbour-0001");
    let predict = |device: &str| {
        let out = folder.path().join(device.replace(':', "-"));
        let mut command = program("site-agent", &folder.path().join("cache"));
        command
            .arg("predict")
            .arg("--model")
            .arg(run.join("models/federation.safetensors"))
            .arg("--out")
            .arg(&out);
        command.arg("--brain").arg(case.join("brain.nii.gz"));
        for sequence in ["bravo", "flair"] {
            let file = case.join(format!("{sequence}.nii.gz"));
            command
                .arg("--sequence")
                .arg(format!("{sequence}={}", file.display()));
        }
        let output = command.args(["--device", device]).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        imaging::nifti::read(&out.join("probability.nii.gz"))
            .unwrap()
            .values
    };
    let apart = most_apart(&predict("cpu"), &predict(&gpu_name()));
    assert!(apart <= APART, "{apart}");
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_how_many_are_and_ends_with_the_code_for_devices() {
    let folder = tempfile::tempdir().unwrap();
    if !there_is_a_gpu(folder.path()) {
        return;
    }
    let output = absent(folder.path());
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("device 77 asked for, but"), "{said}");
}
