//! Hospitals that join with one line, with the real binaries: from an empty folder to a trained
//! round, with tokens that must not work, a site that is revoked and a certificate that is renewed
//! in the middle of a run.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

use coordinator::certificates::Authority;
use journeys::binary;
use journeys::program::{Program, done};
use protocol::enrol::PublicKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use transport::certificates::{public_key, to_pem};

/// What every federation here has.
const SETTINGS: &str = "name = 'enrolment'\nseed = 3\n\
    model = { preset = 'tiny', width = 4 }\n\
    sites = { expected = ['north', 'south'], minimum = 2, patience_s = 60 }\n\
    [input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\nslices = 1\nplane = 32\n\
    [evaluation]\nvalidation_share = 0.5\n";

/// A federation's folder: the authority, images of two hospitals, and the coordinator's settings.
struct Stage {
    folder: tempfile::TempDir,
    address: String,
    tunnel: String,
}

/// Free ports of this machine.
fn ports() -> (String, String) {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    (
        udp.local_addr().unwrap().to_string(),
        tcp.local_addr().unwrap().to_string(),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both outputs of a program.
fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

impl Stage {
    /// `rounds` are the rounds and the training's settings.
    fn new(rounds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, tunnel) = ports();
        let init = ["init", "--out", "pki", "--coordinator-name", "127.0.0.1"];
        done("coordinator", &init, folder.path());
        for site in ["north", "south"] {
            let out = format!("images/{site}");
            let size = ["--cases", "2", "--slices", "8", "--plane", "32"];
            let phantom = ["phantom", "--out", &out, "--site", site];
            done(
                "site-agent",
                &[&phantom[..], &size[..]].concat(),
                folder.path(),
            );
        }
        let stage = Self {
            folder,
            address,
            tunnel,
        };
        let settings = format!(
            "{rounds}\n{SETTINGS}[serve]\nlisten = '{}'\nfallback = '{}'\n\
             certificates = 'pki/coordinator'\nrun_folder = 'run'\nkeep_updates = true\n\
             status = 'off'\n",
            stage.address, stage.tunnel
        );
        std::fs::write(stage.path("coordinator.toml"), settings).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn coordinator(&self, arguments: &[&str]) -> Output {
        Command::new(binary("coordinator"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn serve(&self, log: &str) -> Program {
        let arguments = ["serve", "--config", "coordinator.toml"];
        let program = Program::start("coordinator", &arguments, self.folder.path(), log);
        program.until("the coordinator", |words| words.contains("TLS over TCP"));
        program
    }

    /// A token for a site.
    fn invite(&self, site: &str, more: &[&str]) -> String {
        let arguments = [&["invite", site, "--config", "coordinator.toml"], more].concat();
        let output = self.coordinator(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        let token = text(&output.stdout).trim().to_owned();
        assert!(
            token.starts_with("lacuna1") && !token.contains('\n'),
            "{token}"
        );
        // A running coordinator looks at the record of members four times a second.
        std::thread::sleep(Duration::from_millis(600));
        token
    }

    /// Joins from an empty folder that holds nothing but the program.
    fn join(&self, hospital: &str, token: &str, images: &str) -> Output {
        let folder = self.path(hospital);
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("site-agent");
        if !program.exists() {
            std::fs::copy(binary("site-agent"), &program).unwrap();
        }
        Command::new(program)
            .args(["join", token, "--data"])
            .arg(self.path("images").join(images))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Joins with a token that no list of processes shows.
    fn join_by_input(&self, hospital: &str, token: &str, images: &str) -> Output {
        let folder = self.path(hospital);
        std::fs::create_dir_all(&folder).unwrap();
        let mut joining = Command::new(binary("site-agent"))
            .args(["join", "-", "--data"])
            .arg(self.path("images").join(images))
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // As a mail program wraps it.
        let (begin, end) = token.split_at(60);
        let mut input = joining.stdin.take().unwrap();
        write!(input, "{begin}\n  {end}\n").unwrap();
        drop(input);
        joining.wait_with_output().unwrap()
    }

    /// Joins in the folder of a site that has joined before.
    fn join_again(&self, hospital: &str, token: &str) -> Output {
        Command::new(binary("site-agent"))
            .args(["join", token])
            .current_dir(self.path(hospital))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn run(&self, hospital: &str) -> Program {
        let arguments = ["run", "--config", "site.toml"];
        Program::start("site-agent", &arguments, &self.path(hospital), "agent.log")
    }

    /// Adds the table `[policy]` to a site's settings, or replaces it.
    fn set_policy(&self, hospital: &str, policy: &str) {
        let path = self.path(hospital).join("site.toml");
        let settings = read(&path);
        let (before, _) = settings
            .split_once("\n[policy]\n")
            .unwrap_or((&settings, ""));
        std::fs::write(&path, format!("{before}\n[policy]\n{policy}\n")).unwrap();
    }

    fn approve(&self, hospital: &str, more: &[&str]) -> Output {
        Command::new(binary("site-agent"))
            .args(["approve", "--config", "site.toml"])
            .args(more)
            .current_dir(self.path(hospital))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn is_over(&self) -> bool {
        self.path("run/outcome.json").exists()
    }

    /// The records of the rounds, once the federation is over.
    fn rounds(&self) -> Vec<serde_json::Value> {
        let bytes = std::fs::read(self.path("run/outcome.json")).unwrap();
        let outcome: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        outcome["runs"][0]["rounds"].as_array().unwrap().clone()
    }
}

/// Brings both hospitals in, and starts their agents.
fn both(stage: &Stage) -> [Program; 2] {
    ["north", "south"].map(|site| {
        let joined = stage.join(site, &stage.invite(site, &[]), site);
        assert!(joined.status.success(), "{}", said(&joined));
        stage.run(site)
    })
}

#[test]
fn a_hospital_joins_with_one_line_and_trains_and_no_token_works_twice() {
    let stage = Stage::new("rounds = 1\ntraining = { steps = 4, batch = 4 }");
    // While no coordinator runs: the token waits for it.
    let token = stage.invite("north", &[]);
    let mut mistyped = token.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    let refused = stage.join("mistyped", &mistyped, "north");
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("checksum"), "{}", said(&refused));
    let coordinator = stage.serve("coordinator.log");
    let joined = stage.join("north", &token, "north");
    let words = said(&joined);
    assert!(joined.status.success(), "{words}");
    for expected in [
        "joined as north, to train",
        "certificates",
        "key exchange X25519MLKEM768",
    ] {
        assert!(words.contains(expected), "{words}");
    }
    let key = stage.path("north/certificates/key.pem");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let record = std::fs::read_to_string(stage.path("pki/members.json")).unwrap();
    assert!(!record.contains("PRIVATE"));
    let again = stage.join("thief", &token, "north");
    assert_eq!(again.status.code(), Some(5), "{}", said(&again));
    assert!(said(&again).contains("used before"), "{}", said(&again));
    // The same site may ask again, for example after an answer that was lost. Its settings stay.
    let settings = stage.path("north/site.toml");
    let before = std::fs::read_to_string(&settings).unwrap() + "# mine\n";
    std::fs::write(&settings, &before).unwrap();
    let twice = stage.join_again("north", &token);
    assert!(twice.status.success(), "{}", said(&twice));
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), before);
    let north = stage.run("north");
    let south = stage.join_by_input("south", &stage.invite("south", &[]), "south");
    assert!(south.status.success(), "{}", said(&south));
    let south = stage.run("south");
    // Nothing was said, because nothing was piped.
    let silent = stage.join_by_input("silent", &" ".repeat(70), "south");
    assert_eq!(silent.status.code(), Some(3), "{}", said(&silent));
    coordinator.until("the end", |_| stage.is_over());
    let rounds = stage.rounds();
    assert_eq!(
        rounds[0]["updates"].as_array().unwrap().len(),
        2,
        "{}",
        north.words()
    );
    drop(south);
    let listed = stage.coordinator(&["sites"]);
    let words = said(&listed);
    for site in ["north", "south"] {
        assert!(
            words.contains(&format!("{site:20} train      joined")),
            "{words}"
        );
    }
}

#[test]
fn tokens_that_are_expired_or_of_another_authority_let_no_one_in() {
    let stage = Stage::new("rounds = 1\ntraining = { steps = 4, batch = 4 }");
    let _coordinator = stage.serve("coordinator.log");
    let expired = stage.invite("north", &["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(1100));
    let refused = stage.join("late", &expired, "north");
    assert_eq!(refused.status.code(), Some(5));
    assert!(said(&refused).contains("expired"), "{}", said(&refused));
    // The hospital's token is of another federation, and this coordinator poses as that one's.
    let init = ["init", "--out", "other", "--coordinator-name", "127.0.0.1"];
    done("coordinator", &init, stage.folder.path());
    let address = ["--address", &stage.address];
    let arguments = [&["invite", "north", "--authority", "other"], &address[..]].concat();
    let foreign = stage.coordinator(&arguments);
    let token = text(&foreign.stdout).trim().to_owned();
    let refused = stage.join("elsewhere", &token, "north");
    assert_eq!(refused.status.code(), Some(5));
    assert!(
        said(&refused).contains("cannot be trusted"),
        "{}",
        said(&refused)
    );
    assert!(!stage.path("elsewhere/site.toml").exists());
    let unexpected = stage.coordinator(&["invite", "west", "--config", "coordinator.toml"]);
    assert_eq!(unexpected.status.code(), Some(3));
    assert!(
        said(&unexpected).contains("sites.expected"),
        "{}",
        said(&unexpected)
    );
}

#[test]
fn a_site_that_is_revoked_in_the_middle_is_out_at_once_and_stays_out() {
    let stage = Stage::new("rounds = 2\ntraining = { steps = 1000000, batch = 4 }");
    let coordinator = stage.serve("coordinator.log");
    let [mut north, south] = both(&stage);
    south.until("work", |words| words.contains("data ready"));
    north.until("work", |words| words.contains("data ready"));
    // Not in a folder that no coordinator looks at.
    std::fs::create_dir(stage.path("empty")).unwrap();
    let elsewhere = ["revoke", "north", "--force", "--authority", "empty"];
    let wrong = stage.coordinator(&elsewhere);
    assert_eq!(wrong.status.code(), Some(3), "{}", said(&wrong));
    assert!(said(&wrong).contains("no authority"), "{}", said(&wrong));
    let again = stage.coordinator(&["invite", "north", "--config", "coordinator.toml"]);
    assert!(
        said(&again).contains("has joined already"),
        "{}",
        said(&again)
    );
    let revoked = stage.coordinator(&["revoke", "north"]);
    assert!(revoked.status.success(), "{}", said(&revoked));
    let record = stage.path("pki/members.json").canonicalize().unwrap();
    let record = record.display().to_string();
    assert!(said(&revoked).contains(&record), "{}", said(&revoked));
    assert_eq!(north.end().code(), Some(5), "{}", north.words());
    assert!(north.words().contains("was revoked"), "{}", north.words());
    drop(coordinator);
    let _coordinator = stage.serve("again.log");
    let mut north = stage.run("north");
    assert_eq!(north.end().code(), Some(5), "{}", north.words());
    assert!(
        north.words().contains("it was revoked"),
        "{}",
        north.words()
    );
    // Neither through the fallback: UDP leads nowhere.
    let (silent, _) = ports();
    let path = stage.path("north/site.toml");
    let settings = std::fs::read_to_string(&path).unwrap();
    assert!(
        settings.contains(&format!("fallback = \"{}\"", stage.tunnel)),
        "{settings}"
    );
    std::fs::write(&path, settings.replace(&stage.address, &silent)).unwrap();
    let mut north = stage.run("north");
    assert_eq!(north.end().code(), Some(5), "{}", north.words());
    assert!(
        north.words().contains("it was revoked"),
        "{}",
        north.words()
    );
    let listed = said(&stage.coordinator(&["sites"]));
    assert!(listed.contains("revoked on"), "{listed}");
    // A new invitation lets it in again, in the same folder and with the same settings.
    std::fs::write(&path, &settings).unwrap();
    let joined = stage.join_again("north", &stage.invite("north", &[]));
    assert!(joined.status.success(), "{}", said(&joined));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), settings);
    let north = stage.run("north");
    north.until("work", |words| words.contains("data ready"));
    // But no token of another federation.
    let init = ["init", "--out", "other", "--coordinator-name", "127.0.0.1"];
    done("coordinator", &init, stage.folder.path());
    let address = ["--address", &stage.address];
    let arguments = [&["invite", "north", "--authority", "other"], &address[..]].concat();
    let foreign = stage.coordinator(&arguments);
    let refused = stage.join_again("north", text(&foreign.stdout).trim());
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(
        said(&refused).contains("a site of another federation"),
        "{}",
        said(&refused)
    );
    let unknown = stage.coordinator(&["revoke", "nort"]);
    assert!(
        said(&unknown).contains("did you mean north?"),
        "{}",
        said(&unknown)
    );
}

/// Gives a site a certificate that is due to be renewed in some seconds.
fn age(stage: &Stage, hospital: &str, seconds: u64) {
    let path = stage.path(hospital).join("certificates/certificate.pem");
    let certificate = CertificateDer::from_pem_file(&path).unwrap();
    let key = PublicKey::try_from(public_key(&certificate).unwrap()).unwrap();
    // It is valid from a day ago, and due when a third of its time is left.
    let lifetime = Duration::from_secs(12 * 3600 + seconds * 3 / 2);
    let authority = Authority::of(&stage.path("pki")).unwrap();
    let aged = authority
        .sign_site(hospital, &key, lifetime, [1; 16])
        .unwrap();
    std::fs::write(&path, to_pem(&aged)).unwrap();
}

/// The last round's model.
fn model(stage: &Stage) -> Vec<u8> {
    std::fs::read(stage.path("run/federation/round-0006/global.f32")).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_certificate_that_is_renewed_in_the_middle_of_a_run_costs_no_round() {
    let rounds = "rounds = 6\ntraining = { steps = 60, batch = 4 }";
    let undisturbed = Stage::new(rounds);
    let coordinator = undisturbed.serve("coordinator.log");
    let _agents = both(&undisturbed);
    coordinator.until("the end", |_| undisturbed.is_over());

    let stage = Stage::new(rounds);
    let coordinator = stage.serve("coordinator.log");
    for site in ["north", "south"] {
        let joined = stage.join(site, &stage.invite(site, &[]), site);
        assert!(joined.status.success(), "{}", said(&joined));
    }
    age(&stage, "north", 4);
    let aged = read(&stage.path("north/certificates/certificate.pem"));
    let key = read(&stage.path("north/certificates/key.pem"));
    let north = stage.run("north");
    let south = stage.run("south");
    coordinator.until("the end", |_| stage.is_over());
    let words = north.words();
    assert!(words.contains("the certificate was renewed"), "{words}");
    assert!(words.contains("connecting again, work goes on"), "{words}");
    assert!(!south.words().contains("renewed"), "{}", south.words());
    assert_ne!(
        read(&stage.path("north/certificates/certificate.pem")),
        aged
    );
    assert_ne!(read(&stage.path("north/certificates/key.pem")), key);
    for round in stage.rounds() {
        assert_eq!(round["updates"].as_array().unwrap().len(), 2, "{round}");
        assert!(round["missing"].as_array().unwrap().is_empty(), "{round}");
    }
    assert!(
        model(&stage) == model(&undisturbed),
        "the renewal changed the model"
    );
}

#[test]
fn a_site_works_only_for_what_its_own_settings_and_a_person_there_permit() {
    let stage = Stage::new("rounds = 1\ntraining = { steps = 4, batch = 4 }");
    let coordinator = stage.serve("coordinator.log");
    for site in ["north", "south"] {
        let joined = stage.join(site, &stage.invite(site, &[]), site);
        assert!(joined.status.success(), "{}", said(&joined));
    }
    stage.set_policy("north", "approval = 'settings'");
    let nothing = stage.approve("north", &["--yes"]);
    assert_eq!(nothing.status.code(), Some(3), "{}", said(&nothing));
    let mut north = stage.run("north");
    assert_eq!(north.end().code(), Some(5), "{}", north.words());
    assert!(north.words().contains("must say yes"), "{}", north.words());
    coordinator.until("the refusal", |words| {
        words.contains("refused by this site's own settings: a person there must say yes")
    });
    let unasked = stage.approve("north", &[]);
    assert_eq!(unasked.status.code(), Some(3), "{}", said(&unasked));
    let approved = stage.approve("north", &["--yes"]);
    let words = said(&approved);
    assert!(approved.status.success(), "{words}");
    assert!(words.contains("enrolment is a new federation"), "{words}");
    assert!(words.contains("training.steps = 4"), "{words}");
    let agents = ["north", "south"].map(|site| stage.run(site));
    coordinator.until("the end", |_| stage.is_over());
    assert_eq!(stage.rounds()[0]["updates"].as_array().unwrap().len(), 2);
    drop((coordinator, agents));
    // The coordinator asks for more than was agreed on.
    let path = stage.path("coordinator.toml");
    let settings = read(&path)
        .replace("rounds = 1", "rounds = 2")
        .replace("steps = 4", "steps = 5")
        .replace("run_folder = 'run'", "run_folder = 'again'");
    std::fs::write(&path, settings).unwrap();
    let coordinator = stage.serve("again.log");
    let mut north = stage.run("north");
    assert_eq!(north.end().code(), Some(5), "{}", north.words());
    let approved = stage.approve("north", &["--yes"]);
    let words = said(&approved);
    assert!(words.contains("has changed since"), "{words}");
    assert!(words.contains("training.steps: 4 before, 5 now"), "{words}");
    assert!(words.contains("rounds: 1 before, 2 now"), "{words}");
    assert!(!words.contains("training.batch"), "{words}");
    stage.set_policy("south", "max_steps = 4");
    let mut south = stage.run("south");
    assert_eq!(south.end().code(), Some(5), "{}", south.words());
    let refusal = "a round has 5 steps, and policy.max_steps is 4";
    assert!(south.words().contains(refusal), "{}", south.words());
    coordinator.until("the refusal", |words| words.contains(refusal));
    // A task that is refused leaves the site in the federation.
    stage.set_policy("south", "max_trainings_per_day = 1");
    let _north = stage.run("north");
    let south = stage.run("south");
    coordinator.until("the second round", |words| {
        words.contains("as many as policy.max_trainings_per_day")
    });
    assert!(south.words().contains("a task is refused"));
}
