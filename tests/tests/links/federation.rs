//! A coordinator at one end of a line and two sites, which really train, at the other.

use crate::wire::Wire;
use journeys::binary;
use journeys::program::{Program, done};
use journeys::settings::SiteFile;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const SITES: [&str; 2] = ["north", "south"];
/// Longer than the worst line needs.
const LONG: Duration = Duration::from_secs(360);

/// Certificates and phantoms, for every federation.
static PREPARED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let names = ["--coordinator-name", "10.9.0.1", "--sites", "north,south"];
    done(
        "coordinator",
        &[&["init", "--out", "pki"], &names[..]].concat(),
        folder.path(),
    );
    for site in SITES {
        let out = format!("data/{site}");
        let size = ["--cases", "2", "--slices", "8", "--plane", "32"];
        done(
            "site-agent",
            &[&["phantom", "--out", &out, "--site", site], &size[..]].concat(),
            folder.path(),
        );
    }
    folder
});

/// The last round's model over a good line.
static UNDISTURBED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut federation = Federation::prepare("good").unwrap();
    federation.start();
    federation.model()
});

pub(crate) struct Federation {
    // Dropped first: the namespaces outlive their programs.
    programs: Vec<Program>,
    pub(crate) wire: Wire,
    folder: tempfile::TempDir,
}

impl Federation {
    /// Settings and an open line; no program runs yet.
    pub(crate) fn prepare(name: &str) -> Option<Self> {
        let wire = Wire::open(name)?;
        let folder = tempfile::tempdir().unwrap();
        let prepared = PREPARED.path();
        let pki = prepared.join("pki").display().to_string();
        let settings = format!(
            "\
name = 'links'
seed = 3
rounds = 2
[input]
sequences = ['bravo', 't1_pre', 't1_post', 'flair']
slices = 1
plane = 32
[model]
preset = 'tiny'
width = 8
[training]
steps = 4
batch = 4
[evaluation]
validation_share = 0.5
subsets = false
[sites]
expected = {SITES:?}
minimum = 2
[serve]
listen = '10.9.0.1:4433'
certificates = '{pki}/coordinator'
run_folder = 'run'
status = 'off'
fallback = '10.9.0.1:443'
"
        );
        std::fs::write(folder.path().join("coordinator.toml"), settings).unwrap();
        for site in SITES {
            let data = std::fs::read_to_string(prepared.join("data").join(site).join("data.toml"))
                .unwrap();
            let file = SiteFile {
                coordinator: "10.9.0.1:4433",
                certificates: &format!("{pki}/{site}"),
                role: "train",
                work_folder: &format!("work-{site}"),
                data: &data,
            };
            std::fs::write(folder.path().join(format!("{site}.toml")), file.toml()).unwrap();
        }
        Some(Self {
            programs: Vec::new(),
            wire,
            folder,
        })
    }

    pub(crate) fn start(&mut self) {
        let folder = self.folder.path();
        let run = |end, name: &str, arguments: [&str; 3], log| {
            let mut command = self.wire.command(end, &binary(name));
            command.args(arguments);
            Program::launch(command, folder, log)
        };
        let sites = SITES.map(|site| (format!("{site}.toml"), format!("{site}.log")));
        let mut programs = vec![run(
            0,
            "coordinator",
            ["serve", "--config", "coordinator.toml"],
            "coordinator.log",
        )];
        programs.extend(
            sites
                .iter()
                .map(|(config, log)| run(1, "site-agent", ["run", "--config", config], log)),
        );
        self.programs = programs;
    }

    pub(crate) fn coordinator(&self) -> &Program {
        &self.programs[0]
    }

    /// Waits until a site has a part of the second round's model, and not all of it.
    pub(crate) fn until_a_transfer_of_the_second_round(&self) {
        self.coordinator()
            .until("a transfer of the second round", |words| {
                words.contains("round 2 of 2") && self.transfers()
            });
    }

    /// Whether a site has received a part of a model: it is in a file that ends in
    /// `part`.
    pub(crate) fn transfers(&self) -> bool {
        let complete = std::fs::metadata(self.path("run/federation/round-0001/global.f32"))
            .map_or(0, |file| file.len());
        let folders =
            SITES.map(|site| std::fs::read_dir(self.path(&format!("work-{site}/incoming"))));
        folders
            .into_iter()
            .flatten()
            .flatten()
            .flatten()
            .any(|entry| {
                let part = entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "part");
                part && entry
                    .metadata()
                    .is_ok_and(|file| 0 < file.len() && file.len() < complete)
            })
    }

    /// The output of all programs.
    pub(crate) fn words(&self) -> String {
        self.programs
            .iter()
            .map(Program::words)
            .collect::<Vec<_>>()
            .join("\n== ")
    }

    /// The last round's model, once all is over.
    fn model(&mut self) -> Vec<u8> {
        let began = Instant::now();
        let over = loop {
            if let Some(end) = self.programs[0].ended() {
                break end;
            }
            assert!(began.elapsed() < LONG, "it does not end\n{}", self.words());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(over.success(), "{}", self.words());
        std::fs::read(self.path("run/federation/round-0002/global.f32")).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    pub(crate) fn ends_with_the_same_model(&mut self) {
        assert!(
            self.model() == *UNDISTURBED,
            "another model\n{}",
            self.words()
        );
    }
}
