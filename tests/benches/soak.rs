//! Whether memory stays where it is: over many rounds at both ends, and at the coordinator with many sites.
//!
//! ```sh
//! cargo build --release
//! cargo bench --bench soak -- rounds   # 200 rounds of a tiny network: two real sites that train, two simulated ones
//! cargo bench --bench soak -- sites    # one round of 100 simulated sites with the preset `paper`; 34 GB of disk at its peak
//! ```

#![allow(clippy::unwrap_used, clippy::panic)]

use journeys::binary;
use journeys::program::Program;
use journeys::simulated::{Answer, Setup, Sites};
use journeys::trained;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
/// Rounds before memory is looked at: caches and the allocator fill up.
const WARM_UP: usize = 50;
const SITES: usize = 100;
const SERVE: [&str; 3] = ["serve", "--config", "coordinator.toml"];

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    match wanted.as_deref() {
        Some("rounds") => rounds(),
        Some("sites") => sites(),
        _ => println!("say `rounds` or `sites`"),
    }
}

/// Memory of the programs' own, without what is mapped of their files. One arena for the allocator, which the programs
/// inherit: with one for each thread, pieces that stay behind in them come and go by megabytes, and hide a leak of as much.
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
        start("site-agent", &["run", "--config", &config], &format!("{name}.log"))
    };
    let agents: Vec<Program> = real.iter().map(site).collect();
    let others = Setup { names: simulated.to_vec(), ..setup.clone() };
    let answering = Sites::start(&others, Answer::Shifted, 1);
    let mut curves = vec![Vec::new(); 1 + agents.len()];
    let mut seen = 0;
    while coordinator.ended().is_none() {
        let finished = coordinator.words().matches(" finished: ").count();
        if finished > seen {
            seen = finished;
            for (curve, program) in curves.iter_mut().zip([&coordinator].into_iter().chain(&agents)) {
                curve.extend(program.memory("RssAnon").map(|bytes| (finished as f64, bytes as f64)));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(seen >= ROUNDS, "{seen} rounds\n{}", coordinator.words());
    answering.end();
    let names = ["coordinator".to_owned()].into_iter().chain(real.iter().cloned());
    names.zip(&curves).for_each(|(name, curve)| growth(&name, curve));
}

/// Says by how much memory grows from the warm-up to the end, along the line of least squares through the least that was held
/// in every ten rounds: what a task at work holds comes and goes. The coordinator remembers its rounds, a few kilobytes each.
fn growth(name: &str, curve: &[(f64, f64)]) {
    let late: Vec<(f64, f64)> = curve.iter().copied().filter(|(round, _)| *round > WARM_UP as f64).collect();
    let least = |some: &[(f64, f64)]| some.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let late: Vec<(f64, f64)> = late.chunks(10).map(least).collect();
    let count = late.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| late.iter().map(of).sum::<f64>() / count;
    let (round, bytes) = (mean(|point| point.0), mean(|point| point.1));
    let slope = late.iter().map(|(x, y)| (x - round) * (y - bytes)).sum::<f64>()
        / late.iter().map(|(x, _)| (x - round).powi(2)).sum::<f64>();
    let (first, last) = (late[0].1 / 1e6, late[late.len() - 1].1 / 1e6);
    println!(
        "{name:<12} {:.1} MB after round {WARM_UP}, from {first:.1} to {last:.1} MB, {:+.1} kB a round, {:+.2} %",
        bytes / 1e6,
        slope / 1e3,
        100.0 * slope * (ROUNDS - WARM_UP) as f64 / bytes
    );
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
    let (whole, models) = (began.elapsed().as_secs_f64(), peak as f64 / model as f64);
    println!(
        "{SITES} sites x {:.0} MB: {whole:.0} s, peak {:.0} MB, {models:.2} models",
        model as f64 / 1e6,
        peak as f64 / 1e6
    );
    assert!(models < 3.0, "more than three models");
}
