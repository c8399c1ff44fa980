//! The status in words, for a terminal.

use super::state::{Phase, RoundStatus, RunStatus, SiteState, SiteStatus, Status};
use crate::format::{bytes, duration};
use protocol::case::Role;
use protocol::outcome::RunKind;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use time::OffsetDateTime;

/// How many of the latest troubles are shown.
const TROUBLES: usize = 8;

/// The status; `address` is the page's, when a coordinator runs.
pub(crate) fn write(status: &Status, address: Option<SocketAddr>) -> String {
    let mut text = format!("{}: {}\n", status.federation, sentence(status));
    match address {
        Some(address) => add(&mut text, format_args!("page: http://{address}/")),
        None => add(
            &mut text,
            format_args!("no coordinator runs it; this is what its run folder says"),
        ),
    }
    add_table(
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
        &site_rows(status),
    );
    for (group, sites) in key_exchanges(status) {
        add(
            &mut text,
            format_args!("key exchange {group}: {}", sites.join(", ")),
        );
    }
    for run in status.runs.iter().filter(|run| !run.rounds.is_empty()) {
        add(&mut text, format_args!("\n{}", run.name));
        add_table(
            &mut text,
            &[
                "round",
                "time",
                "moved",
                "validation",
                "mean loss",
                "missing or partial",
            ],
            &round_rows(run),
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

/// The connected sites by the group in which their keys were exchanged.
fn key_exchanges(status: &Status) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, site) in &status.sites {
        if let (true, Some(group)) = (site.connected, &site.key_exchange) {
            groups.entry(group).or_default().push(name);
        }
    }
    groups
}

fn add(text: &mut String, line: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// The phase in words: `round 3 of 6, training for 41.2 s`.
pub(super) fn sentence(status: &Status) -> String {
    let sentence = match status.phase {
        Phase::Gathering => "waiting for its sites".into(),
        Phase::Working => current_task(status),
        Phase::Stopping => "stopping".into(),
        Phase::Finished => "finished".into(),
        Phase::Away => {
            let done = match status.runs.first() {
                Some(run) => run.finished,
                None => 0,
            };
            format!("{done} of {} rounds are done", status.rounds)
        }
    };
    if status.paused {
        format!("paused; {sentence}")
    } else {
        sentence
    }
}

/// The task of the last run that has one.
fn current_task(status: &Status) -> String {
    for run in status.runs.iter().rev() {
        let Some(task) = &run.task else { continue };
        let whose = if run.name == RunKind::Federation {
            String::new()
        } else {
            format!("{}: ", run.name)
        };
        let round = task.round;
        let rounds = status.rounds;
        let work = task.work.word();
        let since = duration((status.now - task.since).max(0.0));
        return format!("{whose}round {round} of {rounds}, {work} for {since}");
    }
    "between two tasks".to_string()
}

fn site_rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, site) in &status.sites {
        rows.push(site_row(status, name, site));
    }
    rows
}

fn site_row(status: &Status, name: &str, site: &SiteStatus) -> Vec<String> {
    let role = match site.role {
        Some(role) => role_in_settings(role),
        None => "-".into(),
    };
    let mut state = state_in_words(site, status.phase);
    if site.tunnelled && site.connected {
        state += " (by TLS)";
    }
    let speed = match site.slices_per_second {
        Some(speed) if site.state == SiteState::Training => format!("{speed:.0}"),
        _ => "-".into(),
    };
    let loss = match site.loss {
        Some(loss) => format!("{loss:.4}"),
        None => "-".into(),
    };
    let last_progress = match site.last_progress {
        Some(at) => format!("{} ago", duration((status.now - at).max(0.0))),
        None => "-".into(),
    };
    let mut sequences = match &site.sequences {
        Some(sequences) => sequences.join(" "),
        None => "-".into(),
    };
    if site.lesions == Some(0) {
        sequences += " (its labels hold no lesion: its Dice is meaningless)";
    }
    vec![
        name.to_owned(),
        role,
        state,
        speed,
        loss,
        last_progress,
        sequences,
    ]
}

fn role_in_settings(role: Role) -> String {
    match serde_json::to_value(role) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// `training 12 of 40`, `failed: why`.
fn state_in_words(site: &SiteStatus, phase: Phase) -> String {
    let word = site.state.word();
    match (site.state, &site.reason) {
        // No coordinator waits for it.
        (SiteState::Expected, _) if matches!(phase, Phase::Away | Phase::Finished) => "-".into(),
        (SiteState::Preparing | SiteState::Training | SiteState::Scoring, _) => {
            format!("{word} {} of {}", site.done, site.total)
        }
        (SiteState::Failed | SiteState::Left, Some(reason)) => format!("{word}: {reason}"),
        _ => word.into(),
    }
}

fn round_rows(run: &RunStatus) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for round in &run.rounds {
        let validation = match round.validation {
            Some(dice) if run.best_round == Some(round.round) => format!("{dice:.4} best"),
            Some(dice) => format!("{dice:.4}"),
            None => "-".into(),
        };
        let mut incomplete = Vec::new();
        for (site, why) in &round.missing {
            incomplete.push(format!("{site}: {why}"));
        }
        for (site, (done, asked)) in &round.partial {
            incomplete.push(format!("{site}: {done} of {asked} steps"));
        }
        rows.push(vec![
            round.round.to_string(),
            duration(round.seconds),
            bytes(round.bytes),
            validation,
            mean_loss(round),
            incomplete.join("; "),
        ]);
    }
    rows
}

fn mean_loss(round: &RoundStatus) -> String {
    if round.losses.is_empty() {
        return "-".into();
    }
    let sum: f64 = round.losses.values().map(|&loss| f64::from(loss)).sum();
    format!("{:.4}", sum / round.losses.len() as f64)
}

/// Adds a table whose columns are as wide as their longest cell.
fn add_table(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let mut widths = Vec::new();
    for (column, name) in head.iter().enumerate() {
        let mut width = name.chars().count();
        for row in rows {
            width = width.max(row[column].chars().count());
        }
        widths.push(width);
    }
    add_row(text, head, &widths);
    for row in rows {
        add_row(text, row, &widths);
    }
}

fn add_row(text: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&format!("  {:width$}", cell.as_ref()));
    }
    add(text, line.trim_end());
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
