//! The programs on a card: what `LACUNA_DEVICE` names, Vulkan's first device where it is not set. Mesa's software card
//! will do. Where the programs were built without cards, or there is none, the tests say that they check nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a journey that cannot go on has failed")]

use journeys::binary;
use shared::parameters::from_bytes;
use std::path::Path;
use std::process::{Command, Output};

fn card() -> String {
    std::env::var("LACUNA_DEVICE").unwrap_or_else(|_| "vulkan".into())
}

fn agent(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(binary("site-agent")).args(arguments).env("XDG_CACHE_HOME", cache).output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether there is a card to test.
fn there(cache: &Path) -> bool {
    let out = cache.join("nothing");
    let arguments = ["predict", "--model", "none", "--out", out.to_str().unwrap(), "--device", &card()];
    // A model that is not there is found out after the device that is not there.
    let output = agent(cache, &[&arguments[..], &["--sequence", "a=b"]].concat());
    let refused = words(&output).contains("device") || words(&output).contains("built without");
    if refused {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: {}", words(&output));
    }
    !refused
}

/// `configs/demo-smoke.toml`, with some sites on another device.
fn simulate(folder: &Path, name: &str, on_card: &[&str]) -> Output {
    let mut text = std::fs::read_to_string("../configs/demo-smoke.toml").unwrap();
    for site in on_card {
        let line = format!("name = \"{site}\"\n");
        text = text.replace(&line, &format!("{line}device = \"{}\"\n", card()));
    }
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(&config, text).unwrap();
    let arguments = [Path::new("simulate"), &config, Path::new("--out"), &folder.join(name)];
    Command::new(binary("coordinator")).args(arguments).env("XDG_CACHE_HOME", folder).output().unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn model(folder: &Path) -> Vec<f32> {
    from_bytes(&std::fs::read(folder.join("federation/round-0002/global.f32")).unwrap()).unwrap()
}

#[test]
fn a_federation_of_processors_and_cards_is_the_one_of_processors() {
    let folder = tempfile::tempdir().unwrap();
    if !there(folder.path()) {
        return;
    }
    for (name, on_card) in [("processors", &[][..]), ("mixed", &["north", "harbour"][..])] {
        let output = simulate(folder.path(), name, on_card);
        assert!(output.status.success(), "{}", words(&output));
    }
    let (one, other) = (model(&folder.path().join("processors")), model(&folder.path().join("mixed")));
    let furthest = one.iter().zip(&other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    // Adam's steps are as long as the learning rate: rounding can turn one whose gradient is nearly zero.
    assert!(furthest < 8e-3, "{furthest}");
    let dice = |name: &str| json(&folder.path().join(name).join("report.json"))["federation"]["held_out"].clone();
    let close = |one: &serde_json::Value, other: &serde_json::Value| match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() < 5e-3,
        (None, None) => true,
        _ => false,
    };
    let (one, other) = (dice("processors"), dice("mixed"));
    for metric in ["auc_brain", "auc_volume"] {
        let (one, other) = (&one[metric]["mean"], &other[metric]["mean"]);
        assert!(close(one, other), "{metric}: {one} {other}");
    }

    let cohort = folder.path().join("processors");
    let patient = first_patient(&cohort);
    let map = |device: &str, out: &str| {
        let out = folder.path().join(out);
        let model = cohort.join("models/federation.safetensors");
        let sequence = format!("t1_pre={}", patient.display());
        let arguments = ["predict", "--model", model.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let output = agent(folder.path(), &[&arguments[..], &["--sequence", &sequence, "--device", device]].concat());
        assert!(output.status.success(), "{}", words(&output));
        site_agent::nifti::read(&out.join("probability.nii.gz")).unwrap().values
    };
    let (processor, card) = (map("cpu", "by-processor"), map(&card(), "by-card"));
    let furthest = processor.iter().zip(&card).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-3, "{furthest}");
}

/// Some patient's image before contrast.
fn first_patient(run: &Path) -> std::path::PathBuf {
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("t1_pre.nii.gz") {
                return path;
            }
        }
    }
    panic!("no patient below {}", run.display())
}

#[test]
fn a_damaged_cache_of_compiled_programs_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    if !there(folder.path()) {
        return;
    }
    let kernels = folder.path().join("lacuna/kernels");
    let files = || std::fs::read_dir(&kernels).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let simulated = |name: &str| {
        let output = simulate(folder.path(), name, &["north"]);
        assert!(output.status.success(), "{}", words(&output));
        model(&folder.path().join(name))
    };
    let first = simulated("first");
    assert!(!files().is_empty(), "programs are kept");
    for file in files() {
        std::fs::write(file, "this is no database").unwrap();
    }
    assert_eq!(simulated("second"), first);
}

#[test]
fn a_card_that_is_not_there_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    if !there(folder.path()) {
        return;
    }
    let name = format!("{}:77", card().split(':').next().unwrap());
    let output = agent(folder.path(), &["doctor", "--device", &name]);
    assert_eq!(output.status.code(), Some(5), "{}", words(&output));
    assert!(words(&output).contains("77 asked for") && words(&output).contains("cpu"), "{}", words(&output));
}
