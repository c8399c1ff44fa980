//! `coordinator serve` and `site-agent run`, from the examples in `configs/`.

use journeys::binary;
use journeys::program::{Program, done};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the examples say has to be done before, at the smallest size; gives the coordinator's address.
pub(crate) fn prepare(folder: &Path) -> String {
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let names = ["--coordinator-name", "localhost,127.0.0.1", "--sites", "north,harbour"];
    done("coordinator", &[&["init", "--out", "pki"], &names[..]].concat(), folder);
    let cohort = ["--site", "north", "--cases", "2", "--lacks", "bravo", "--slices", "8", "--plane", "32"];
    done("site-agent", &[&["phantom", "--out", "data/north"], &cohort[..]].concat(), folder);
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let site = std::fs::read_to_string(configs.join("site-train.toml")).unwrap();
    std::fs::write(folder.join("site.toml"), site.replace("localhost:4433", &address)).unwrap();
    std::fs::copy(configs.join("coordinator.toml"), folder.join("coordinator.toml")).unwrap();
    address
}

#[test]
fn serve_and_run_end_with_the_signals_code_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let address = prepare(folder.path());
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let serve = ["serve", "--config", "coordinator.toml", "--listen", &address, "--status", "off"];
        let mut coordinator = Program::start("coordinator", &serve, folder.path(), "coordinator.log");
        let mut site = Program::start("site-agent", &["run", "--config", "site.toml"], folder.path(), "site.log");
        coordinator.until("the site", |words| words.contains("north is ready: 1 training, 1 validation"));
        site.signal(name);
        assert_eq!(site.end().code(), Some(code), "{}", site.words());
        assert!(site.words().contains("asked to stop"), "{}", site.words());
        let asked = Instant::now();
        coordinator.until("the site's leave", |words| words.contains("north left"));
        assert!(asked.elapsed() < Duration::from_secs(10), "the site left without a word");
        coordinator.signal(name);
        assert_eq!(coordinator.end().code(), Some(code), "{}", coordinator.words());
    }
}

/// What `doctor` says of the site, and its exit code.
fn examined(folder: &Path) -> (String, Option<i32>) {
    let arguments = ["doctor", "--config", "site.toml"];
    let output = Command::new(binary("site-agent")).args(arguments).current_dir(folder).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn a_doctor_finds_what_is_missing_and_does_not_disturb_a_site_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let address = prepare(folder.path());
    let (words, code) = examined(folder.path());
    assert_eq!(code, Some(5), "{words}");
    assert!(words.contains("FAIL  coordinator") && words.contains("send UDP"), "{words}");
    let serve = ["serve", "--config", "coordinator.toml", "--listen", &address, "--status", "off"];
    let coordinator = Program::start("coordinator", &serve, folder.path(), "coordinator.log");
    let _site = Program::start("site-agent", &["run", "--config", "site.toml"], folder.path(), "site.log");
    coordinator.until("the site", |words| words.contains("north is ready"));
    let (words, code) = examined(folder.path());
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("ok    coordinator") && words.contains("2 with a reference"), "{words}");
    assert!(!coordinator.words().contains("north left"), "{}", coordinator.words());
    std::fs::remove_file(folder.path().join("pki/north/key.pem")).unwrap();
    let (words, code) = examined(folder.path());
    assert!(code == Some(3) && words.contains("FAIL  certificates") && words.contains("key.pem"), "{words}");
}

#[test]
fn a_site_without_a_coordinator_heeds_signals_too() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut site = Program::start("site-agent", &["run", "--config", "site.toml"], folder.path(), "site.log");
    // Made when it already listens for signals, just before the first attempt, which takes ten seconds to fail.
    site.until("its work folder", |_| folder.path().join("work/north").exists());
    site.signal("TERM");
    assert_eq!(site.end().code(), Some(143), "{}", site.words());
}
