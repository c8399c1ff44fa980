//! A whole federation with the real binaries on loopback: three sites train for two rounds, a
//! fourth is held out.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use journeys::binary;
use protocol::architecture::manifest;
use protocol::parameters::{STEM, from_bytes};
use protocol::settings::Federation;
use std::path::Path;
use std::process::{Command, Output};

const SETTINGS: &str = r#"
name = "journey"
seed = 3
rounds = 2
aggregation = "sequence-aware"

[input]
sequences = ["bravo", "t1_pre", "t1_post", "flair"]
slices = 3
plane = 32

[model]
preset = "tiny"
width = 4

[training]
steps = 2
batch = 4

[evaluation]
validation_share = 0.3

[simulate.phantom]
plane = 32
slices = 8

[[simulate.sites]]
name = "north"
role = "train"
cases = 2
lacks = ["bravo"]

[[simulate.sites]]
name = "south"
role = "train"
cases = 3
lacks = ["flair"]

[[simulate.sites]]
name = "west"
role = "train"
cases = 2
lacks = ["t1_pre", "flair"]

[[simulate.sites]]
name = "harbour"
role = "evaluate"
cases = 2
lacks = ["bravo"]
"#;

fn simulate(folder: &Path, out: &str) -> Output {
    let config = folder.join("journey.toml");
    std::fs::write(&config, SETTINGS).unwrap();
    let arguments = [
        Path::new("simulate"),
        &config,
        Path::new("--out"),
        &folder.join(out),
    ];
    Command::new(binary("coordinator"))
        .args(arguments)
        .output()
        .unwrap()
}

fn values(path: &Path) -> Vec<f32> {
    from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One site's stored update: its values, its weight, and the sequences its examples held, as bits.
struct Update {
    values: Vec<f32>,
    slices: f64,
    sequences: u64,
}

fn updates(round: &Path) -> Vec<Update> {
    let summary = json(&round.join("updates.json"));
    let update = |entry: &serde_json::Value| Update {
        values: values(
            &round
                .join("updates")
                .join(format!("{}.f32", entry["site"].as_str().unwrap())),
        ),
        slices: entry["slices"].as_f64().unwrap(),
        sequences: entry["sequences"].as_u64().unwrap(),
    };
    summary.as_array().unwrap().iter().map(update).collect()
}

/// The average of one value over the sites that may teach it.
fn average(updates: &[Update], index: usize, sequence: Option<usize>) -> Option<f64> {
    let teach =
        |update: &&Update| sequence.is_none_or(|sequence| update.sequences >> sequence & 1 == 1);
    let weight: f64 = updates
        .iter()
        .filter(teach)
        .map(|update| update.slices)
        .sum();
    let sum: f64 = updates
        .iter()
        .filter(teach)
        .map(|update| update.slices * f64::from(update.values[index]))
        .sum();
    (weight > 0.0).then(|| sum / weight)
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

/// A simulation's sites send what they draw: one picture of a lone validation case with a lesion,
/// two of the two held out.
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
            assert!(
                own.join(format!("case-{:03}.png", overlay["case"].as_u64().unwrap()))
                    .exists()
            );
            assert!(html.contains(&format!(
                "data:image/jpeg;base64,{}\"",
                overlay["picture"].as_str().unwrap()
            )));
        }
        sent += overlays.len();
    }
    assert_eq!((sent, html.matches("<img").count()), (5, 5));
}

/// The stored model is what anybody gets from the stored updates with a pencil.
fn recompute(round: &Path) {
    let federation = Federation::from_toml(SETTINGS).unwrap();
    let manifest = manifest(&federation.model, &federation.input);
    let (updates, global) = (updates(round), values(&round.join("global.f32")));
    assert_eq!(updates.len(), 3);
    for (spec, range) in manifest.ranges() {
        for index in range.clone() {
            let sequence = (spec.name == STEM).then(|| {
                let channel =
                    (index - range.start) / (spec.shape[2] * spec.shape[3]) % spec.shape[1];
                channel / federation.input.slices
            });
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
    std::fs::write(&config, SETTINGS.replace("steps = 2", "stepz = 2")).unwrap();
    let output = Command::new(binary("coordinator"))
        .arg("simulate")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stepz"));
}
