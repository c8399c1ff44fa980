//! `coordinator serve` and `site-agent run`, from the examples in `configs/`.

use journeys::binary;
use journeys::program::{Program, done};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the examples say has to be done before, at the smallest size; gives the coordinator's
/// address.
pub(crate) fn prepare(folder: &Path) -> String {
    let address = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let names = [
        "--coordinator-name",
        "localhost,127.0.0.1",
        "--sites",
        "north,harbour",
    ];
    done(
        "coordinator",
        &[&["init", "--out", "pki"], &names[..]].concat(),
        folder,
    );
    let cohort = [
        "--site", "north", "--cases", "2", "--lacks", "bravo", "--slices", "8", "--plane", "32",
    ];
    done(
        "site-agent",
        &[&["phantom", "--out", "data/north"], &cohort[..]].concat(),
        folder,
    );
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let site = std::fs::read_to_string(configs.join("site-train.toml")).unwrap();
    std::fs::write(
        folder.join("site.toml"),
        site.replace("localhost:4433", &address),
    )
    .unwrap();
    std::fs::copy(
        configs.join("coordinator.toml"),
        folder.join("coordinator.toml"),
    )
    .unwrap();
    address
}

#[test]
fn serve_and_run_end_with_the_signals_code_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let address = prepare(folder.path());
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let serve = [
            "serve",
            "--config",
            "coordinator.toml",
            "--listen",
            &address,
            "--status",
            "off",
        ];
        let mut coordinator =
            Program::start("coordinator", &serve, folder.path(), "coordinator.log");
        let mut site = Program::start(
            "site-agent",
            &["run", "--config", "site.toml"],
            folder.path(),
            "site.log",
        );
        coordinator.until("the site", |words| {
            words.contains("north is ready: 1 training, 1 validation")
        });
        site.signal(name);
        assert_eq!(site.end().code(), Some(code), "{}", site.words());
        assert!(site.words().contains("asked to stop"), "{}", site.words());
        let asked = Instant::now();
        coordinator.until("the site's leave", |words| words.contains("north left"));
        assert!(
            asked.elapsed() < Duration::from_secs(10),
            "the site left without a word"
        );
        coordinator.signal(name);
        assert_eq!(
            coordinator.end().code(),
            Some(code),
            "{}",
            coordinator.words()
        );
    }
}

/// What `doctor` says of the site, and its exit code.
fn examined(folder: &Path, proxy: Option<&str>) -> (String, Option<i32>) {
    let mut command = Command::new(binary("site-agent"));
    command
        .args(["doctor", "--config", "site.toml"])
        .current_dir(folder)
        .envs(proxy.map(|proxy| ("HTTPS_PROXY", proxy)));
    let output = command.output().unwrap();
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        output.status.code(),
    )
}

/// A free TCP address.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[test]
fn a_doctor_finds_what_is_missing_and_does_not_disturb_a_site_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let address = prepare(folder.path());
    let (words, code) = examined(folder.path(), None);
    assert_eq!(code, Some(5), "{words}");
    assert!(
        words.contains("FAIL  udp")
            && words.contains("send UDP")
            && words.contains("FAIL  fallback"),
        "{words}"
    );
    let serve = [
        "serve",
        "--config",
        "coordinator.toml",
        "--listen",
        &address,
        "--status",
        "off",
    ];
    let coordinator = Program::start("coordinator", &serve, folder.path(), "coordinator.log");
    let _site = Program::start(
        "site-agent",
        &["run", "--config", "site.toml"],
        folder.path(),
        "site.log",
    );
    coordinator.until("the site", |words| words.contains("north is ready"));
    let (words, code) = examined(folder.path(), None);
    assert_eq!(code, Some(0), "{words}");
    assert!(
        words.contains("ok    udp") && words.contains("2 that can be used, of 2 patients"),
        "{words}"
    );
    assert!(
        !words.contains("warn  fallback") && words.contains("days left"),
        "{words}"
    );
    assert!(
        !coordinator.words().contains("north left"),
        "{}",
        coordinator.words()
    );
    std::fs::remove_file(folder.path().join("pki/north/key.pem")).unwrap();
    let (words, code) = examined(folder.path(), None);
    assert!(
        code == Some(3) && words.contains("FAIL  certificates") && words.contains("key.pem"),
        "{words}"
    );
}

#[test]
fn a_site_without_udp_works_through_tls_and_both_it_and_the_doctor_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (address, fallback) = (prepare(folder.path()), free());
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = std::fs::read_to_string(folder.path().join("site.toml")).unwrap();
    let settings = settings.replace(&address, &hole.local_addr().unwrap().to_string());
    std::fs::write(
        folder.path().join("site.toml"),
        format!("fallback = \"{fallback}\"\n{settings}"),
    )
    .unwrap();
    let serve = [
        "serve",
        "--config",
        "coordinator.toml",
        "--listen",
        &address,
        "--status",
        "off",
    ];
    let serve = [&serve[..], &["--fallback", &fallback]].concat();
    let mut coordinator = Program::start("coordinator", &serve, folder.path(), "coordinator.log");
    let mut site = Program::start(
        "site-agent",
        &["run", "--config", "site.toml"],
        folder.path(),
        "site.log",
    );
    coordinator.until("the site", |words| {
        words.contains("north is ready: 1 training, 1 validation")
    });
    assert!(
        coordinator
            .words()
            .contains(&format!("listening on {fallback} (TLS over TCP")),
        "{}",
        coordinator.words()
    );
    assert!(
        site.words().contains("UDP seems to be blocked"),
        "{}",
        site.words()
    );

    let (words, code) = examined(folder.path(), None);
    assert_eq!(code, Some(0), "{words}");
    for line in [
        "warn  udp",
        "ok    fallback",
        "ok    proxy",
        "ok    clock        agrees with the coordinator's",
    ] {
        assert!(words.contains(line), "{words}");
    }
    let (words, code) = examined(
        folder.path(),
        Some(&format!("http://north:secret@{}", free())),
    );
    assert_eq!(code, Some(5), "{words}");
    assert!(
        words.contains("FAIL  proxy") && words.contains("FAIL  udp") && !words.contains("secret"),
        "{words}"
    );

    site.signal("TERM");
    assert_eq!(site.end().code(), Some(143), "{}", site.words());
    let asked = Instant::now();
    coordinator.until("the site's leave", |words| words.contains("north left"));
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "the site left without a word"
    );
    coordinator.signal("TERM");
    assert_eq!(
        coordinator.end().code(),
        Some(143),
        "{}",
        coordinator.words()
    );
}

#[test]
fn a_site_without_a_coordinator_heeds_signals_too() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut site = Program::start(
        "site-agent",
        &["run", "--config", "site.toml"],
        folder.path(),
        "site.log",
    );
    // Made when it already listens for signals, just before the first attempt, which takes ten
    // seconds to fail.
    site.until("its work folder", |_| {
        folder.path().join("work/north").exists()
    });
    site.signal("TERM");
    assert_eq!(site.end().code(), Some(143), "{}", site.words());
}
