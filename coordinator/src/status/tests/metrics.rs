//! What Prometheus reads, by the rules of its text format.

use super::*;
use crate::status::metrics::write;
use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels; every family's words come once, before its samples, and nothing else
/// is there.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut kinds, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(
                helped.insert(help.split(' ').next().unwrap().to_string()),
                "{line}"
            );
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(
                helped.contains(name) && kinds.insert(name.to_string(), kind.to_string()).is_none(),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name.into();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(name == current && name.starts_with("lacuna_"), "{line}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{line}"
            );
            assert!(
                samples
                    .insert(series.to_string(), value.parse().unwrap())
                    .is_none(),
                "{line} twice"
            );
        }
    }
    samples
}

#[test]
fn every_number_is_there_with_its_labels() {
    let samples = parse(&write(&busy()));
    for (series, value) in [
        (
            "lacuna_coordinator_info{federation=\"metastases\",version=\"0.1.0\"}",
            1.0,
        ),
        ("lacuna_start_timestamp_seconds", 1000.0),
        ("lacuna_paused", 0.0),
        ("lacuna_rounds_planned", 6.0),
        ("lacuna_rounds_total{run=\"federation\"}", 2.0),
        (
            "lacuna_rounds_duration_seconds_total{run=\"federation\"}",
            25.0,
        ),
        ("lacuna_parameters_bytes_total{run=\"federation\"}", 8e6),
        ("lacuna_validation_dice{run=\"federation\"}", 0.25),
        ("lacuna_sites{state=\"training\"}", 1.0),
        ("lacuna_sites{state=\"failed\"}", 1.0),
        ("lacuna_sites{state=\"dropped\"}", 0.0),
        ("lacuna_site_connected{site=\"north\"}", 1.0),
        ("lacuna_site_tunnelled{site=\"north\"}", 1.0),
        ("lacuna_site_tunnelled{site=\"south\"}", 0.0),
        (
            "lacuna_site_last_progress_timestamp_seconds{site=\"north\"}",
            1006.0,
        ),
        ("lacuna_site_training_loss{site=\"north\"}", 0.25),
        ("lacuna_site_failures_total{site=\"south\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(
        !samples.contains_key("lacuna_site_training_loss{site=\"harbour\"}"),
        "what is not known is not 0"
    );
}

#[test]
fn labels_are_escaped() {
    let mut status = busy();
    status.federation = "a\"b\\c\nd".into();
    let text = write(&status);
    assert!(
        text.contains("{federation=\"a\\\"b\\\\c\\nd\",version="),
        "{text}"
    );
}
