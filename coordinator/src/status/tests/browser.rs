//! The page in a real browser: headless Chromium, from `LACUNA_CHROMIUM` or the path. Without one
//! these tests say so and check nothing.

use super::*;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LACUNA_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: there is no Chromium; install one or set LACUNA_CHROMIUM to test the page \
             in a browser"
        );
    }
    found
}

/// Starts the browser without a window and in a profile of its own.
fn browser(program: &Path, profile: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let profile = format!("--user-data-dir={}", profile.display());
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            &profile,
        ])
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// The document after the page has asked a few times.
async fn document(program: &Path, address: SocketAddr) -> String {
    let profile = tempfile::tempdir().unwrap();
    let url = format!("http://{address}/");
    let arguments = ["--virtual-time-budget=6000", "--dump-dom", &url];
    let run = browser(program, profile.path(), &arguments).output();
    let output = timeout(Duration::from_secs(120), run)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A proxy between browser and page that is told before each question for the status which one it
/// is. When it is told not to go on it is gone, with the question unanswered.
async fn passage(
    listener: TcpListener,
    page: SocketAddr,
    before: impl FnMut(usize) -> bool + Send + 'static,
) {
    let (asked, gone) = (Arc::new(Mutex::new((0, before))), Arc::new(Notify::new()));
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            () = gone.notified() => return,
            accepted = listener.accept() => passing.spawn(pass(accepted.unwrap().0, page, asked.clone(), gone.clone())),
        };
    }
}

async fn pass<F>(
    mut browser: TcpStream,
    page: SocketAddr,
    asked: Arc<Mutex<(usize, F)>>,
    gone: Arc<Notify>,
) where
    F: FnMut(usize) -> bool,
{
    let mut page = TcpStream::connect(page).await.unwrap();
    let (mut questions, mut answers) = browser.split();
    let (mut back, mut forth) = page.split();
    let goes_on = || {
        let (count, before) = &mut *asked.lock().unwrap();
        *count += 1;
        before(*count)
    };
    let asking = async {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = questions.read(&mut buffer).await {
            if String::from_utf8_lossy(&buffer[..read]).contains("GET /status.json") && !goes_on() {
                gone.notify_one();
                return std::future::pending().await;
            }
            forth.write_all(&buffer[..read]).await.unwrap();
        }
    };
    tokio::select! {
        () = asking => {}
        _ = tokio::io::copy(&mut back, &mut answers) => {}
    }
}

/// The document at the end, when a passage that is told so stood before the page.
async fn seen_through(
    stage: &Stage,
    program: &Path,
    before: impl FnMut(usize) -> bool + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passage = tokio::spawn(passage(listener, stage.address, before));
    let dom = document(program, address).await;
    passage.abort();
    dom
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_federation_and_follows_it() {
    let Some(program) = chromium() else { return };
    let stage = Stage::open(false);
    let site = "<img src=x onerror=alert(1)>".to_string();
    stage.status.send_modify(|status| {
        status
            .sites
            .insert(site.clone(), status.sites["north"].clone());
    });
    // Between the first look and the second a third round is finished, and a site is dropped.
    let status = stage.status.clone();
    let change = move |question| {
        if question == 2 {
            status.send_modify(|status| {
                status.apply_checkpoint(&checkpoint(3));
                status.apply(
                    &Notification::Dropped {
                        site: "harbour".parse().unwrap(),
                    },
                    1012.0,
                );
            });
        }
        true
    };
    let dom = seen_through(&stage, &program, change).await;
    for wanted in [
        "<h1 id=\"name\">metastases</h1>",
        "round 3 of 6, training",
        "▶ training 3 of 8",
        "<dd>88 slices/s</dd>",
        "<dd>TLS over TCP</dd>",
        "⊘ dropped",
        "failed: the &lt;b&gt;loss&lt;/b&gt; is not a number",
        "<td>3</td><td>13 s</td><td>4.0 MB</td><td>0.3000</td>",
        "<polyline",
        "<span>all sites</span>",
    ] {
        assert!(dom.contains(wanted), "{wanted:?} is not in\n{dom}");
    }
    assert!(
        dom.contains("&lt;img src=x") && !dom.contains("<img"),
        "a site's name is text"
    );
    assert!(
        dom.contains("<p id=\"lost\" role=\"alert\" hidden"),
        "the connection is open"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_the_coordinator_is_gone() {
    let Some(program) = chromium() else { return };
    let stage = Stage::open(false);
    let dom = seen_through(&stage, &program, |question| question < 3).await;
    let said = "role=\"alert\">No connection to the coordinator. What is shown is of ";
    assert!(
        dom.contains(said) && dom.contains("<body class=\"lost\""),
        "{dom}"
    );
    assert!(
        dom.contains("<h1 id=\"name\">metastases</h1>"),
        "what was known stays"
    );
}
