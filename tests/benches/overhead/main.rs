//! The cost of a round without training: eight simulated sites, the preset `paper` (40 million
//! parameters, 159 MB), and the real coordinator in a process of its own. For comparison, the same
//! bytes by plain TCP with TLS, to eight receivers and back at once, file to file, with an fsync at
//! each end. Everything is on one machine, so the figures include the work of both ends. `cargo
//! build --release && cargo bench --bench overhead`

#![allow(clippy::unwrap_used, clippy::panic)]

mod copy;

use journeys::program::Program;
use journeys::simulated::{Answer, Setup, Sites};
use std::time::Instant;

const SITES: usize = 8;
const ROUNDS: u32 = 6;
const COPIES: usize = 3;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::prepare(folder.path(), SITES, ROUNDS, "preset = 'paper'");
    println!(
        "load {}",
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
    let federation = federation(&setup);
    let mut copies: Vec<f64> = (0..COPIES)
        .map(|_| copy::there_and_back(&setup, &setup.model(0)))
        .collect();
    let copy = median(&mut copies);
    println!("TCP+TLS copy     {copy:.2} s  {copies:.2?}");
    println!("ratio            {:.2}", federation / copy);
    println!(
        "load {}",
        std::fs::read_to_string("/proc/loadavg").unwrap().trim()
    );
}

/// Seconds for a round, the median.
fn federation(setup: &Setup) -> f64 {
    let wire = loopback();
    let serve = ["serve", "--config", "coordinator.toml"];
    let mut coordinator = Program::start("coordinator", &serve, &setup.folder, "coordinator.log");
    let began = Instant::now();
    let sites = Sites::start(setup, Answer::Prepared, 0);
    let mut peak = 0;
    let mut end = None;
    while end.is_none() {
        peak = peak.max(coordinator.memory("VmHWM").unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(10));
        end = coordinator.ended();
    }
    assert!(
        end.is_some_and(|end| end.success()),
        "{}",
        coordinator.words()
    );
    let total = began.elapsed().as_secs_f64();
    sites.end();
    let wire = loopback() - wire;
    let outcome = std::fs::read(setup.folder.join("run/outcome.json")).unwrap();
    let outcome: protocol::outcome::Outcome = serde_json::from_slice(&outcome).unwrap();
    let rounds = &outcome.runs[0].rounds;
    let mut seconds: Vec<f64> = rounds.iter().map(|round| round.seconds).collect();
    let bytes: u64 = rounds.iter().map(|round| round.bytes).sum();
    let (rounds, median) = (rounds.len() as f64, median(&mut seconds));
    println!("federation       {median:.2} s a round  {seconds:.2?}, {total:.1} s for all");
    println!("peak memory      {:.0} MB", peak as f64 / 1e6);
    println!(
        "bytes a round    {:.0} MB of parameters, {:.0} MB on loopback, where others may talk too",
        bytes as f64 / 1e6 / rounds,
        wire as f64 / 1e6 / rounds
    );
    median
}

/// Bytes received by the loopback device so far.
fn loopback() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    let line = devices
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
