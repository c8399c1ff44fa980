//! Programs that are killed without a word, again and again, at any moment: the federation ends
//! with the very model of an undisturbed one.

use journeys::program::{Program, done};
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: usize = 100;
/// What a site keeps from round to round is in play: what rounding lost, and layers of its own.
const SETTINGS: &str = "rounds = 8\nupdates = 'int8'\ntraining = { steps = 4, batch = 4 }\n\
    model = { preset = 'tiny', width = 4, norm = 'batch-local' }\n\
    sites = { expected = ['north', 'south', 'harbour'], minimum = 2 }";
const SITES: [&str; 3] = ["north", "south", "harbour"];
/// Longer than a federation takes that is no longer disturbed.
const LONG: Duration = Duration::from_secs(300);

/// Certificates and phantoms, used by every federation of the test.
pub(crate) fn prepare(folder: &Path) {
    let names = [
        "--coordinator-name",
        "127.0.0.1",
        "--sites",
        "north,south,harbour",
    ];
    done(
        "coordinator",
        &[&["init", "--out", "pki"], &names[..]].concat(),
        folder,
    );
    for site in SITES {
        let (out, size) = (
            format!("data/{site}"),
            ["--cases", "2", "--slices", "8", "--plane", "32"],
        );
        done(
            "site-agent",
            &[&["phantom", "--out", &out, "--site", site], &size[..]].concat(),
            folder,
        );
    }
}

/// One federation in its own folder below the prepared one.
pub(crate) struct Federation {
    pub(crate) folder: std::path::PathBuf,
    programs: Vec<(&'static str, Option<Program>)>,
}

impl Federation {
    /// Starts the programs; `settings` are rounds, and tables beside those that all tests share.
    pub(crate) fn start(prepared: &Path, name: &str, settings: &str) -> Self {
        let folder = prepared.join(name);
        std::fs::create_dir(&folder).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let settings = format!(
            "name = 'kills'\nseed = 3\n{settings}\n\
             [input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\nslices = 1\nplane = 32\n\
             [evaluation]\nvalidation_share = 0.5\n\
             [serve]\nlisten = '{address}'\ncertificates = '../pki/coordinator'\nrun_folder = 'run'\nkeep_updates = true\n"
        );
        std::fs::write(folder.join("coordinator.toml"), settings).unwrap();
        for site in SITES {
            let role = if site == "harbour" {
                "evaluate"
            } else {
                "train"
            };
            let data = std::fs::read_to_string(prepared.join("data").join(site).join("data.toml"))
                .unwrap();
            let text = format!(
                "coordinator = '{address}'\ncertificates = '../pki/{site}'\nrole = '{role}'\nwork_folder = 'work-{site}'\n\
                 threads = 1\n{data}"
            );
            std::fs::write(folder.join(format!("{site}.toml")), text).unwrap();
        }
        let programs = ["coordinator"]
            .into_iter()
            .chain(SITES)
            .map(|name| (name, None))
            .collect();
        let mut federation = Self { folder, programs };
        (0..federation.programs.len()).for_each(|index| federation.restart(index));
        federation
    }

    /// Kills a program, if it runs, and starts it again.
    pub(crate) fn restart(&mut self, index: usize) {
        let (name, program) = &mut self.programs[index];
        // Dropped first: it holds the port and the run folder.
        drop(program.take());
        let (log, config) = (format!("{name}.log"), format!("{name}.toml"));
        let (binary, command) = if *name == "coordinator" {
            ("coordinator", "serve")
        } else {
            ("site-agent", "run")
        };
        *program = Some(Program::start(
            binary,
            &[command, "--config", &config],
            &self.folder,
            &log,
        ));
    }

    pub(crate) fn is_over(&self) -> bool {
        self.folder.join("run/outcome.json").exists()
    }

    pub(crate) fn words(&self) -> String {
        let words = |(name, program): &(&str, Option<Program>)| {
            format!(
                "== {name}\n{}",
                program.as_ref().map(Program::words).unwrap_or_default()
            )
        };
        self.programs.iter().map(words).collect()
    }

    /// Waits until it is so far.
    pub(crate) fn until(&self, so_far: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !so_far(self) {
            assert!(
                began.elapsed() < LONG,
                "the federation does not end\n{}",
                self.words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last round's model, once the federation is over.
    fn model(&mut self) -> Vec<u8> {
        self.until(Self::is_over);
        std::fs::read(self.folder.join("run/federation/round-0008/global.f32")).unwrap()
    }
}

/// Numbers that look random and are the same each time.
fn draws() -> impl FnMut(u64) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn a_hundred_kills_change_nothing_about_the_model() {
    let prepared = tempfile::tempdir().unwrap();
    prepare(prepared.path());
    let undisturbed = Federation::start(prepared.path(), "undisturbed", SETTINGS).model();
    let (mut draw, mut kills) = (draws(), 0);
    for number in 1.. {
        let mut federation =
            Federation::start(prepared.path(), &format!("killed-{number}"), SETTINGS);
        while kills < KILLS && !federation.is_over() {
            std::thread::sleep(Duration::from_millis(50 + draw(700)));
            let victim = usize::try_from(draw(4)).unwrap();
            federation.restart(victim);
            kills += 1;
        }
        assert!(
            federation.model() == undisturbed,
            "killed-{number} made another model after {kills} kills"
        );
        if kills >= KILLS {
            break;
        }
    }
}
