//! Rounds that do not wait for their slowest site, with the real binaries: with a deadline, and
//! with a buffer.

use super::kills::{Federation, prepare};
use protocol::parameters::{Kind, Manifest, from_bytes};
use std::path::Path;

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn values(path: &Path) -> Vec<f32> {
    from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

fn records(run: &Path) -> Vec<serde_json::Value> {
    json(&run.join("outcome.json"))["runs"][0]["rounds"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn a_training_that_would_take_for_ever_ends_at_the_deadline_and_counts_by_its_weight() {
    let prepared = tempfile::tempdir().unwrap();
    prepare(prepared.path());
    let settings = "
model = { preset = 'tiny', width = 4 }
rounds = 2
training = { steps = 1000000, batch = 4 }
sites = { expected = ['north', 'south', 'harbour'], minimum = 2, deadline_s = 1 }";
    let federation = Federation::start(prepared.path(), "deadline", settings);
    federation.until(Federation::is_over);
    let rounds = records(&federation.folder.join("run"));
    assert_eq!(rounds.len(), 2);
    for round in &rounds {
        let updates = round["updates"].as_array().unwrap();
        assert_eq!(
            (updates.len(), round["missing"].as_array().unwrap().len()),
            (2, 0),
            "{}",
            federation.words()
        );
        for update in updates {
            let steps = update["steps"].as_u64().unwrap();
            assert!(
                (1..1_000_000).contains(&steps) && update["asked_steps"] == 1_000_000,
                "{update}"
            );
            assert_eq!(update["slices"].as_u64().unwrap(), 4 * steps);
        }
    }
    assert!(
        federation.words().contains("the deadline came"),
        "{}",
        federation.words()
    );
    // Written after the outcome.
    federation.until(|federation| {
        let report = std::fs::read_to_string(federation.folder.join("run/report.html"));
        report.is_ok_and(|report| report.contains("of 1000000 steps"))
    });
}

/// A round's model, computed here value by value from the stored models and updates.
fn recomputed(run: &Path, manifest: &Manifest, round: u64) -> Vec<f64> {
    let folder = |round: u64| run.join(format!("federation/round-{round:04}"));
    let model = |round: u64| values(&folder(round).join("global.f32"));
    let newest = model(round - 1);
    let mut statistic = vec![false; newest.len()];
    for (spec, range) in manifest.ranges() {
        statistic[range].fill(spec.kind == Kind::RunningStatistic);
    }
    let mut sums = vec![0.0; newest.len()];
    let mut weight = 0.0;
    let updates = json(&folder(round).join("updates.json"));
    for entry in updates.as_array().unwrap() {
        let base = entry["base"].as_u64().unwrap();
        let slices = entry["slices"].as_f64().unwrap();
        let name = format!("updates/{}.f32", entry["site"].as_str().unwrap());
        let update = values(&folder(base + 1).join(name));
        let start = model(base);
        let freshness = 1.0 / (1.0 + (round - 1 - base) as f64).sqrt();
        weight += slices;
        for (at, sum) in sums.iter_mut().enumerate() {
            let from = if statistic[at] { newest[at] } else { start[at] };
            *sum += freshness * slices * (f64::from(update[at]) - f64::from(from));
        }
    }
    newest
        .iter()
        .zip(&sums)
        .map(|(value, sum)| f64::from(*value) + sum / weight)
        .collect()
}

#[test]
fn a_buffered_federation_does_not_wait_and_every_model_is_made_as_written_over_a_kill() {
    let prepared = tempfile::tempdir().unwrap();
    prepare(prepared.path());
    let settings = "
model = { preset = 'tiny', width = 4 }
rounds = 6
aggregation = 'fed-avg'
training = { steps = 6, batch = 4 }
buffered = { size = 1 }
sites = { expected = ['north', 'south', 'harbour'], minimum = 1 }";
    let mut federation = Federation::start(prepared.path(), "buffered", settings);
    let run = federation.folder.join("run");
    federation.until(|federation| {
        federation.is_over() || run.join("federation/round-0002/updates.json").exists()
    });
    // The coordinator.
    federation.restart(0);
    federation.until(Federation::is_over);
    let settings = std::fs::read_to_string(federation.folder.join("coordinator.toml")).unwrap();
    let settings = protocol::settings::Federation::from_toml(&settings).unwrap();
    let manifest = protocol::architecture::manifest(&settings.model, &settings.input);
    for round in 1..=6 {
        let wanted = recomputed(&run, &manifest, round);
        let made = values(&run.join(format!("federation/round-{round:04}/global.f32")));
        for (at, (value, wanted)) in made.iter().zip(wanted).enumerate() {
            let error = (f64::from(*value) - wanted).abs();
            assert!(
                error <= 1e-6 * wanted.abs().max(1e-3),
                "round {round} at {at}: {value} not {wanted}"
            );
        }
    }
    // Both began from the initial model, and one update makes a version: the second one came too
    // late for the first.
    let rounds = records(&run);
    let stale = |round: &serde_json::Value| round["updates"][0]["staleness"].as_u64().unwrap();
    assert!(
        rounds.len() == 6 && rounds.iter().any(|round| stale(round) > 0),
        "{rounds:?}"
    );
    let mut counted: Vec<(String, u64)> = Vec::new();
    for round in &rounds {
        let base = round["round"].as_u64().unwrap() - 1 - stale(round);
        counted.push((round["updates"][0]["site"].to_string(), base));
        assert_eq!(
            round["validation"].is_number(),
            round["round"] == 6,
            "only the last model is scored"
        );
    }
    counted.sort();
    counted.dedup();
    assert_eq!(counted.len(), 6, "no update counts twice");
}
