//! The picture in numbers for Prometheus, in its text format 0.0.4. Written by hand: every value is
//! read off the one picture, where a metrics library would want a second set of counters beside it.

use super::state::{SiteState, Status};
use std::fmt::{Display, Write};

/// What the text is.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Families of samples, one after the other.
#[derive(Default)]
struct Text(String);

/// A sample: its labels and its value. Without a value there is no sample.
type Sample<'a> = (Vec<(&'static str, &'a str)>, Option<f64>);

impl Text {
    /// One family, unless it has no samples.
    fn family<'a>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let mut begun = false;
        for (labels, value) in samples {
            let Some(value) = value else { continue };
            if !std::mem::replace(&mut begun, true) {
                self.line(format_args!(
                    "# HELP lacuna_{name} {help}\n# TYPE lacuna_{name} {kind}"
                ));
            }
            let labels: Vec<String> = labels
                .iter()
                .map(|(key, value)| format!("{key}=\"{}\"", escape(value)))
                .collect();
            let labels = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", labels.join(","))
            };
            self.line(format_args!("lacuna_{name}{labels} {value}"));
        }
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// The whole picture.
pub(super) fn write(status: &Status) -> String {
    let mut text = Text::default();
    let one = |value: f64| [(Vec::new(), Some(value))];
    let about = vec![
        ("federation", status.federation.as_str()),
        ("version", status.version.as_str()),
    ];
    text.family(
        (
            "coordinator_info",
            "gauge",
            "Which federation, and the coordinator's version.",
        ),
        [(about, Some(1.0))],
    );
    text.family(
        (
            "start_timestamp_seconds",
            "gauge",
            "When the coordinator started.",
        ),
        one(status.began),
    );
    let paused = f64::from(u8::from(status.paused));
    text.family(
        ("paused", "gauge", "Whether no new task is handed out."),
        one(paused),
    );
    text.family(
        (
            "rounds_planned",
            "gauge",
            "Rounds that each run is to have.",
        ),
        one(f64::from(status.rounds)),
    );
    runs(status, &mut text);
    sites(status, &mut text);
    text.0
}

fn runs(status: &Status, text: &mut Text) {
    let each = |value: &dyn Fn(&super::RunStatus) -> Option<f64>| -> Vec<Sample<'_>> {
        status
            .runs
            .iter()
            .map(|run| (vec![("run", run.name.as_str())], value(run)))
            .collect()
    };
    let finished = each(&|run| Some(f64::from(run.finished)));
    text.family(
        (
            "rounds_total",
            "counter",
            "Rounds finished, restarts included.",
        ),
        finished,
    );
    let seconds = each(&|run| Some(run.totals.seconds));
    text.family(
        (
            "rounds_duration_seconds_total",
            "counter",
            "Time that the finished rounds took.",
        ),
        seconds,
    );
    let bytes = each(&|run| Some(run.totals.bytes as f64));
    text.family(
        (
            "parameters_bytes_total",
            "counter",
            "Parameters moved to and from sites.",
        ),
        bytes,
    );
    let validation = each(&|run| run.totals.validation);
    text.family(
        (
            "validation_dice",
            "gauge",
            "Pooled validation Dice of the youngest scored model.",
        ),
        validation,
    );
    let best = each(&|run| run.best_validation);
    text.family(
        (
            "best_validation_dice",
            "gauge",
            "Pooled validation Dice of the best model so far.",
        ),
        best,
    );
}

fn sites(status: &Status, text: &mut Text) {
    let each = |value: &dyn Fn(&super::SiteStatus) -> Option<f64>| -> Vec<Sample<'_>> {
        status
            .sites
            .iter()
            .map(|(name, site)| (vec![("site", name.as_str())], value(site)))
            .collect()
    };
    let count = |state| {
        status
            .sites
            .values()
            .filter(|site| site.state == state)
            .count() as f64
    };
    let states = SiteState::ALL.map(|state| (vec![("state", state.word())], Some(count(state))));
    text.family(("sites", "gauge", "Sites by what they are at."), states);
    let connected = each(&|site| Some(f64::from(u8::from(site.connected))));
    text.family(
        (
            "site_connected",
            "gauge",
            "Whether the site's connection stands.",
        ),
        connected,
    );
    let tunnelled = each(&|site| Some(f64::from(u8::from(site.connected && site.tunnelled))));
    text.family(
        (
            "site_tunnelled",
            "gauge",
            "Whether the site comes through the TLS fallback.",
        ),
        tunnelled,
    );
    let heard = each(&|site| site.last_progress);
    text.family(
        (
            "site_last_progress_timestamp_seconds",
            "gauge",
            "When the site last got on.",
        ),
        heard,
    );
    let speed = each(&|site| site.slices_per_second.map(f64::from));
    text.family(
        (
            "site_slices_per_second",
            "gauge",
            "Slices that the site trains a second, of late.",
        ),
        speed,
    );
    let loss = each(&|site| site.loss.map(f64::from));
    text.family(
        (
            "site_training_loss",
            "gauge",
            "The site's mean training loss, of late.",
        ),
        loss,
    );
    let updates = each(&|site| Some(site.updates as f64));
    text.family(
        (
            "site_updates_total",
            "counter",
            "Updates taken since the coordinator started.",
        ),
        updates,
    );
    let failures = each(&|site| Some(site.failures as f64));
    text.family(
        (
            "site_failures_total",
            "counter",
            "Tasks and updates that came to nothing since then.",
        ),
        failures,
    );
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
