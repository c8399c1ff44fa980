//! A complete federation with the real binaries on loopback: three sites train for two rounds, a
//! fourth only evaluates.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

use journeys::binary;
use journeys::settings::{SimulatedSite, Simulation};
use protocol::architecture::manifest;
use protocol::parameters::{STEM, from_bytes};
use protocol::settings::Federation;
use std::path::Path;
use std::process::{Command, Output};

fn settings() -> String {
    let simulation = Simulation {
        name: "journey",
        seed: 3,
        rounds: 2,
        slices: 3,
        steps: 2,
        validation_share: 0.3,
        sites: &[
            SimulatedSite::training("north", 2).lacking(&["bravo"]),
            SimulatedSite::training("south", 3).lacking(&["flair"]),
            SimulatedSite::training("west", 2).lacking(&["t1_pre", "flair"]),
            SimulatedSite::evaluating("harbour", 2).lacking(&["bravo"]),
        ],
    };
    simulation.toml_with("aggregation = 'sequence-aware'")
}

fn simulate(folder: &Path, out: &str) -> Output {
    simulate_with(folder, &settings(), out, &[])
}

fn simulate_with(folder: &Path, settings: &str, out: &str, more: &[&Path]) -> Output {
    let config = folder.join("journey.toml");
    std::fs::write(&config, settings).unwrap();
    let arguments = [
        Path::new("simulate"),
        &config,
        Path::new("--out"),
        &folder.join(out),
    ];
    Command::new(binary("coordinator"))
        .args(arguments)
        .args(more)
        .output()
        .unwrap()
}

fn values(path: &Path) -> Vec<f32> {
    from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One site's stored update.
struct Update {
    values: Vec<f32>,
    /// Its weight.
    slices: f64,
    /// The sequences of its examples, as bits.
    sequences: u64,
}

fn updates(round: &Path) -> Vec<Update> {
    let mut updates = Vec::new();
    for entry in json(&round.join("updates.json")).as_array().unwrap() {
        let file = format!("updates/{}.f32", entry["site"].as_str().unwrap());
        updates.push(Update {
            values: values(&round.join(file)),
            slices: entry["slices"].as_f64().unwrap(),
            sequences: entry["sequences"].as_u64().unwrap(),
        });
    }
    updates
}

/// The average of one value over the sites whose examples had `sequence`, or over all sites.
fn average(updates: &[Update], index: usize, sequence: Option<usize>) -> Option<f64> {
    let mut sum = 0.0;
    let mut weight = 0.0;
    for update in updates {
        if let Some(sequence) = sequence
            && update.sequences >> sequence & 1 == 0
        {
            continue;
        }
        sum += update.slices * f64::from(update.values[index]);
        weight += update.slices;
    }
    if weight > 0.0 {
        Some(sum / weight)
    } else {
        None
    }
}

#[test]
fn a_federation_trains_is_averaged_as_written_and_repeats_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let first = simulate(folder.path(), "first");
    assert!(
        first.status.success(),
        "{}",
        String::from_utf8_lossy(&first.stderr)
    );
    let round = folder.path().join("first/federation/round-0002");
    recompute(&round);
    let report = json(&folder.path().join("first/report.json"));
    let sites = report["sites"].as_array().unwrap();
    assert_eq!(sites.len(), 4);
    let harbour = sites.iter().find(|site| site["name"] == "harbour").unwrap();
    assert_eq!(
        (harbour["role"].as_str(), harbour["cases"].as_u64()),
        (Some("evaluate"), Some(2))
    );
    assert!(
        harbour["metrics"]["auc_volume"]["mean"].is_number(),
        "{harbour}"
    );
    let html = std::fs::read_to_string(folder.path().join("first/report.html")).unwrap();
    assert!(
        html.contains("<svg") && !html.contains("harbour-0001"),
        "a case's name has no place in the report"
    );

    pictures(&folder.path().join("first"), &html);

    let second = simulate(folder.path(), "second");
    assert!(
        second.status.success(),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    let again = folder
        .path()
        .join("second/federation/round-0002/global.f32");
    assert_eq!(
        std::fs::read(round.join("global.f32")).unwrap(),
        std::fs::read(again).unwrap()
    );
}

/// The sites of a simulation send their pictures: one of each site's only validation case, two of
/// the two held-out cases.
fn pictures(run: &Path, html: &str) {
    let mut sent = 0;
    let outcome = json(&run.join("outcome.json"));
    for scores in outcome["runs"][0]["scores"].as_array().unwrap() {
        let own = run
            .join("sites")
            .join(scores["site"].as_str().unwrap())
            .join("work/overlays");
        let index = json(&own.join("overlays.json"));
        let overlays = scores["overlays"].as_array().unwrap();
        assert_eq!(index["pictures"].as_array().unwrap().len(), overlays.len());
        for overlay in overlays {
            let case = overlay["case"].as_u64().unwrap();
            assert!(own.join(format!("case-{case:03}.png")).exists());
            let picture = overlay["picture"].as_str().unwrap();
            assert!(html.contains(&format!("data:image/jpeg;base64,{picture}\"")));
        }
        sent += overlays.len();
    }
    assert_eq!((sent, html.matches("<img").count()), (5, 5));
}

/// The stored model is the average of the stored updates, computed here value by value.
fn recompute(round: &Path) {
    let federation = Federation::from_toml(&settings()).unwrap();
    let manifest = manifest(&federation.model, &federation.input);
    let updates = updates(round);
    let global = values(&round.join("global.f32"));
    assert_eq!(updates.len(), 3);
    for (spec, range) in manifest.ranges() {
        for index in range.clone() {
            let mut sequence = None;
            if spec.name == STEM {
                let [_, channels, height, width] = spec.shape[..] else {
                    panic!("a stem of {} axes", spec.shape.len());
                };
                let channel = (index - range.start) / (height * width) % channels;
                sequence = Some(channel / federation.input.slices);
            }
            let Some(wanted) = average(&updates, index, sequence) else {
                continue;
            };
            let error = (f64::from(global[index]) - wanted).abs();
            assert!(
                error <= 1e-6 * wanted.abs().max(1e-6),
                "{} at {index}: {} not {wanted}",
                spec.name,
                global[index]
            );
        }
    }
}

#[test]
fn an_unknown_key_ends_with_its_name_and_the_code_for_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("typo.toml");
    std::fs::write(&config, settings().replace("steps = 2", "stepz = 2")).unwrap();
    let output = Command::new(binary("coordinator"))
        .arg("simulate")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stepz"));
}

