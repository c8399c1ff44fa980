use super::*;
use crate::certificates::{Request, issue};
use protocol::enrol::{PublicKey, binding};

const SESSION: [u8; 32] = [5; 32];
const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn authority() -> (tempfile::TempDir, Enrolment) {
    let folder = tempfile::tempdir().unwrap();
    issue(&Request {
        out: folder.path().to_path_buf(),
        coordinator_names: vec!["localhost".into()],
        sites: Vec::new(),
        days: 30,
    })
    .unwrap();
    let enrolment = Enrolment::open(&folder.path().join("coordinator")).unwrap();
    (folder, enrolment)
}

fn key() -> PublicKey {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    PublicKey::try_from(pair.public_key_raw().to_vec()).unwrap()
}

fn invite(folder: &tempfile::TempDir, site: &str) -> members::Invited {
    let file = MembersFile::of_authority(folder.path());
    let now = members::now();
    file.invite(site, Role::Train, now, now + 60).unwrap()
}

fn join(invited: &members::Invited) -> EnrolRequest {
    let public_key = key();
    EnrolRequest::Join {
        invitation: invited.invitation,
        secret: invited.secret,
        binding: binding(&invited.secret, &SESSION, &public_key),
        public_key,
    }
}

fn ask(enrolment: &Enrolment, request: &EnrolRequest, shown: Option<Shown>) -> EnrolAnswer {
    let exported = SESSION;
    enrolment.answer(&Asked {
        request,
        exported,
        shown,
        from: FROM,
    })
}

fn serial(answer: EnrolAnswer) -> String {
    let EnrolAnswer::Granted(grant) = answer else {
        panic!("{answer:?}")
    };
    transport::certificates::identity(&grant.certificate)
        .unwrap()
        .serial
}

#[test]
fn what_commands_change_is_known_after_the_next_look() {
    let (folder, enrolment) = authority();
    assert!(!enrolment.is_open());
    let invited = invite(&folder, "north");
    enrolment.refresh();
    assert!(enrolment.is_open());
    let serial = serial(ask(&enrolment, &join(&invited), None));
    let site = "north".parse().unwrap();
    let shown = Shown { site, serial };
    assert_eq!(enrolment.refusal(&shown), None);
    assert_eq!(enrolment.role("north"), Some(Role::Train));
    let mut locked = MembersFile::of_authority(folder.path()).lock().unwrap();
    locked.members.revoke("north", members::now());
    locked.save().unwrap();
    enrolment.refresh();
    assert!(
        enrolment
            .refusal(&shown)
            .is_some_and(|reason| reason.contains("revoked"))
    );
    // After a restart too.
    let restarted = Enrolment::open(&folder.path().join("coordinator")).unwrap();
    assert!(restarted.refusal(&shown).is_some());
    // What cannot be read changes nothing.
    std::fs::write(folder.path().join(members::FILE), "{").unwrap();
    enrolment.refresh();
    assert!(enrolment.refusal(&shown).is_some());
    assert!(Enrolment::open(&folder.path().join("coordinator")).is_err());
}

#[test]
fn a_renewal_needs_an_accepted_certificate() {
    let (folder, enrolment) = authority();
    let invited = invite(&folder, "north");
    let first = serial(ask(&enrolment, &join(&invited), None));
    let renew = EnrolRequest::Renew { public_key: key() };
    assert!(matches!(
        ask(&enrolment, &renew, None),
        EnrolAnswer::Refused { .. }
    ));
    let shown = Shown {
        site: "north".parse().unwrap(),
        serial: first.clone(),
    };
    let second = serial(ask(&enrolment, &renew, Some(shown.clone())));
    assert_ne!(first, second);
    let mut locked = MembersFile::of_authority(folder.path()).lock().unwrap();
    locked.members.revoke("north", members::now());
    locked.save().unwrap();
    let refused = ask(&enrolment, &renew, Some(shown));
    assert!(
        matches!(refused, EnrolAnswer::Refused { .. }),
        "before it was looked at again"
    );
}

#[test]
fn an_address_that_asks_too_often_is_refused_whatever_it_asks() {
    let (folder, enrolment) = authority();
    let renew = EnrolRequest::Renew { public_key: key() };
    for _ in 0..10 {
        ask(&enrolment, &renew, None);
    }
    let invited = invite(&folder, "north");
    let answer = ask(&enrolment, &join(&invited), None);
    assert!(
        matches!(&answer, EnrolAnswer::Refused { reason } if reason.contains("too many requests")),
        "{answer:?}"
    );
}

#[test]
fn without_the_authoritys_key_a_token_is_refused_and_not_used_up() {
    let (folder, enrolment) = authority();
    let invited = invite(&folder, "north");
    let key = folder.path().join("ca.key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let request = join(&invited);
    let answer = ask(&enrolment, &request, None);
    assert!(
        matches!(&answer, EnrolAnswer::Refused { reason } if reason.contains("cannot sign")),
        "{answer:?}"
    );
    std::fs::write(&key, kept).unwrap();
    assert!(matches!(
        ask(&enrolment, &request, None),
        EnrolAnswer::Granted(_)
    ));
}
