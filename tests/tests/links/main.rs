//! Federations over bad lines: the real binaries in two network namespaces, and between them a line
//! that loses packets, is slow, or is down for a while. Each ends with the same model as over a
//! good line.
//!
//! Needs root, `ip`, `tc` and a kernel with netem. Otherwise the tests print that they checked
//! nothing. `machine.sh` next to this file runs them in a virtual machine, which needs neither root
//! nor netem.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

mod federation;
mod wire;

use federation::Federation;
use std::time::Duration;

/// A federation over a line that netem shapes from the start; `None` if there can be no line.
fn federation(name: &str, words: &str) -> Option<Federation> {
    let mut federation = Federation::prepare(name)?;
    federation.wire.shape(words);
    federation.start();
    Some(federation)
}

#[test]
fn five_percent_loss() {
    let Some(mut federation) = federation("loss", "loss 5% delay 10ms limit 10000") else {
        return;
    };
    federation.ends_with_the_same_model();
}

#[test]
fn two_hundred_milliseconds_of_delay() {
    let Some(mut federation) = federation("delay", "delay 200ms limit 10000") else {
        return;
    };
    federation.ends_with_the_same_model();
}

/// With room for about a second of packets before the narrow place.
#[test]
fn four_megabits_a_second() {
    let Some(mut federation) = federation("rate", "rate 4mbit delay 20ms limit 350") else {
        return;
    };
    federation.ends_with_the_same_model();
}

/// So slow that a transfer takes long enough to be met; with room for a second of packets again.
const SLOW: &str = "rate 8mbit delay 10ms limit 700";

#[test]
fn a_blackout_of_a_minute() {
    let Some(mut federation) = federation("blackout", SLOW) else {
        return;
    };
    federation.until_a_transfer_of_the_second_round();
    federation.wire.shape(&format!("{SLOW} loss 100%"));
    std::thread::sleep(Duration::from_secs(60));
    federation.wire.shape(SLOW);
    federation.ends_with_the_same_model();
    let words = federation.coordinator().words();
    assert!(
        words.contains("north left: nothing was heard for 30 seconds"),
        "{words}"
    );
}

/// A site that gets another address keeps its connection: QUIC knows it by a number.
#[test]
fn another_address_in_the_middle_of_a_transfer() {
    let Some(mut federation) = federation("address", SLOW) else {
        return;
    };
    federation.until_a_transfer_of_the_second_round();
    federation.wire.readdress("10.9.0.77/24");
    assert!(
        federation.transfers(),
        "the transfer was over before the address changed\n{}",
        federation.words()
    );
    federation.ends_with_the_same_model();
    let words = federation.coordinator().words();
    let connected = words
        .lines()
        .filter(|line| line.contains(" connected"))
        .count();
    assert_eq!(
        connected,
        2,
        "a connection was lost\n{words}\n{}",
        federation.words()
    );
}

/// The sites go through TLS by themselves, and say so.
#[test]
fn no_udp_at_all() {
    let Some(mut federation) = Federation::prepare("udp") else {
        return;
    };
    federation.wire.shape("delay 10ms limit 10000");
    federation.wire.drop_udp();
    federation.start();
    federation.ends_with_the_same_model();
    let words = federation.words();
    assert_eq!(
        words.matches("UDP seems to be blocked").count(),
        2,
        "{words}"
    );
}
