//! The built programs on a site, and what they say.

use crate::site::{FIRST, SEQUENCES, Site};
use journeys::binary;
use journeys::settings::SiteFile;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// How a command ended, and everything that it said about the site.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) words: String,
}

const FEDERATION: &str = r#"
name = "kinds"
rounds = 1
[input]
sequences = ["bravo", "t1_pre", "t1_post", "flair"]
slices = 3
plane = 32
[model]
preset = "tiny"
width = 4
[training]
epochs = 1
batch = 2
[evaluation]
validation_share = 0.3
subsets = false
[simulate.phantom]
plane = 32
slices = 8
[[simulate.sites]]
name = "other"
role = "train"
cases = 2
lacks = ["bravo"]
[[simulate.sites]]
name = "here"
role = "train"
[simulate.sites.data]
"#;

fn ran(output: &Output, more: &str) -> Ran {
    let error = String::from_utf8_lossy(&output.stderr);
    Ran {
        code: output.status.code().unwrap_or(-1),
        words: format!("{more}{error}"),
    }
}

/// `doctor --json`; there is no coordinator, so that only the data's finding and its exit code
/// count.
pub(crate) fn doctor(site: &Site) -> Ran {
    let config = site.folder.join("site.toml");
    let file = SiteFile {
        coordinator: "127.0.0.1:9",
        certificates: "pki",
        role: "train",
        work_folder: "work",
        data: &format!("[data]\n{}", site.data),
    };
    let text = file.toml();
    fs::write(
        &config,
        site.settings
            .map_or_else(|| text.clone().into_bytes(), |bytes| bytes(&text)),
    )
    .unwrap();
    let output = Command::new(binary("site-agent"))
        .args(["doctor", "--json", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let Ok(findings) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
        return ran(&output, "");
    };
    let data = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "data")
        .unwrap();
    Ran {
        code: if data["good"] == true { 0 } else { 4 },
        words: data.to_string(),
    }
}

/// A federation of this site and a sound one.
pub(crate) fn train(site: &Site) -> Ran {
    let config = site.folder.join("federation.toml");
    fs::write(&config, format!("{FEDERATION}{}", site.data)).unwrap();
    let run = site.folder.join("run");
    let output = simulate(&config, &run);
    let work = run.join("sites/here/work/skipped.json");
    let report = fs::read_to_string(work).unwrap_or_default();
    let report = serde_json::from_str(&report)
        .map_or(report, |report: serde_json::Value| report.to_string());
    let log = fs::read_to_string(run.join("sites/here/agent.log")).unwrap_or_default();
    ran(&output, &format!("{report}\n{log}\n"))
}

fn simulate(config: &Path, run: &Path) -> Output {
    Command::new(binary("coordinator"))
        .arg("simulate")
        .arg(config)
        .arg("--out")
        .arg(run)
        .output()
        .unwrap()
}

/// The first case, by a model that a sound site trained.
pub(crate) fn predict(site: &Site) -> Ran {
    let mut command = Command::new(binary("site-agent"));
    command
        .args(["predict", "--threshold", "0.5", "--threads", "1", "--model"])
        .arg(model());
    command.arg("--out").arg(site.folder.join("predicted"));
    for name in SEQUENCES {
        command
            .arg("--sequence")
            .arg(format!("{name}={}", site.file(FIRST, name).display()));
    }
    command.arg("--brain").arg(site.file(FIRST, "brain"));
    ran(&command.output().unwrap(), "")
}

/// Trained once for all tests.
fn model() -> PathBuf {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    let model = || {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("kinds-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let site = Site::sound(&folder);
        let trained = train(&site);
        assert_eq!(trained.code, 0, "{}", trained.words);
        folder.join("run/models/federation.safetensors")
    };
    MODEL.get_or_init(model).clone()
}
