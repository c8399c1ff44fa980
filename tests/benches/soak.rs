//! Whether memory stays constant: over many rounds at both ends, and at the coordinator with many
//! sites.
//!
//! ```sh
//! cargo build --release
//! # 2400 rounds of a tiny network: two real sites that train, two simulated ones
//! cargo bench --bench soak -- rounds
//! # one round of 100 simulated sites with the preset `paper`; 34 GB of disk at its peak
//! cargo bench --bench soak -- sites
//! ```

#![allow(clippy::unwrap_used, clippy::panic)]

use journeys::binary;
use journeys::program::Program;
use journeys::simulated::{Answer, Setup, Sites};
use journeys::trained;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2400;
/// Rounds before memory is looked at: caches fill up, and the allocator meets whatever may be at
/// work at the same time.
const WARM_UP: usize = 400;
/// Rounds of which the least that was held counts: what a task at work holds comes and goes.
const SPAN: usize = 20;
/// The most that memory may grow by in so many rounds, as a share of itself.
const LONG: f64 = 200.0;
const MOST: f64 = 0.01;
const SITES: usize = 100;
const SERVE: [&str; 3] = ["serve", "--config", "coordinator.toml"];

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    match wanted.as_deref() {
        Some("rounds") => rounds(),
        Some("sites") => sites(),
        _ => println!("say `rounds` or `sites`"),
    }
}

/// Memory of the programs' own, without what is mapped of their files. The allocator has one arena,
/// which the programs inherit: with one for each thread, pieces that stay behind in them come and
/// go by megabytes, and hide a leak of as much.
fn rounds() {
    let folder = tempfile::tempdir().unwrap();
    let setup = trained::prepare(folder.path(), 4, ROUNDS as u32);
    trained::draw_patients(folder.path());
    let (real, simulated) = setup.names.split_at(2);
    let start = |name: &str, arguments: &[&str], log: &str| {
        let mut command = Command::new(binary(name));
        command.args(arguments).env("MALLOC_ARENA_MAX", "1");
        Program::launch(command, folder.path(), log)
    };
    let mut coordinator = start("coordinator", &SERVE, "coordinator.log");
    setup.until_heard(&mut coordinator);
    let site = |name: &String| {
        trained::write_site(&setup, name, folder.path());
        let config = format!("{name}.toml");
        start(
            "site-agent",
            &["run", "--config", &config],
            &format!("{name}.log"),
        )
    };
    let agents: Vec<Program> = real.iter().map(site).collect();
    let others = Setup {
        names: simulated.to_vec(),
        ..setup.clone()
    };
    let answering = Sites::start(&others, Answer::Shifted, 1);
    let mut curves = vec![Vec::new(); 1 + agents.len()];
    let mut finished = 0;
    while coordinator.ended().is_none() {
        finished = coordinator.words().matches(" finished: ").count();
        for (curve, program) in curves
            .iter_mut()
            .zip([&coordinator].into_iter().chain(&agents))
        {
            curve.extend(program.memory("RssAnon").map(|bytes| (finished, bytes)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        finished >= ROUNDS,
        "{finished} rounds\n{}",
        coordinator.words()
    );
    answering.end();
    let names = ["coordinator".to_owned()]
        .into_iter()
        .chain(real.iter().cloned());
    let grown: Vec<f64> = names
        .zip(&curves)
        .map(|(name, curve)| growth(&name, curve))
        .collect();
    assert!(grown.iter().all(|share| *share < MOST), "memory grows");
}

/// By what share memory grows in 200 rounds after the warm-up: along the median of the slopes
/// between any two spans (Theil and Sen's line), which a single step does not move, as an allocator
/// makes it whose free pieces once did not fit.
fn growth(name: &str, curve: &[(usize, u64)]) -> f64 {
    let least = |span: usize| {
        let during =
            |round: usize| (WARM_UP..ROUNDS).contains(&round) && (round - WARM_UP) / SPAN == span;
        let held = curve
            .iter()
            .filter(|(round, _)| during(*round))
            .map(|(_, bytes)| *bytes)
            .min();
        held.unwrap() as f64
    };
    let held: Vec<f64> = (0..(ROUNDS - WARM_UP) / SPAN).map(least).collect();
    let pairs = (0..held.len()).flat_map(|late| (0..late).map(move |early| (early, late)));
    let mut slopes: Vec<f64> = pairs
        .map(|(early, late)| (held[late] - held[early]) / ((late - early) * SPAN) as f64)
        .collect();
    slopes.sort_by(f64::total_cmp);
    let (first, last) = (held[0], held[held.len() - 1]);
    let share = slopes[slopes.len() / 2] * LONG / first;
    println!(
        "{name:<12} {:.2} MB after round {WARM_UP}, {:.2} MB after round {ROUNDS}, {:+.2} % in \
         {LONG} rounds",
        first / 1e6,
        last / 1e6,
        100.0 * share
    );
    share
}

fn sites() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::prepare(folder.path(), SITES, 1, "preset = 'paper'");
    let mut coordinator = Program::start("coordinator", &SERVE, folder.path(), "coordinator.log");
    setup.until_heard(&mut coordinator);
    let answering = Sites::start(&setup, Answer::Prepared, 0);
    let began = Instant::now();
    let mut peak = 0;
    let end = loop {
        peak = peak.max(coordinator.memory("VmHWM").unwrap_or(0));
        if let Some(end) = coordinator.ended() {
            break end;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(end.success(), "{}", coordinator.words());
    answering.end();
    let model = setup.model(1).metadata().unwrap().len();
    let seconds = began.elapsed().as_secs_f64();
    let models = peak as f64 / model as f64;
    println!(
        "{SITES} sites x {:.0} MB: {seconds:.0} s, peak {:.0} MB, {models:.2} models",
        model as f64 / 1e6,
        peak as f64 / 1e6
    );
    assert!(models < 3.0, "more than three models");
}
