//! A simulation that is stopped in the middle of a training leaves no process behind, and its exit
//! code tells the signal. Continued, it ends with the same model as an undisturbed one.

use journeys::program::{Program, processes};
use journeys::settings::{SimulatedSite, Simulation};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

fn settings() -> String {
    let simulation = Simulation {
        name: "interruption",
        seed: 5,
        rounds: 3,
        slices: 1,
        steps: 20,
        validation_share: 0.5,
        sites: &[
            SimulatedSite::training("north", 2).lacking(&["bravo"]),
            SimulatedSite::training("south", 2),
            SimulatedSite::evaluating("harbour", 1),
        ],
    };
    simulation.toml()
}

/// The models that an undisturbed run ends with, by file.
static UNDISTURBED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let run = Run::new();
    let mut simulation = run.start();
    assert!(simulation.end().success(), "{}", simulation.words());
    run.models()
});

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("interruption.toml"), settings()).unwrap();
        Self { folder }
    }

    /// The run folder, as command lines name it.
    fn out(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("run")
    }

    fn start(&self) -> Program {
        let out = self.out();
        let arguments = [
            "simulate",
            "interruption.toml",
            "--out",
            out.to_str().unwrap(),
        ];
        Program::start(
            "coordinator",
            &arguments,
            self.folder.path(),
            "coordinator.log",
        )
    }

    /// What a site's agent said so far.
    fn site(&self, name: &str) -> String {
        std::fs::read_to_string(self.out().join("sites").join(name).join("agent.log"))
            .unwrap_or_default()
    }

    fn is_finished(&self, round: u32) -> bool {
        self.out()
            .join(format!("federation/round-{round:04}/global.f32"))
            .exists()
    }

    /// The last round's model, and the best and the last one as they are handed out.
    fn models(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.out().join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let last = self.out().join("federation/round-0003/global.f32");
        let named = |path: PathBuf| {
            let content = std::fs::read(&path).unwrap();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                content,
            )
        };
        files.chain([last]).map(named).collect()
    }

    /// Starts a simulation and sends it a signal in its second round's training; gives how it
    /// ended.
    fn interrupt(&self, signal: &str) -> Program {
        let mut simulation = self.start();
        simulation.until("the second training", |_| {
            let words = self.site("north");
            // Each training says that it begins, then a line for every tenth of its way.
            words
                .match_indices("training run=0 round=2")
                .any(|(at, _)| words[at..].contains(" training steps"))
        });
        let agents = processes(&self.out())
            .into_iter()
            .filter(|line| line.contains("site-agent run"))
            .count();
        assert_eq!(agents, 3, "the federation is at work");
        simulation.signal(signal);
        simulation.end();
        // A killed process is gone only when the kernel has cleared it away.
        simulation.until("the end of every child", |_| {
            processes(&self.out()).is_empty()
        });
        simulation
    }
}

fn interrupted_federation_goes_on(name: &str, code: i32) {
    let run = Run::new();
    let mut stopped = run.interrupt(name);
    let words = stopped.words();
    assert_eq!(stopped.end().code(), Some(code), "{words}");
    assert!(words.contains("goes on where it stopped"), "{words}");
    assert!(
        run.is_finished(1) && !run.is_finished(2),
        "it was stopped in the second round"
    );

    let mut resumed = run.start();
    let end = resumed.end();
    let words = resumed.words();
    assert!(end.success(), "{words}");
    assert!(
        words.contains("federation: round 2 of 3") && !words.contains("federation: round 1 of 3"),
        "{words}"
    );
    let (models, undisturbed) = (run.models(), &*UNDISTURBED);
    assert!(
        models.len() >= 3 && models.keys().eq(undisturbed.keys()),
        "{:?}",
        models.keys()
    );
    for (name, model) in models {
        assert!(
            model == undisturbed[&name],
            "{name} differs from the undisturbed run's"
        );
    }
}

#[test]
fn ctrl_c_ends_every_site_and_the_federation_goes_on_to_the_same_model() {
    interrupted_federation_goes_on("INT", 130);
}

#[test]
fn sigterm_ends_every_site_and_the_federation_goes_on_to_the_same_model() {
    interrupted_federation_goes_on("TERM", 143);
}
