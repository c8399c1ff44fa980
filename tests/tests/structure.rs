//! Which of our crates may use what, and whether docs/developers/ARCHITECTURE.md lists all modules.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a manifest that cannot be read has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Our crates' folders, each with those of our crates that it uses. Each uses only what comes
/// before it here, and no program uses the other.
const CRATES: [(&str, &[&str]); 9] = [
    ("shared/random", &[]),
    ("shared/metrics", &["random"]),
    ("shared/protocol", &["metrics", "random"]),
    ("shared/aggregation", &["metrics", "protocol"]),
    ("shared/program", &[]),
    ("shared/transport", &["program", "protocol"]),
    (
        "coordinator",
        &["aggregation", "metrics", "program", "protocol", "transport"],
    ),
    ("site-agent/imaging", &["metrics", "program", "protocol"]),
    (
        "site-agent",
        &[
            "imaging",
            "metrics",
            "program",
            "protocol",
            "random",
            "transport",
        ],
    ),
];

/// Libraries that reach the world outside or compute networks, each with the crates of ours that
/// may name it.
const DOORS: [(&str, &[&str]); 6] = [
    (
        "tokio",
        &["coordinator", "program", "site-agent", "transport"],
    ),
    ("quinn", &["coordinator", "site-agent", "transport"]),
    ("rustls", &["coordinator", "site-agent", "transport"]),
    ("rayon", &["aggregation", "site-agent"]),
    ("burn", &["site-agent"]),
    ("nifti", &["imaging"]),
];

/// What must not be below a crate, by whatever way: pure libraries have no network, threads of
/// their own or files of images, and the program that faces the network links no neural network.
const WITHOUT: [(&str, &[&str]); 6] = [
    (
        "random",
        &["tokio", "quinn", "rustls", "rayon", "burn", "nifti"],
    ),
    (
        "metrics",
        &["tokio", "quinn", "rustls", "rayon", "burn", "nifti"],
    ),
    (
        "protocol",
        &["tokio", "quinn", "rustls", "rayon", "burn", "nifti"],
    ),
    (
        "aggregation",
        &["tokio", "quinn", "rustls", "burn", "nifti"],
    ),
    ("imaging", &["quinn", "rustls", "burn"]),
    ("coordinator", &["burn", "nifti", "imaging", "site-agent"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parse(path: &str) -> toml::Table {
    read(path)
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn name(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// What a crate's manifest names, apart from what only its tests use.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = parse(&format!("{folder}/Cargo.toml"));
    let table = manifest["dependencies"].as_table().unwrap();
    table.keys().cloned().collect()
}

/// Every package of the build with the packages that it names, by Cargo.lock.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in parse("Cargo.lock")["package"].as_array().unwrap() {
        let below = packages
            .entry(package["name"].as_str().unwrap().to_owned())
            .or_default();
        let Some(dependencies) = package.get("dependencies") else {
            continue;
        };
        for dependency in dependencies.as_array().unwrap() {
            // Where a package is there in several versions its name is followed by one.
            below.extend(
                dependency
                    .as_str()
                    .unwrap()
                    .split(' ')
                    .next()
                    .map(str::to_owned),
            );
        }
    }
    packages
}

/// All packages below one.
fn below(package: &str, packages: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![package.to_owned()];
    while let Some(package) = waiting.pop() {
        for next in &packages[&package] {
            if found.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    found
}

#[test]
fn our_crates_use_only_those_below_them() {
    let ours: Vec<&str> = CRATES.iter().map(|(folder, _)| name(folder)).collect();
    for (place, (folder, uses)) in CRATES.iter().enumerate() {
        let named = dependencies(folder);
        let found: Vec<&str> = ours
            .iter()
            .copied()
            .filter(|one| named.contains(*one))
            .collect();
        assert_eq!(
            BTreeSet::from_iter(found),
            uses.iter().copied().collect(),
            "{folder}"
        );
        for used in *uses {
            assert!(
                ours[..place].contains(used),
                "{folder} uses {used}, which comes after it"
            );
        }
    }
    let members = parse("Cargo.toml")["workspace"]["members"]
        .as_array()
        .unwrap()
        .clone();
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let known: BTreeSet<&str> = CRATES
        .iter()
        .map(|(folder, _)| *folder)
        .chain(["tests"])
        .collect();
    assert_eq!(members, known);
}

#[test]
fn only_some_crates_name_the_libraries_of_networks_and_images() {
    for (library, may) in DOORS {
        let named = CRATES
            .iter()
            .filter(|(folder, _)| dependencies(folder).contains(library));
        let named: Vec<&str> = named.map(|(folder, _)| name(folder)).collect();
        assert_eq!(
            BTreeSet::from_iter(named),
            may.iter().copied().collect(),
            "{library}"
        );
    }
}

#[test]
fn nothing_below_a_pure_library_reaches_the_network_and_nothing_below_the_coordinator_trains() {
    let packages = locked();
    for (library, _) in DOORS {
        assert!(
            packages.contains_key(library),
            "{library} is not in Cargo.lock"
        );
    }
    for (ours, never) in WITHOUT {
        let below = below(ours, &packages);
        for library in never {
            assert!(!below.contains(*library), "{library} is below {ours}");
        }
    }
    assert!(!below("site-agent", &packages).contains("coordinator"));
}

/// Where the names end and their description begins, in the lists of
/// docs/developers/ARCHITECTURE.md.
const DESCRIPTION: usize = 30;

/// The modules that docs/developers/ARCHITECTURE.md lists, by the folder they are in.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("docs/developers/ARCHITECTURE.md");
    let (_, list) = text.split_once("## Modules\n\n```\n").unwrap();
    let (list, _) = list.split_once("```").unwrap();
    let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut folder = String::new();
    for line in list.lines() {
        let names: String = line.chars().take(DESCRIPTION).collect();
        if line.starts_with(' ') {
            listed
                .entry(folder.clone())
                .or_default()
                .extend(names.split_whitespace().map(str::to_owned));
        } else if let Some(name) = names.split_whitespace().next() {
            folder = name.trim_end_matches('/').to_owned();
            listed.entry(folder.clone()).or_default();
        }
    }
    listed
}

/// The modules of a crate: the files next to lib.rs.
fn modules(source: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for entry in std::fs::read_dir(root().join(source)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "rs")
            && !["lib", "main", "tests"].contains(&&*name)
        {
            modules.insert(name);
        }
    }
    modules
}

#[test]
fn the_architecture_lists_every_room_there_is_and_no_other() {
    let listed = listed();
    for (folder, _) in CRATES {
        let source = format!("{folder}/src");
        assert_eq!(
            listed.get(&source),
            Some(&modules(&source)),
            "{source} in docs/developers/ARCHITECTURE.md and on the disk"
        );
    }
}

#[test]
fn engines_know_no_command() {
    for program in ["coordinator", "site-agent"] {
        let source = format!("{program}/src");
        for module in modules(&source) {
            if module == "cli" || module == "commands" {
                continue;
            }
            for path in files(&root().join(&source).join(&module)) {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(
                    !text.contains("crate::commands"),
                    "{} names a command",
                    path.display()
                );
            }
        }
    }
}

/// A module's files: its own, and those in its folder.
fn files(module: &Path) -> Vec<PathBuf> {
    let mut found = vec![module.with_extension("rs")];
    let mut folders = vec![module.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
