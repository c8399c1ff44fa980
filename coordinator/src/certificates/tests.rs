use super::*;
use std::collections::BTreeMap;

fn request(out: &Path, sites: &[&str]) -> Request {
    Request {
        out: out.into(),
        coordinator_names: vec!["localhost".into(), "10.0.0.5".into()],
        sites: sites.iter().map(|&site| site.into()).collect(),
        days: 30,
    }
}

/// Every file under a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(path, text);
        }
    }
    found
}

#[test]
fn each_party_gets_a_folder_with_all_it_needs_and_nothing_else() {
    let out = tempfile::tempdir().unwrap();
    let issued = issue(&request(out.path(), &["north", "south"])).unwrap();
    assert!(issued.new_authority && issued.kept.is_empty());
    let names: Vec<String> = files(out.path())
        .keys()
        .map(|path| path.strip_prefix(out.path()).unwrap().display().to_string())
        .collect();
    let party =
        |name: &str| ["ca.pem", "certificate.pem", "key.pem"].map(|file| format!("{name}/{file}"));
    let expected = [
        &["ca.key".to_owned(), "ca.pem".to_owned()][..],
        &party("coordinator"),
        &party("north"),
        &party("south"),
    ];
    assert_eq!(names, expected.concat());
}

#[cfg(unix)]
#[test]
fn keys_are_readable_by_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    issue(&request(out.path(), &["north"])).unwrap();
    for (path, text) in files(out.path()) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let secret = text.contains("PRIVATE KEY");
        assert_eq!(
            secret,
            path.ends_with("ca.key") || path.ends_with("key.pem"),
            "{}",
            path.display()
        );
        assert!(!secret || mode == 0o600, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_second_run_adds_sites_and_changes_nothing() {
    let out = tempfile::tempdir().unwrap();
    issue(&request(out.path(), &["north"])).unwrap();
    let before = files(out.path());
    // The coordinator has its certificate, so its names need not be said again.
    let again = Request {
        coordinator_names: Vec::new(),
        ..request(out.path(), &["north", "west"])
    };
    let issued = issue(&again).unwrap();
    assert!(!issued.new_authority);
    assert_eq!(issued.written, [out.path().join("west")]);
    assert_eq!(
        issued.kept,
        [out.path().join("coordinator"), out.path().join("north")]
    );
    let after = files(out.path());
    assert!(
        before
            .iter()
            .all(|(path, text)| after.get(path) == Some(text))
    );
    assert_eq!(
        after[&out.path().join("west/ca.pem")],
        after[&out.path().join("ca.pem")]
    );
}

#[test]
fn names_that_cannot_work_are_refused_before_anything_is_written() {
    let out = tempfile::tempdir().unwrap();
    for name in ["", "../up", "coordinator", "ca.key", ".hidden", "a b"] {
        let refused = issue(&request(out.path(), &["north", name]));
        assert!(
            matches!(refused, Err(CertificatesError::SiteName(found)) if found == name),
            "{name}"
        );
    }
    let nameless = Request {
        coordinator_names: Vec::new(),
        ..request(out.path(), &["north"])
    };
    assert!(matches!(
        issue(&nameless),
        Err(CertificatesError::NoCoordinatorName)
    ));
    let wrong = Request {
        coordinator_names: vec!["not a host".into()],
        ..request(out.path(), &["north"])
    };
    assert!(matches!(
        issue(&wrong),
        Err(CertificatesError::CoordinatorName { .. })
    ));
    assert!(files(out.path()).is_empty());
}

#[test]
fn an_authority_that_cannot_sign_is_named_and_never_replaced() {
    let (out, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    issue(&request(out.path(), &[])).unwrap();
    issue(&request(other.path(), &[])).unwrap();
    let key = out.path().join("ca.key");
    std::fs::copy(other.path().join("ca.key"), &key).unwrap();
    let before = files(out.path());
    let refused = issue(&request(out.path(), &["north"]));
    assert!(matches!(refused, Err(CertificatesError::Authority { path, .. }) if path == key));
    assert_eq!(files(out.path()), before);
    std::fs::remove_file(&key).unwrap();
    let refused = issue(&request(out.path(), &["north"]));
    assert!(matches!(refused, Err(CertificatesError::Authority { path, .. }) if path == key));
    assert!(!key.exists());
}

#[test]
fn a_site_has_no_address_as_its_name_and_none_that_another_has_in_other_letters() {
    for name in ["10.0.0.5", "192.168.1.1"] {
        let refused = check_site_name(name);
        assert!(
            matches!(refused, Err(CertificatesError::SiteAddress(_))),
            "{name}"
        );
    }
    check_site_name("10.0.0.5.north").unwrap();
    let out = tempfile::tempdir().unwrap();
    let together = issue(&request(out.path(), &["north", "North"]));
    assert!(matches!(together, Err(CertificatesError::Alike { .. })));
    assert!(!out.path().join("north").exists());
    let reserved = issue(&request(out.path(), &["Coordinator"]));
    assert!(matches!(reserved, Err(CertificatesError::SiteName(_))));
    issue(&request(out.path(), &["north"])).unwrap();
    let later = issue(&request(out.path(), &["NORTH"]));
    assert!(matches!(later, Err(CertificatesError::Alike { .. })));
}
