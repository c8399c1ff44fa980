//! The coordinator, with sites that answer at once.

use super::fault::{Fault, How, at_each_step};
use journeys::program::Program;
use journeys::simulated::{Answer, Setup, Sites};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 2;
pub(crate) const SERVE: [&str; 3] = ["serve", "--config", "coordinator.toml"];

/// The last round's model of an undisturbed run.
static UNDISTURBED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path(), ROUNDS);
    let mut coordinator = Program::start("coordinator", &SERVE, folder.path(), "coordinator.log");
    let sites = Sites::start(&setup, Answer::Shifted, 1);
    assert!(coordinator.end().success(), "{}", coordinator.words());
    sites.end();
    model(&setup)
});

pub(crate) fn setup(folder: &Path, rounds: u32) -> Setup {
    Setup::prepare(folder, 2, rounds, "preset = 'tiny'\nwidth = 4")
}

fn model(setup: &Setup) -> Vec<u8> {
    std::fs::read(setup.model(ROUNDS)).unwrap()
}

/// A run that is disturbed once and then goes on; gives how its first program ended, what it said
/// and the step. `None` when it came through undisturbed.
fn disturbed(fault: Fault) -> Option<(ExitStatus, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let setup = setup(folder, ROUNDS);
    let mut first = fault.start("coordinator", &SERVE, folder, "run");
    setup.until_heard(&mut first);
    let sites = Sites::start(&setup, Answer::Shifted, 1);
    let (end, words) = (first.end(), first.words());
    let Some(step) = fault.step(folder) else {
        assert!(end.success(), "{words}");
        return None;
    };
    let mut second = Program::start("coordinator", &SERVE, folder, "coordinator.log");
    setup.until_heard(&mut second);
    sites.connect_again();
    assert!(
        ends(&mut second).success(),
        "after {step}:\n{words}\n{}",
        second.words()
    );
    assert!(model(&setup) == *UNDISTURBED, "{step} made another model");
    Some((end, words, step))
}

/// Waits, but not for ever.
pub(crate) fn ends(program: &mut Program) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(end) = program.ended() {
            return end;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not end\n{}",
            program.words()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_at_any_step_of_its_disk_it_ends_with_the_same_model() {
    let points = at_each_step(How::Kill, |fault| {
        let Some((end, words, step)) = disturbed(fault) else {
            return false;
        };
        assert!(
            !end.success() && end.code().is_none(),
            "{step}: {end}\n{words}"
        );
        true
    });
    println!("killed at {points} steps");
    assert!(points > 150, "only {points} steps were found");
}

/// Every failure of the disk ends the coordinator with its sentence, and costs nothing that was
/// finished.
fn fails(how: How, least: usize) {
    let points = at_each_step(how, |fault| {
        let Some((end, words, step)) = disturbed(fault) else {
            return false;
        };
        assert_eq!(end.code(), Some(6), "{step}\n{words}");
        let sentence = words
            .lines()
            .find(|line| line.starts_with("error: "))
            .unwrap_or_default();
        assert!(
            sentence.contains(" run") && sentence.contains(how.words()),
            "{step}: {sentence}"
        );
        true
    });
    println!("{how:?} at {points} steps");
    assert!(points > least, "only {points} steps were found");
}

#[test]
fn a_full_disk_ends_it_with_a_plain_sentence_and_costs_nothing() {
    fails(How::Full, 20);
}

#[test]
fn a_disk_that_does_not_write_ends_it_with_a_plain_sentence_and_costs_nothing() {
    fails(How::Broken, 40);
}

#[test]
fn a_disk_that_turns_read_only_ends_it_with_a_plain_sentence_and_costs_nothing() {
    fails(How::ReadOnly, 20);
}
