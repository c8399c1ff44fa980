use super::*;
use crate::certificates::{Request, issue};
use protocol::enrol::{MOST_WRONG, binding};
use x509_parser::prelude::{FromDer, X509Certificate};

const SESSION: [u8; 32] = [5; 32];

fn authority() -> (tempfile::TempDir, MembersFile, KeyHash) {
    let folder = tempfile::tempdir().unwrap();
    issue(&Request {
        out: folder.path().to_path_buf(),
        coordinator_names: vec!["localhost".into()],
        sites: Vec::new(),
        days: 30,
    })
    .unwrap();
    let certificates = folder.path().join("coordinator");
    let file = MembersFile::of_coordinator(&certificates);
    let hash = authority_of(&certificates).unwrap();
    (folder, file, hash)
}

fn key() -> (rcgen::KeyPair, PublicKey) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let public = PublicKey::try_from(pair.public_key_raw().to_vec()).unwrap();
    (pair, public)
}

fn join(
    file: &MembersFile,
    invited: &Invited,
    key: &PublicKey,
    authority: KeyHash,
) -> Result<Signed, String> {
    let joining = Joining {
        invitation: invited.invitation,
        secret: &invited.secret,
        binding: binding(&invited.secret, &SESSION, key),
        public_key: key,
        exported: &SESSION,
    };
    match file.join(&joining, now(), authority).unwrap() {
        Decision::Signed(signed) => Ok(signed),
        Decision::Refused(reason) => Err(reason),
    }
}

#[test]
fn a_certificate_has_the_invited_name_and_no_right_but_to_be_that_site() {
    let (_folder, file, hash) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let (_, key) = key();
    let signed = join(&file, &invited, &key, hash).unwrap();
    assert_eq!(
        (signed.site.name.as_str(), signed.site.role),
        ("north", Some(Role::Train))
    );
    let (_, parsed) = X509Certificate::from_der(&signed.certificate).unwrap();
    assert_eq!(parsed.public_key().subject_public_key.data, key.bytes());
    let subject: Vec<&str> = parsed
        .subject()
        .iter_common_name()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(
        (subject, parsed.subject().iter_attributes().count()),
        (vec!["north"], 1)
    );
    let names = parsed.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names.len(), 1);
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let days = parsed.validity().not_after.timestamp() - now() as i64;
    assert!((90 * 86_400 - 60..=90 * 86_400).contains(&days), "{days}");
    assert_eq!(parsed.raw_serial().len(), 16);
}

#[test]
fn a_token_works_once_and_its_record_survives_a_restart() {
    let (folder, file, hash) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let (_, first) = key();
    let (_, second) = key();
    let signed = join(&file, &invited, &first, hash).unwrap();
    let again = MembersFile::of_authority(folder.path());
    assert!(join(&again, &invited, &second, hash).is_err_and(|why| why.contains("used before")));
    // The answer was lost: the same key gets another certificate.
    let repeated = join(&again, &invited, &first, hash).unwrap();
    let serials = [&signed, &repeated].map(|signed| identity(&signed.certificate).unwrap().serial);
    assert_ne!(serials[0], serials[1]);
    let members = again.read().unwrap();
    for serial in &serials {
        assert_eq!(members.check("north", serial), Ok(()));
    }
    let mut locked = again.lock().unwrap();
    locked.members.revoke("north", now());
    locked.save().unwrap();
    let refused = file
        .renew("north", &serials[1], &second, now(), hash)
        .unwrap();
    assert!(matches!(refused, Decision::Refused(_)));
}

#[test]
fn wrong_attempts_are_counted_on_the_disk() {
    let (_folder, file, hash) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let wrong = Invited {
        invitation: invited.invitation,
        secret: Secret::new([1; 16]),
    };
    let (_, key) = key();
    for _ in 0..MOST_WRONG {
        assert!(join(&file, &wrong, &key, hash).is_err());
    }
    let refused = join(&file, &invited, &key, hash);
    assert!(refused.is_err_and(|why| why.contains("wrong attempts")));
}

