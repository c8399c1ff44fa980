//! A small experiment with the real binaries: arms, seeds, each site alone, their consensus, and
//! all images in one place.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use journeys::binary;
use journeys::settings::{SimulatedSite, Simulation};
use std::path::Path;
use std::process::{Command, Output};

fn settings() -> String {
    let simulation = Simulation {
        name: "arms",
        seed: 3,
        rounds: 1,
        slices: 1,
        steps: 3,
        validation_share: 0.0,
        sites: &[
            SimulatedSite::training("north", 2),
            SimulatedSite::training("south", 2).lacking(&["flair"]),
            SimulatedSite::validating("judge", 2)
                .lacking(&["bravo"])
                .with_scanner("like harbour"),
            SimulatedSite::evaluating("harbour", 2).lacking(&["bravo"]),
        ],
    };
    simulation.toml() + ARMS
}

const ARMS: &str = r#"
[experiment]
seeds = [1]
may_pool = true

[[experiment.arms]]
name = "dropout"
with_local = true

[[experiment.arms]]
name = "pooled"
pool = true
"#;

fn experiment(folder: &Path, settings: &str) -> Output {
    std::fs::write(folder.join("arms.toml"), settings).unwrap();
    let arguments = ["experiment", "arms.toml", "--out", "out", "--json"];
    Command::new(binary("coordinator"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn done(folder: &Path, settings: &str) -> serde_json::Value {
    let output = experiment(folder, settings);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn arms_are_compared_on_the_same_patients_and_an_experiment_grows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = done(folder, &settings());
    let names = |report: &serde_json::Value| -> Vec<String> {
        report["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(
        names(&first),
        [
            "dropout",
            "north alone",
            "south alone",
            "consensus",
            "pooled"
        ]
    );
    assert_eq!(first["cases"], 2);
    let report = |arm: &str| -> serde_json::Value {
        serde_json::from_slice(
            &std::fs::read(folder.join(format!("out/arms/{arm}/seed-1/report.json"))).unwrap(),
        )
        .unwrap()
    };
    let federated = report("dropout");
    assert_eq!(
        federated["consensus"]["members"],
        serde_json::json!(["north", "south"])
    );
    assert!(
        federated["consensus"]["thresholds"]["youden"].is_number(),
        "the judge chose it"
    );
    let pooled = report("pooled");
    let site = pooled["sites"]
        .as_array()
        .unwrap()
        .iter()
        .find(|site| site["name"] == "pooled")
        .unwrap();
    assert_eq!(site["inventory"]["training"], 4, "both archives");

    // Again with another arm: finished arms are kept, and the new arm uses the same images.
    let made = std::fs::metadata(folder.join("out/phantoms/north/data.toml"))
        .unwrap()
        .modified()
        .unwrap();
    let model = std::fs::read(folder.join("out/arms/dropout/seed-1/models/federation.safetensors"))
        .unwrap();
    let fed_avg = "[[experiment.arms]]\nname = 'fed-avg'\nset = { aggregation = 'fed-avg' }\n";
    let more = settings() + fed_avg;
    assert_eq!(names(&done(folder, &more)).last().unwrap(), "fed-avg");
    assert_eq!(
        std::fs::metadata(folder.join("out/phantoms/north/data.toml"))
            .unwrap()
            .modified()
            .unwrap(),
        made
    );
    assert_eq!(
        std::fs::read(folder.join("out/arms/dropout/seed-1/models/federation.safetensors"))
            .unwrap(),
        model
    );

    // A finished arm that means something else now is refused.
    let other = experiment(folder, &more.replace("pool = true", "pool = false"));
    assert_eq!(other.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&other.stderr).contains("begun with other settings"));
}
