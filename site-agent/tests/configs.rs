//! The files in `configs/`: those of sites as `run` reads them, and what a simulation hands on from
//! its own file to `run` and `phantom`. What is for the coordinator is read by the coordinator's
//! tests.

#![allow(clippy::unwrap_used, clippy::panic)]

use protocol::settings::Federation;
use site_agent::agent::SiteConfig;
use site_agent::data::DataConfig;
use site_agent::phantom::Cohort;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn all() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| (name(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn parsed(name: &str, text: &str) -> Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_example_that_is_not_the_coordinators_is_a_sites() {
    let coordinators = |table: &Table| {
        ["serve", "simulate"]
            .iter()
            .any(|key| table.contains_key(*key))
    };
    let mut sites = all();
    // The rules of `import`, which the unit tests of imaging read.
    assert!(sites.remove("sequences.toml").is_some());
    sites.retain(|name, text| !coordinators(&parsed(name, text)));
    assert_eq!(
        sites.keys().collect::<Vec<_>>(),
        ["site-evaluate.toml", "site-train.toml"]
    );
    // The examples belong together: a site's sequences are some of those that the coordinator's
    // file names.
    let federation = Federation::from_toml(&all()["coordinator.toml"]).unwrap();
    for name in sites.keys() {
        let config =
            SiteConfig::read(&folder().join(name)).unwrap_or_else(|error| panic!("{error}"));
        let (known, held) = (&federation.input.sequences, config.data.sequences());
        assert!(
            !held.is_empty() && held.iter().all(|sequence| known.contains(sequence)),
            "{name}: {held:?}"
        );
        let site = self::name(&config.certificates).parse().unwrap();
        assert!(
            federation.sites.expected.contains(&site),
            "{name} is of no expected site"
        );
    }
}

#[test]
fn what_a_simulation_hands_on_is_taken_by_run_and_phantom() {
    let mut handed_on = Vec::new();
    for (name, text) in all() {
        // Set by those who have the data; any folder will do here, because none is opened.
        let table = parsed(&name, &text.replace("${LACUNA_DATA}", "/data"));
        let Some(simulate) = table.get("simulate") else {
            continue;
        };
        for site in simulate["sites"].as_array().unwrap() {
            let kind = match site.get("data") {
                Some(data) => folders(&name, data),
                None => phantoms(&name, simulate.get("phantom"), site),
            };
            handed_on.push((name.clone(), kind));
        }
    }
    handed_on.dedup();
    let folders: Vec<&str> = handed_on
        .iter()
        .filter(|(_, kind)| *kind == "folders")
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(folders, ["glioma.toml"]);
    let files: Vec<&str> = handed_on.iter().map(|(name, _)| &**name).collect();
    assert!(
        ["demo-smoke.toml", "demo.toml", "paper.toml"]
            .iter()
            .all(|name| files.contains(name)),
        "{files:?}"
    );
}

fn folders(name: &str, data: &Value) -> &'static str {
    let data: DataConfig = data
        .clone()
        .try_into()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        !data.lesion_labels().is_empty(),
        "{name}: a simulated site needs labels"
    );
    "folders"
}

/// A cohort file as `coordinator simulate` writes it: the common table, and the site's own without
/// its role.
fn phantoms(name: &str, common: Option<&Value>, site: &Value) -> &'static str {
    let mut own = site.as_table().unwrap().clone();
    own.remove("role");
    let mut file = Table::new();
    file.extend(common.map(|common| ("cohort".to_owned(), common.clone())));
    file.insert("site".into(), Value::Array(vec![own.into()]));
    let cohorts = Cohort::all(&toml::to_string(&file).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(cohorts.len(), 1);
    "phantoms"
}
