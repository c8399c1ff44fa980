//! The status in numbers for Prometheus, in its text format 0.0.4. Written by hand: every value is
//! read from the one [`Status`], where a metrics library would keep a second set of counters.

use super::state::{RunStatus, SiteState, SiteStatus, Status};
use std::fmt::Write;

/// The content type of the text.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Samples of the same name.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

/// A number that may rise and fall.
const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: "gauge",
        help,
    }
}

/// A number that only rises; its name ends with `_total`.
const fn counter(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind: "counter",
        help,
    }
}

struct Label {
    name: &'static str,
    value: String,
}

struct Sample {
    labels: Vec<Label>,
    value: f64,
}

/// The text for a status.
pub(super) fn write(status: &Status) -> String {
    let mut text = String::new();
    let info = Sample {
        labels: vec![
            Label {
                name: "federation",
                value: status.federation.clone(),
            },
            Label {
                name: "version",
                value: status.version.clone(),
            },
        ],
        value: 1.0,
    };
    add(
        &mut text,
        gauge(
            "coordinator_info",
            "Which federation, and the coordinator's version.",
        ),
        vec![info],
    );
    add(
        &mut text,
        gauge("start_timestamp_seconds", "When the coordinator started."),
        without_labels(status.began),
    );
    add(
        &mut text,
        gauge("paused", "Whether no new task is handed out."),
        without_labels(one_if(status.paused)),
    );
    add(
        &mut text,
        gauge("rounds_planned", "Rounds that each run is to have."),
        without_labels(f64::from(status.rounds)),
    );
    add_runs(&mut text, status);
    add_sites(&mut text, status);
    text
}

fn add_runs(text: &mut String, status: &Status) {
    add(
        text,
        counter("rounds_total", "Rounds finished, restarts included."),
        of_runs(status, |run| Some(f64::from(run.finished))),
    );
    add(
        text,
        counter(
            "rounds_duration_seconds_total",
            "Time that the finished rounds took.",
        ),
        of_runs(status, |run| Some(run.totals.seconds)),
    );
    add(
        text,
        counter(
            "parameters_bytes_total",
            "Parameters moved to and from sites.",
        ),
        of_runs(status, |run| Some(run.totals.bytes as f64)),
    );
    add(
        text,
        gauge(
            "validation_dice",
            "Pooled validation Dice of the youngest scored model.",
        ),
        of_runs(status, |run| run.totals.validation),
    );
    add(
        text,
        gauge(
            "best_validation_dice",
            "Pooled validation Dice of the best model so far.",
        ),
        of_runs(status, |run| run.best_validation),
    );
}

fn add_sites(text: &mut String, status: &Status) {
    let mut states = Vec::new();
    for state in SiteState::ALL {
        let sites = status.sites.values().filter(|site| site.state == state);
        states.push(Sample {
            labels: vec![Label {
                name: "state",
                value: state.word().to_string(),
            }],
            value: sites.count() as f64,
        });
    }
    add(text, gauge("sites", "Sites by what they are at."), states);
    add(
        text,
        gauge("site_connected", "Whether the site is connected."),
        of_sites(status, |site| Some(one_if(site.connected))),
    );
    add(
        text,
        gauge(
            "site_tunnelled",
            "Whether the site comes through the TLS fallback.",
        ),
        of_sites(status, |site| {
            Some(one_if(site.connected && site.tunnelled))
        }),
    );
    add(
        text,
        gauge(
            "site_last_progress_timestamp_seconds",
            "When the site last reported progress.",
        ),
        of_sites(status, |site| site.last_progress),
    );
    add(
        text,
        gauge(
            "site_slices_per_second",
            "Slices that the site trains per second, lately.",
        ),
        of_sites(status, |site| site.slices_per_second.map(f64::from)),
    );
    add(
        text,
        gauge(
            "site_training_loss",
            "The site's mean training loss, lately.",
        ),
        of_sites(status, |site| site.loss.map(f64::from)),
    );
    add(
        text,
        counter(
            "site_updates_total",
            "Updates accepted since the coordinator started.",
        ),
        of_sites(status, |site| Some(site.updates as f64)),
    );
    add(
        text,
        counter(
            "site_failures_total",
            "Failed tasks and refused updates since then.",
        ),
        of_sites(status, |site| Some(site.failures as f64)),
    );
}

fn without_labels(value: f64) -> Vec<Sample> {
    vec![Sample {
        labels: Vec::new(),
        value,
    }]
}

/// One sample for each run that has the value.
fn of_runs(status: &Status, value: fn(&RunStatus) -> Option<f64>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for run in &status.runs {
        if let Some(value) = value(run) {
            let labels = vec![Label {
                name: "run",
                value: run.name.to_string(),
            }];
            samples.push(Sample { labels, value });
        }
    }
    samples
}

/// One sample for each site that has the value.
fn of_sites(status: &Status, value: fn(&SiteStatus) -> Option<f64>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, site) in &status.sites {
        if let Some(value) = value(site) {
            let labels = vec![Label {
                name: "site",
                value: name.clone(),
            }];
            samples.push(Sample { labels, value });
        }
    }
    samples
}

/// Adds a family, unless it has no samples.
fn add(text: &mut String, family: Family, samples: Vec<Sample>) {
    let Family { name, kind, help } = family;
    if samples.is_empty() {
        return;
    }
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP lacuna_{name} {help}");
    let _ = writeln!(text, "# TYPE lacuna_{name} {kind}");
    for sample in samples {
        let mut labels = Vec::new();
        for label in &sample.labels {
            labels.push(format!("{}=\"{}\"", label.name, escape(&label.value)));
        }
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(text, "lacuna_{name}{labels} {}", sample.value);
    }
}

fn one_if(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
