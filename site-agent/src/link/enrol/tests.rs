use super::check::{self, NotTaken};
use super::credentials::{Joining, NewKey, finish_renewal};
use protocol::enrol::InvitationId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::Duration;
use transport::certificates::to_pem;

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn joining(folder: &Path, invitation: u8) -> Joining<'_> {
    Joining {
        folder,
        invitation: InvitationId([invitation; 8]),
    }
}

/// The folder of a site that has joined. Only the files matter, not what is in the certificates.
fn joined(folder: &Path) -> NewKey {
    let joining = joining(folder, 1);
    let key = joining.key().unwrap();
    joining.finish(&key, b"old", b"authority").unwrap();
    key
}

/// An authority, and certificates that it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose, year: i32) -> Vec<u8> {
        self.sign_key(&KeyPair::generate().unwrap(), name, usage, year)
    }

    fn sign_key(
        &self,
        key: &KeyPair,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        year: i32,
    ) -> Vec<u8> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().into()).unwrap();
        roots
    }
}

#[test]
fn a_renewed_certificate_that_would_shut_the_site_out_is_not_taken() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (own, foreign) = (Authority::new(), Authority::new());
    let before = [CertificateDer::from(own.sign("north", ClientAuth, 2090))];
    let judge = |certificate: Vec<u8>| check::renewed(&certificate, own.roots(), &before);
    assert_eq!(judge(own.sign("north", ClientAuth, 2091)), Ok(()));
    for wrong in [
        foreign.sign("north", ClientAuth, 2091),
        own.sign("north", ServerAuth, 2091),
        own.sign("north", ClientAuth, 2021),
        b"nothing".to_vec(),
    ] {
        let refused = judge(wrong);
        assert!(matches!(refused, Err(NotTaken::Signer(_))), "{refused:?}");
    }
    let other = judge(own.sign("south", ClientAuth, 2091));
    assert!(matches!(other, Err(NotTaken::Name { .. })), "{other:?}");
    let sooner = judge(own.sign("north", ClientAuth, 2090));
    assert_eq!(sooner, Err(NotTaken::NoLonger));
}

#[test]
fn a_first_certificate_is_of_the_tokens_authority_and_for_the_name_that_was_said() {
    use ExtendedKeyUsagePurpose::ClientAuth;
    let (own, foreign) = (Authority::new(), Authority::new());
    let certificate = own.sign("north", ClientAuth, 2090);
    let judge = |authority: &Authority, site: &str| {
        check::first(&certificate, &authority.certificate, site)
    };
    assert_eq!(judge(&own, "north"), Ok(()));
    assert!(matches!(judge(&foreign, "north"), Err(NotTaken::Signer(_))));
    assert!(matches!(judge(&own, "south"), Err(NotTaken::Name { .. })));
}

#[cfg(unix)]
#[test]
fn a_join_that_is_repeated_uses_the_key_that_it_made_and_only_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = joining(folder, 1).key().unwrap();
    let waiting = folder.join(".joining/key.pem");
    let mode = std::fs::metadata(&waiting).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(joining(folder, 1).key().unwrap().public, first.public);
    // Also after the answer came, because it may be asked for again.
    joining(folder, 1)
        .finish(&first, b"certificate", b"authority")
        .unwrap();
    assert!(!waiting.exists());
    assert_eq!(joining(folder, 1).key().unwrap().public, first.public);
    // A later invitation is for a new key, and the old pair stays until it is there.
    let before = read(folder, "key.pem");
    let second = joining(folder, 2).key().unwrap();
    assert_ne!(second.public, first.public);
    assert_eq!(read(folder, "key.pem"), before);
    assert_eq!(joining(folder, 2).key().unwrap().public, second.public);
    joining(folder, 2)
        .finish(&second, b"newer", b"authority")
        .unwrap();
    assert_ne!(read(folder, "key.pem"), before);
    assert_eq!(joining(folder, 2).key().unwrap().public, second.public);
}

#[cfg(unix)]
#[test]
fn a_key_that_someone_else_put_into_the_folder_is_never_used() {
    use std::os::unix::fs::PermissionsExt;
    let planted = NewKey::make().unwrap();
    let plant = |path: &Path| {
        let elsewhere = tempfile::tempdir().unwrap();
        planted.install(b"planted", elsewhere.path()).unwrap();
        std::fs::copy(elsewhere.path().join("key.pem"), path).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    plant(&folder.join("key.pem"));
    let refused = joining(folder, 1).key().err().unwrap();
    assert!(refused.path.ends_with("key.pem") && refused.reason.contains("move it away"));
    // In a folder that looks like a site's, it is replaced.
    std::fs::write(folder.join("certificate.pem"), to_pem(b"planted")).unwrap();
    std::fs::write(folder.join("ca.pem"), to_pem(b"authority")).unwrap();
    let key = joining(folder, 1).key().unwrap();
    assert_ne!(key.public, planted.public);
    // Neither one that waits where this program would let it wait, if others could change it.
    let waiting = folder.join(".joining/key.pem");
    plant(&waiting);
    for path in [&waiting, &folder.join(".joining")] {
        let was = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = joining(folder, 1).key().err().unwrap();
        assert!(refused.reason.contains("other users"), "{refused}");
        std::fs::set_permissions(path, was).unwrap();
    }
    if std::os::unix::fs::chown(&waiting, Some(65_534), None).is_ok() {
        assert!(joining(folder, 1).key().is_err());
    }
}

#[test]
fn a_renewed_pair_takes_its_place_wherever_it_was_interrupted() {
    for moved_before in [0, 1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        joined(folder);
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

/// An agent that connected in that moment would have ended.
#[test]
fn a_pair_that_is_read_while_another_program_moves_it_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let fitting = authority.sign_key(&key, "north", ExtendedKeyUsagePurpose::ClientAuth, 2090);
    let before = authority.sign("north", ExtendedKeyUsagePurpose::ClientAuth, 2089);
    std::fs::write(folder.join("ca.pem"), to_pem(&authority.certificate)).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let certificate = folder.join("certificate.pem");
    std::fs::write(&certificate, to_pem(&before)).unwrap();
    assert!(crate::link::Link::check(folder).is_err());
    let draft = folder.join("draft");
    std::fs::write(&draft, to_pem(&fitting)).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| crate::link::Link::check(folder));
        std::thread::sleep(Duration::from_millis(50));
        std::fs::rename(&draft, &certificate).unwrap();
        reading.join().unwrap().unwrap();
    });
}

#[test]
fn a_renewal_replaces_key_and_certificate_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let first = joined(folder);
    let (key, authority) = (read(folder, "key.pem"), read(folder, "ca.pem"));
    let new = NewKey::make().unwrap();
    assert_ne!(new.public, first.public);
    new.install(b"new", folder).unwrap();
    assert_ne!(read(folder, "key.pem"), key);
    assert!(read(folder, "certificate.pem").contains("bmV3"));
    assert_eq!(read(folder, "ca.pem"), authority);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, [".joining", "ca.pem", "certificate.pem", "key.pem"]);
}
