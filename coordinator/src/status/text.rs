//! The picture in words, for a terminal.

use super::state::{Phase, RunStatus, SiteState, SiteStatus, Status};
use crate::format::{bytes, duration};
use protocol::case::Role;
use std::fmt::Write;
use std::net::SocketAddr;
use time::OffsetDateTime;

/// How many of the youngest troubles are shown.
const TROUBLES: usize = 8;

/// The whole picture; `address` is where the page is, when somebody runs the federation.
pub(crate) fn write(status: &Status, address: Option<SocketAddr>) -> String {
    let mut text = format!("{}: {}\n", status.federation, sentence(status));
    match address {
        Some(address) => add(&mut text, format_args!("page: http://{address}/")),
        None => add(
            &mut text,
            format_args!("no coordinator runs it; this is what its run folder says"),
        ),
    }
    table(
        &mut text,
        &[
            "site",
            "role",
            "at",
            "slices/s",
            "loss",
            "last progress",
            "sequences",
        ],
        site_rows(status),
    );
    for run in status.runs.iter().filter(|run| !run.rounds.is_empty()) {
        add(&mut text, format_args!("\n{}", run.name));
        table(
            &mut text,
            &[
                "round",
                "time",
                "moved",
                "validation",
                "mean loss",
                "missing or partial",
            ],
            round_rows(run),
        );
    }
    if !status.troubles.is_empty() {
        add(&mut text, format_args!("\nwhat went wrong (UTC)"));
    }
    for trouble in status.troubles.iter().rev().take(TROUBLES).rev() {
        add(
            &mut text,
            format_args!(
                "  {}  {} {}",
                clock(trouble.at),
                trouble.site,
                trouble.reason
            ),
        );
    }
    text
}

fn add(text: &mut String, line: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// What the whole is at: `round 3 of 6, training for 41.2 s`.
pub(super) fn sentence(status: &Status) -> String {
    let working = || {
        let task = status
            .runs
            .iter()
            .rev()
            .find_map(|run| run.task.as_ref().map(|task| (run, task)));
        let Some((run, task)) = task else {
            return "between two tasks".to_string();
        };
        let whose = if run.name == "federation" {
            String::new()
        } else {
            format!("{}: ", run.name)
        };
        let since = duration((status.now - task.since).max(0.0));
        let (word, round, rounds) = (task.work.word(), task.round, status.rounds);
        format!("{whose}round {round} of {rounds}, {word} for {since}")
    };
    let done = status.runs.first().map_or(0, |run| run.finished);
    let sentence = match status.phase {
        Phase::Gathering => "waiting for its sites".into(),
        Phase::Working => working(),
        Phase::Stopping => "stopping".into(),
        Phase::Finished => "finished".into(),
        Phase::Away => format!("{done} of {} rounds are done", status.rounds),
    };
    if status.paused {
        format!("paused; {sentence}")
    } else {
        sentence
    }
}

fn site_rows(status: &Status) -> Vec<Vec<String>> {
    let row = |(name, site): (&String, &SiteStatus)| {
        let number = |value: Option<f32>, decimals: usize| {
            value.map_or("-".into(), |value| format!("{value:.decimals$}"))
        };
        let heard = site
            .last_progress
            .map(|at| format!("{} ago", duration((status.now - at).max(0.0))));
        let mut sequences = site
            .sequences
            .as_ref()
            .map_or("-".into(), |sequences| sequences.join(" "));
        if site.lesions == Some(0) {
            sequences += " (its labels hold no lesion: its Dice says nothing)";
        }
        let role = site.role.map_or("-".into(), role);
        let speed = number(
            site.slices_per_second
                .filter(|_| site.state == SiteState::Training),
            0,
        );
        vec![
            name.clone(),
            role,
            at(site, status.phase)
                + if site.tunnelled && site.connected {
                    " (by TLS)"
                } else {
                    ""
                },
            speed,
            number(site.loss, 4),
            heard.unwrap_or("-".into()),
            sequences,
        ]
    };
    status.sites.iter().map(row).collect()
}

/// The role as the settings spell it.
fn role(role: Role) -> String {
    serde_json::to_value(role)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// `training 12 of 40`, `failed: why`.
fn at(site: &SiteStatus, phase: Phase) -> String {
    let word = site.state.word();
    match (site.state, &site.reason) {
        // Nobody is expected where nobody waits.
        (SiteState::Expected, _) if matches!(phase, Phase::Away | Phase::Finished) => "-".into(),
        (SiteState::Preparing | SiteState::Training | SiteState::Scoring, _) => {
            format!("{word} {} of {}", site.done, site.total)
        }
        (SiteState::Failed | SiteState::Left, Some(reason)) => format!("{word}: {reason}"),
        _ => word.into(),
    }
}

fn round_rows(run: &RunStatus) -> Vec<Vec<String>> {
    let rows = run.rounds.iter().map(|round| {
        let best = if run.best_round == Some(round.round) {
            " best"
        } else {
            ""
        };
        let validation = round
            .validation
            .map_or("-".into(), |dice| format!("{dice:.4}{best}"));
        let sum: f64 = round.losses.values().map(|&loss| f64::from(loss)).sum();
        let loss = if round.losses.is_empty() {
            "-".into()
        } else {
            format!("{:.4}", sum / round.losses.len() as f64)
        };
        let missing = round
            .missing
            .iter()
            .map(|(site, why)| format!("{site}: {why}"));
        let partial = round
            .partial
            .iter()
            .map(|(site, (done, asked))| format!("{site}: {done} of {asked} steps"));
        let missing: Vec<String> = missing.chain(partial).collect();
        vec![
            round.round.to_string(),
            duration(round.seconds),
            bytes(round.bytes),
            validation,
            loss,
            missing.join("; "),
        ]
    });
    rows.collect()
}

/// Columns as wide as they need to be.
fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = rows[0].len();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        add(text, format_args!("  {}", cells.join("  ").trim_end()));
    }
}

/// `14:05:09`.
fn clock(at: f64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(at as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:02}:{:02}:{:02}",
        time.hour(),
        time.minute(),
        time.second()
    )
}
