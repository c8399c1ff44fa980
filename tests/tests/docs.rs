//! Links between the pages of the documentation, and paths that pages, code, settings and error
//! hints name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a page that cannot be read has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const DOCS: &str = "docs/";

/// Folders whose files are named in any text.
const NAMED_ANYWHERE: [&str; 5] = [
    DOCS,
    "configs/",
    "tests/benches/",
    "tests/fixtures/",
    "tests/gpu/",
];

/// Folders whose files are named in pages.
const NAMED_IN_PAGES: [&str; 5] = [
    "coordinator/",
    "shared/",
    "site-agent/",
    "tests/src/",
    "tests/tests/",
];

/// Features of Cargo that look like paths.
const FEATURES: [&str; 2] = ["site-agent/cuda", "site-agent/vulkan"];

/// Endings of files that can name a path.
const ENDINGS: [&str; 7] = ["md", "rs", "toml", "sh", "py", "yml", "html"];

/// Other files that can name a path.
const OTHERS: [&str; 2] = ["justfile", ".ci/run"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// All files below the repository that can name a path, without what is built or written by runs.
fn files(repository: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let left_out =
                name == "target" || name == "runs" || (name.starts_with('.') && name != ".github");
            if path.is_dir() {
                if !left_out {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
            {
                found.push(path);
            }
        }
    }
    for name in OTHERS {
        let path = repository.join(name);
        if path.exists() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The paths below a folder that a text names. Where the folder is part of a longer path, it is not
/// meant.
fn paths_named<'a>(text: &'a str, folder: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(folder) {
        let before = text[..start].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || "/._-".contains(before) {
            continue;
        }
        let rest = &text[start..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && !"/._-".contains(c))
            .unwrap_or(rest.len());
        found.push(rest[..end].trim_end_matches('.'));
    }
    found
}

/// The targets of a page's links that lead to files or headings and not to the network.
fn link_targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("](") {
        let rest = &text[start + 2..];
        let target = &rest[..rest.find(')').unwrap_or(rest.len())];
        if !target.contains("://") {
            found.push(target);
        }
    }
    found
}

/// The names by which a page's headings are linked, made as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        if in_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    found
}

/// What is wrong with a link of a page; `None` if it leads somewhere.
fn fault_of_link(page: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() {
        page.to_owned()
    } else {
        page.parent().unwrap().join(path)
    };
    if !file.exists() {
        return Some(format!("{}: there is no {target}", page.display()));
    }
    if !anchor.is_empty() && !anchors(&fs::read_to_string(&file).unwrap()).contains(anchor) {
        return Some(format!("{}: no heading is called {target}", page.display()));
    }
    None
}

/// Everything below the repository that names a file or a heading that is not there.
fn faults(repository: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(repository) {
        let text = fs::read_to_string(&file).unwrap();
        let is_page = file.extension().is_some_and(|ending| ending == "md");
        let mut named = Vec::new();
        for folder in NAMED_ANYWHERE {
            named.extend(paths_named(&text, folder));
        }
        if is_page {
            for folder in NAMED_IN_PAGES {
                named.extend(paths_named(&text, folder));
            }
        }
        for path in named {
            if !FEATURES.contains(&path) && !repository.join(path).exists() {
                found.push(format!("{}: there is no {path}", file.display()));
            }
        }
        if is_page {
            for target in link_targets(&text) {
                found.extend(fault_of_link(&file, target));
            }
        }
    }
    found
}

#[test]
fn every_link_and_every_path_that_is_named_is_there() {
    let found = faults(&repository());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_index_names_every_page() {
    let docs = repository().join(DOCS);
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let mut linked = BTreeSet::new();
    for target in link_targets(&index) {
        linked.insert(docs.join(target));
    }
    for page in files(&docs) {
        assert!(
            page.ends_with("README.md") || linked.contains(&page),
            "the index lacks {}",
            page.display()
        );
    }
}

#[test]
fn links_and_paths_that_lead_nowhere_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "README.md",
        &format!(
            "# One\n[a]({DOCS}a.md#how-it-is-done) [b](#one) [c](https://example.org/{DOCS}gone)\n"
        ),
    );
    write(
        &format!("{DOCS}a.md"),
        "## How it is done\n[up](../README.md)\n",
    );
    write(
        "code.rs",
        &format!("// {DOCS}a.md. Elsewhere: other/{DOCS}gone.md\n"),
    );
    assert_eq!(faults(folder.path()), Vec::<String>::new());

    write("code.rs", &format!("// see {DOCS}gone.md.\n"));
    write(
        "more.md",
        "`shared/src/gone.rs`, and with `--features site-agent/cuda`\n",
    );
    write(
        &format!("{DOCS}a.md"),
        "## It is done so\n[up](README.md)\n",
    );
    let found = faults(folder.path()).join("\n");
    assert!(
        found.contains(&format!("code.rs: there is no {DOCS}gone.md")),
        "{found}"
    );
    assert!(found.contains("a.md: there is no README.md"), "{found}");
    assert!(
        found.contains(&format!(
            "README.md: no heading is called {DOCS}a.md#how-it-is-done"
        )),
        "{found}"
    );
    assert!(
        found.contains("more.md: there is no shared/src/gone.rs"),
        "{found}"
    );
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn the_report_page_names_every_metric() {
    let page = repository().join(format!("{DOCS}users/REPORT.md"));
    let page = std::fs::read_to_string(page).unwrap();
    for metric in metrics::case_metrics::METRICS {
        let key = format!("`{}`", metric.key);
        assert!(page.contains(&key), "REPORT.md does not name {key}");
    }
}
