use super::credentials::{NewKey, Received, finish_renewal};
use std::path::Path;

/// A certificate for a key, signed by itself: only the files matter here.
fn certificate(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[cfg(unix)]
#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let first = NewKey::keep(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(NewKey::keep(&path).unwrap().public, first.public);
    assert_ne!(NewKey::make().unwrap().public, first.public);
    std::fs::write(&path, "not a key").unwrap();
    assert!(NewKey::keep(&path).is_err_and(|error| error.path == path));
}

#[test]
fn a_renewed_pair_takes_its_place_wherever_it_was_interrupted() {
    for moved_before in [0, 1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        NewKey::keep(&folder.join("key.pem")).unwrap();
        let received = Received {
            certificate: certificate("old"),
            authority: certificate("authority"),
        };
        received.write(folder).unwrap();
        let renewed = folder.join(".renewed");
        std::fs::create_dir(&renewed).unwrap();
        for (place, name) in ["key.pem", "certificate.pem"].iter().enumerate() {
            let target = if place < moved_before {
                folder
            } else {
                &renewed
            };
            std::fs::write(target.join(name), format!("new {name}")).unwrap();
        }
        finish_renewal(folder).unwrap();
        assert_eq!(read(folder, "key.pem"), "new key.pem");
        assert_eq!(read(folder, "certificate.pem"), "new certificate.pem");
        assert!(!renewed.exists());
        finish_renewal(folder).unwrap();
    }
}

#[test]
fn a_renewal_replaces_key_and_certificate_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    NewKey::keep(&folder.join("key.pem")).unwrap();
    let received = Received {
        certificate: certificate("old"),
        authority: certificate("authority"),
    };
    received.write(folder).unwrap();
    let (key, authority) = (read(folder, "key.pem"), read(folder, "ca.pem"));
    let new = NewKey::make().unwrap();
    new.install(&certificate("new"), folder).unwrap();
    assert_ne!(read(folder, "key.pem"), key);
    assert_eq!(
        NewKey::keep(&folder.join("key.pem")).unwrap().public,
        new.public
    );
    assert!(read(folder, "certificate.pem").contains("bmV3"));
    assert_eq!(read(folder, "ca.pem"), authority);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 3);
}