/// The same model, validation patients and held-out patients give the same numbers.
#[test]
fn a_model_is_evaluated_again_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let trained = simulate(folder.path(), "trained");
    assert!(
        trained.status.success(),
        "{}",
        String::from_utf8_lossy(&trained.stderr)
    );
    let only_evaluate = settings().replace("rounds = 2", "rounds = 0");
    let nothing = simulate_with(folder.path(), &only_evaluate, "nothing", &[]);
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(nothing.status.code(), Some(3), "{said}");
    assert!(said.contains("name a model file with --start"), "{said}");

    let model = folder.path().join("trained/models/federation.safetensors");
    let evaluated = simulate_with(
        folder.path(),
        &only_evaluate,
        "evaluated",
        &[Path::new("--start"), &model],
    );
    assert!(
        evaluated.status.success(),
        "{}",
        String::from_utf8_lossy(&evaluated.stderr)
    );
    let first = json(&folder.path().join("trained/report.json"));
    let second = json(&folder.path().join("evaluated/report.json"));
    assert_eq!(second["rounds"], serde_json::json!([]));
    assert_eq!(second["thresholds"], first["thresholds"]);
    let metrics = |report: &serde_json::Value| {
        let sites = report["sites"].as_array().unwrap();
        let harbour = sites.iter().find(|site| site["name"] == "harbour").unwrap();
        harbour["metrics"].clone()
    };
    assert!(metrics(&first)["auc_volume"]["mean"].is_number());
    assert_eq!(metrics(&second), metrics(&first));
    let html = std::fs::read_to_string(folder.path().join("evaluated/report.html")).unwrap();
    assert!(html.contains("No training: a given model was evaluated"));
}
