//! Federations over bad lines: the real binaries in two network namespaces, and between them a line that loses packets, is
//! slow, or is gone for a while. Each ends with the very model that a good line gives.
//!
//! Needs root, `ip`, `/dev/net/tun` and python3; where one of them is missing the tests say that they check nothing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a journey that cannot go on has failed")]

mod federation;
mod wire;

use federation::Federation;
use std::time::Duration;

/// A federation over a line, from its start; `None` where there can be no line.
fn federation(name: &str, seed: u32, commands: &[&str]) -> Option<Federation> {
    let mut federation = Federation::prepare(name, seed)?;
    commands.iter().for_each(|command| federation.wire.tell(command));
    federation.start();
    Some(federation)
}

#[test]
fn five_percent_loss() {
    let Some(mut federation) = federation("loss", 5, &["loss 5", "delay 10"]) else { return };
    federation.ends_with_the_same_model();
}

#[test]
fn two_hundred_milliseconds_of_delay() {
    let Some(mut federation) = federation("delay", 6, &["delay 200"]) else { return };
    federation.ends_with_the_same_model();
}

#[test]
fn four_megabits_a_second() {
    let Some(mut federation) = federation("rate", 7, &["rate 4", "delay 20"]) else { return };
    federation.ends_with_the_same_model();
}

#[test]
fn a_blackout_of_a_minute() {
    let Some(mut federation) = federation("blackout", 8, &["rate 8", "delay 10"]) else { return };
    federation.coordinator().until("a transfer of the second round", |words| words.contains("round 2 of 2"));
    std::thread::sleep(Duration::from_millis(300));
    federation.wire.tell("down");
    std::thread::sleep(Duration::from_secs(60));
    federation.wire.tell("up");
    federation.ends_with_the_same_model();
    let words = federation.coordinator().words();
    assert!(words.contains("north left: nothing was heard for 30 seconds"), "{words}");
}

/// A site that gets another address keeps its connection: QUIC knows it by a number.
#[test]
fn another_address_in_the_middle_of_a_round() {
    let Some(mut federation) = federation("address", 9, &["rate 8", "delay 10"]) else { return };
    federation.coordinator().until("a transfer of the second round", |words| words.contains("round 2 of 2"));
    std::thread::sleep(Duration::from_millis(300));
    federation.wire.readdress("10.9.0.2/24", "10.9.0.77/24");
    federation.ends_with_the_same_model();
    let words = federation.coordinator().words();
    let connected = [" connected", " left"].map(|word| words.lines().filter(|line| line.contains(word)).count());
    assert_eq!(connected[0], 2, "a connection was lost\n{words}\n{}", federation.words());
}

/// The sites go through TLS by themselves, and say so.
#[test]
fn no_udp_at_all() {
    let Some(mut federation) = federation("udp", 10, &["drop udp", "delay 10"]) else { return };
    federation.ends_with_the_same_model();
    let words = federation.words();
    assert_eq!(words.matches("UDP seems to be blocked").count(), 2, "{words}");
}
