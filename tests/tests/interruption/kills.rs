//! Programs that are killed again and again, at any moment: the federation ends with the same model
//! as an undisturbed one.

use journeys::program::{Program, done};
use journeys::settings::SiteFile;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: usize = 100;
/// Sites keep two things from round to round: what rounding lost, and their normalisation layers.
const SETTINGS: &str = "
rounds = 8
updates = 'int8'
training = { steps = 4, batch = 4 }
model = { preset = 'tiny', width = 4, norm = 'batch-local' }
sites = { expected = ['north', 'south', 'harbour'], minimum = 2 }";
const SITES: [&str; 3] = ["north", "south", "harbour"];
/// Longer than the federation takes once nothing disturbs it any more.
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
        let out = format!("data/{site}");
        let size = ["--cases", "2", "--slices", "8", "--plane", "32"];
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
    /// Starts the programs. `settings` are the rounds, and the tables that differ between tests.
    pub(crate) fn start(prepared: &Path, name: &str, settings: &str) -> Self {
        let folder = prepared.join(name);
        std::fs::create_dir(&folder).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let settings = format!(
            "\
name = 'kills'
seed = 3
{settings}
[input]
sequences = ['bravo', 't1_pre', 't1_post', 'flair']
slices = 1
plane = 32
[evaluation]
validation_share = 0.5
[serve]
listen = '{address}'
certificates = '../pki/coordinator'
run_folder = 'run'
keep_updates = true
"
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
            let file = SiteFile {
                coordinator: &address.to_string(),
                certificates: &format!("../pki/{site}"),
                role,
                work_folder: &format!("work-{site}"),
                data: &data,
            };
            std::fs::write(folder.join(format!("{site}.toml")), file.toml()).unwrap();
        }
        let mut programs = vec![("coordinator", None)];
        for site in SITES {
            programs.push((site, None));
        }
        let mut federation = Self { folder, programs };
        for index in 0..federation.programs.len() {
            federation.restart(index);
        }
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