#[test]
fn a_damaged_record_is_an_error_and_never_an_empty_one() {
    let (folder, file, _) = authority();
    assert_eq!(file.read().unwrap(), Members::default());
    file.invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let path = folder.path().join(FILE);
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(
            matches!(file.read(), Err(MembersError::Damaged { .. })),
            "{cut}"
        );
        assert!(file.lock().is_err());
    }
    // A lost one is no empty one either.
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(file.read(), Err(MembersError::Missing { .. })));
    let again = file.invite("south", Role::Train, now(), now() + 60);
    assert!(matches!(again, Err(MembersError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn nothing_is_signed_by_another_authority_than_the_coordinators() {
    let (_folder, file, _) = authority();
    let (_other, _, other) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let (_, key) = key();
    let joining = Joining {
        invitation: invited.invitation,
        secret: &invited.secret,
        binding: binding(&invited.secret, &SESSION, &key),
        public_key: &key,
        exported: &SESSION,
    };
    let refused = file.join(&joining, now(), other);
    assert!(matches!(refused, Err(MembersError::OtherAuthority { .. })));
    // Nothing was used up.
    assert!(
        join(
            &file,
            &invited,
            &key,
            authority_of(&file.folder().join("coordinator")).unwrap()
        )
        .is_ok()
    );
}

#[cfg(unix)]
#[test]
fn the_record_is_for_its_owner_alone_and_holds_no_secret() {
    let (folder, file, _) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let path = folder.path().join(FILE);
    assert_eq!(private::open_to_others(&path), None);
    let secret = serde_json::to_string(&invited.secret).unwrap();
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace(char::is_whitespace, "");
    assert!(!text.contains(secret.trim_matches(['[', ']'])));
}

#[test]
fn a_key_that_is_no_point_of_the_curve_is_refused_and_uses_up_nothing() {
    let (_folder, file, hash) = authority();
    let invited = file
        .invite("north", Role::Train, now(), now() + 60)
        .unwrap();
    let mut bytes = vec![7; 65];
    bytes[0] = 4;
    let no_point = PublicKey::try_from(bytes).unwrap();
    let refused = join(&file, &invited, &no_point, hash);
    assert!(refused.is_err_and(|why| why.contains("curve P-256")));
    let (_, key) = key();
    let signed = join(&file, &invited, &key, hash).unwrap();
    let serial = identity(&signed.certificate).unwrap().serial;
    let refused = file.renew("north", &serial, &no_point, now(), hash);
    assert!(matches!(refused, Ok(Decision::Refused(why)) if why.contains("curve P-256")));
    assert_eq!(file.read().unwrap().sites["north"].certificates.len(), 1);
}

#[test]
fn a_name_that_another_member_has_in_other_letters_is_not_invited() {
    let (folder, file, _) = authority();
    let invite = |site: &str| file.invite(site, Role::Train, now(), now() + 60);
    invite("North").unwrap();
    std::fs::create_dir(folder.path().join("WEST")).unwrap();
    for (site, known) in [("north", "North"), ("west", "WEST")] {
        match invite(site) {
            Err(MembersError::Certificates(error)) => {
                assert!(error.to_string().contains(known), "{error}");
            }
            other => panic!("{site}: {:?}", other.err()),
        }
    }
    assert!(invite("North").is_ok());
}

#[cfg(unix)]
#[test]
fn the_authoritys_folder_is_the_real_one_above_the_certificates() {
    let (folder, file, _) = authority();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("certificates");
    std::os::unix::fs::symlink(folder.path().join("coordinator"), &link).unwrap();
    let roundabout = folder.path().join("coordinator/../coordinator/.");
    for certificates in [link, roundabout] {
        let found = MembersFile::of_coordinator(&certificates);
        assert_eq!(found.folder(), file.folder(), "{}", certificates.display());
    }
    assert!(file.path().is_absolute());
}

#[cfg(unix)]
#[test]
fn root_does_not_take_the_record_away_from_the_user_who_runs_the_coordinator() {
    let (folder, file, _) = authority();
    let revoke = || {
        let mut locked = file.lock()?;
        locked.members.revoke("north", now());
        locked.save()
    };
    let give = |name: &str| std::os::unix::fs::chown(folder.path().join(name), Some(65_534), None);
    if give("ca.key").is_err() {
        println!("SKIPPED: only root can give a file to another user");
        return;
    }
    // Before there is a record.
    assert!(matches!(revoke(), Err(MembersError::OtherUser { path }) if path.ends_with("ca.key")));
    assert!(!file.path().exists());
    std::os::unix::fs::chown(folder.path().join("ca.key"), Some(0), None).unwrap();
    revoke().unwrap();
    give(FILE).unwrap();
    let before = std::fs::read(file.path()).unwrap();
    assert!(matches!(revoke(), Err(MembersError::OtherUser { path }) if path.ends_with(FILE)));
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}
