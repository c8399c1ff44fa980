//! A real site-agent with a tiny network, and the coordinator that waits for it.

use super::coordinator::ends;
use super::fault::{Fault, How, at_each_step};
use journeys::program::Program;
use journeys::simulated::Setup;
use journeys::trained;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::LazyLock;

const ROUNDS: u32 = 2;
const SITE: &str = "site-001";
const RUN: [&str; 3] = ["run", "--config", "site-001.toml"];
const SERVE: [&str; 3] = ["serve", "--config", "coordinator.toml"];

/// Patients for every federation.
static DATA: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    trained::draw_patients(folder.path());
    folder
});

/// The last round's model of an undisturbed federation.
static UNDISTURBED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let federation = Federation::new();
    let mut coordinator = federation.serve();
    let mut site = Program::start("site-agent", &RUN, federation.folder.path(), "site.log");
    assert!(
        ends(&mut coordinator).success(),
        "{}\n{}",
        coordinator.words(),
        site.words()
    );
    assert!(ends(&mut site).success(), "{}", site.words());
    federation.model()
});

struct Federation {
    folder: tempfile::TempDir,
    setup: Setup,
}

impl Federation {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = trained::prepare(folder.path(), 1, ROUNDS);
        trained::write_site(&setup, SITE, DATA.path());
        Self { folder, setup }
    }

    fn serve(&self) -> Program {
        let mut coordinator =
            Program::start("coordinator", &SERVE, self.folder.path(), "coordinator.log");
        self.setup.until_heard(&mut coordinator);
        coordinator
    }

    fn model(&self) -> Vec<u8> {
        std::fs::read(self.setup.model(ROUNDS)).unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A federation whose site is disturbed once. What ends of it is started again undisturbed; gives
/// how the site ended, what it said and the step. `None` when it came through undisturbed.
fn disturbed(fault: Fault) -> Option<(Option<ExitStatus>, String, String)> {
    let federation = Federation::new();
    let mut coordinator = federation.serve();
    let mut first = fault.start("site-agent", &RUN, federation.path(), "work-site-001");
    let mut end = None;
    loop {
        end = end.or(first.ended()).filter(|end| !end.success());
        let over = coordinator.ended();
        let said = || format!("{}\n{}", first.words(), coordinator.words());
        if over.is_some_and(|over| over.success()) {
            break;
        } else if over.is_some() || end.is_some() {
            let step = fault
                .step(federation.path())
                .unwrap_or_else(|| panic!("{}", said()));
            let words = first.words();
            drop(first);
            if over.is_some() {
                coordinator = federation.serve();
            }
            let _second = Program::start("site-agent", &RUN, federation.path(), "again.log");
            assert!(
                ends(&mut coordinator).success(),
                "{step}\n{words}\n{}",
                coordinator.words()
            );
            assert!(
                federation.model() == *UNDISTURBED,
                "{step} made another model\n{words}"
            );
            return Some((end, words, step));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ends(&mut first).success(), "{}", first.words());
    assert!(
        federation.model() == *UNDISTURBED,
        "another model\n{}",
        first.words()
    );
    fault
        .step(federation.path())
        .map(|step| (None, first.words(), step))
}

#[test]
fn a_site_killed_at_any_step_of_its_disk_ends_with_the_same_model() {
    let points = at_each_step(How::Kill, |fault| {
        let Some((end, words, step)) = disturbed(fault) else {
            return false;
        };
        assert!(
            end.is_some_and(|end| end.code().is_none()),
            "{step}: {end:?}\n{words}"
        );
        true
    });
    println!("killed at {points} steps");
    assert!(points > 50, "only {points} steps were found");
}

#[test]
fn a_site_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let points = at_each_step(How::Full, |fault| {
        let Some((end, words, step)) = disturbed(fault) else {
            return false;
        };
        // Without its model it ends; a training that cannot be kept failed; pictures and lists are
        // done without.
        assert!(
            end.is_none_or(|end| end.code() == Some(6)),
            "{step}: {end:?}\n{words}"
        );
        assert!(
            end.is_some() || !step.contains("/incoming/"),
            "{step}\n{words}"
        );
        assert!(words.contains(How::Full.words()), "{step}\n{words}");
        true
    });
    println!("full at {points} steps");
    assert!(points > 10, "only {points} steps were found");
}
