//! Run folders that cannot be written, or in which a file was changed unnoticed.

use super::coordinator::{SERVE, ends, setup};
use super::fault::{Fault, How};
use journeys::program::Program;
use journeys::simulated::{Answer, Setup, Sites};
use std::path::{Path, PathBuf};

const ROUNDS: u32 = 4;

/// A run that was killed in its second round or later, with an update that was accepted in it.
struct Killed {
    folder: tempfile::TempDir,
    setup: Setup,
}

impl Killed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(folder.path(), ROUNDS);
        let mut coordinator = Program::start("coordinator", &SERVE, folder.path(), "killed.log");
        setup.until_heard(&mut coordinator);
        let _sites = Sites::start(&setup, Answer::Shifted, 1);
        coordinator.until("the third update", |words| {
            words.matches("update accepted").count() >= 3
        });
        drop(coordinator);
        assert!(
            !folder.path().join("run/outcome.json").exists(),
            "it was too quick"
        );
        Self { folder, setup }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    /// What the coordinator says that cannot go on.
    fn refused(&self, code: i32) -> String {
        let mut coordinator =
            Program::start("coordinator", &SERVE, self.folder.path(), "refused.log");
        assert_eq!(
            ends(&mut coordinator).code(),
            Some(code),
            "{}",
            coordinator.words()
        );
        coordinator.words()
    }

    /// Goes on to the end; gives what was said and the model.
    fn goes_on(&self) -> (String, Vec<u8>) {
        let mut coordinator = Program::start("coordinator", &SERVE, self.folder.path(), "on.log");
        self.setup.until_heard(&mut coordinator);
        let sites = Sites::start(&self.setup, Answer::Shifted, 1);
        assert!(ends(&mut coordinator).success(), "{}", coordinator.words());
        sites.end();
        (
            coordinator.words(),
            std::fs::read(self.setup.model(ROUNDS)).unwrap(),
        )
    }
}

/// Cuts a file short, or flips a bit in its middle. Returns the content before.
fn damage(path: &Path, cut: bool) -> Vec<u8> {
    let before = std::fs::read(path).unwrap();
    let mut damaged = before.clone();
    let middle = before.len() / 2;
    if cut {
        damaged.truncate(middle);
    } else {
        damaged[middle] ^= 1;
    }
    std::fs::write(path, damaged).unwrap();
    before
}

#[test]
fn damaged_facts_and_models_are_named_and_the_facts_before_go_on_to_the_same_model() {
    let (killed, (_, undisturbed)) = (Killed::new(), Killed::new().goes_on());
    // There may be a newer model that the facts do not name yet: it is made again, damaged or not.
    let facts: serde_json::Value =
        serde_json::from_slice(&std::fs::read(killed.path("state.json")).unwrap()).unwrap();
    let rounds = facts["snapshot"]["runs"][0]["finished"].as_u64().unwrap();
    let last = format!("federation/round-{rounds:04}/global.f32");
    let start = "federation/round-0000/global.f32";
    for (name, cut) in [
        ("state.json", false),
        (&last, false),
        ("settings.json", true),
        (start, true),
        (&last, true),
    ] {
        let before = damage(&killed.path(name), cut);
        let words = killed.refused(6);
        assert!(
            words.contains(&format!("run/{name} is damaged")),
            "{name}: {words}"
        );
        std::fs::write(killed.path(name), before).unwrap();
    }
    // It looks undamaged, but it is not the model that the settings begin with.
    let before = damage(&killed.path(start), false);
    let words = killed.refused(3);
    assert!(
        words.contains(&format!(
            "other weights (--start), or run/{start} is damaged"
        )),
        "{words}"
    );
    std::fs::write(killed.path(start), before).unwrap();
    damage(&killed.path("state.json"), true);
    let words = killed.refused(6);
    assert!(
        words.contains("state.previous.json, put in place of state.json"),
        "{words}"
    );
    std::fs::copy(
        killed.path("state.previous.json"),
        killed.path("state.json"),
    )
    .unwrap();
    assert!(
        killed.goes_on().1 == undisturbed,
        "the facts before made another model"
    );
}

#[test]
fn a_damaged_update_is_asked_for_again() {
    let (_, undisturbed) = Killed::new().goes_on();
    for cut in [false, true] {
        let asked_again = || {
            let killed = Killed::new();
            let rounds = (1..=ROUNDS)
                .map(|round| killed.path(&format!("federation/round-{round:04}/updates")));
            let updates = rounds
                .filter_map(|folder| std::fs::read_dir(folder).ok())
                .next_back()
                .unwrap();
            updates.for_each(|update| drop(damage(&update.unwrap().path(), cut)));
            let (words, model) = killed.goes_on();
            assert!(model == undisturbed, "another model\n{words}");
            words.contains("asked for again")
        };
        // Once in a while the kill comes when the round of these updates is averaged already.
        assert!(
            (0..10).any(|_| asked_again()),
            "no update was asked for again"
        );
    }
}

#[test]
fn a_run_folder_that_cannot_be_written_is_named_at_the_start() {
    let killed = Killed::new();
    let fault = Fault {
        how: How::Sealed,
        at: 1,
    };
    let mut coordinator = fault.start("coordinator", &SERVE, killed.folder.path(), "run");
    assert_eq!(
        ends(&mut coordinator).code(),
        Some(6),
        "{}",
        coordinator.words()
    );
    let words = coordinator.words();
    assert!(
        words.contains("error: cannot")
            && words.contains(" run/")
            && words.contains(fault.how.words()),
        "{words}"
    );
    killed.goes_on();
}
