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
    let enrolment = open(&folder, &[]).unwrap();
    (folder, enrolment)
}

fn open(folder: &tempfile::TempDir, expected: &[&str]) -> Result<Enrolment, CertificateError> {
    let expected = expected.iter().map(|name| name.parse().unwrap()).collect();
    Enrolment::open(&folder.path().join("coordinator"), expected)
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
    ask_from(enrolment, request, shown, FROM)
}

fn ask_from(
    enrolment: &Enrolment,
    request: &EnrolRequest,
    shown: Option<Shown>,
    from: IpAddr,
) -> EnrolAnswer {
    let exported = SESSION;
    enrolment.answer(&Asked {
        request,
        exported,
        shown,
        from,
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
    let restarted = open(&folder, &[]).unwrap();
    assert!(restarted.refusal(&shown).is_some());
    // What cannot be read changes nothing.
    std::fs::write(folder.path().join(members::FILE), "{").unwrap();
    enrolment.refresh();
    assert!(enrolment.refusal(&shown).is_some());
    assert!(open(&folder, &[]).is_err());
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

/// A certificate of north that was shown, by its serial number.
fn north(serial: String) -> Shown {
    let site = "north".parse().unwrap();
    Shown { site, serial }
}

#[test]
fn a_site_that_is_no_longer_expected_gets_no_new_certificate() {
    let (folder, enrolment) = authority();
    let shown = north(serial(ask(
        &enrolment,
        &join(&invite(&folder, "north")),
        None,
    )));
    let renew = EnrolRequest::Renew { public_key: key() };
    let restarted = open(&folder, &["south"]).unwrap();
    let answer = ask(&restarted, &renew, Some(shown.clone()));
    assert!(
        matches!(&answer, EnrolAnswer::Refused { reason } if reason.contains("not one of")),
        "{answer:?}"
    );
    let expected = open(&folder, &["south", "north"]).unwrap();
    serial(ask(&expected, &renew, Some(shown)));
}

#[test]
fn renewals_count_for_each_site_and_not_for_an_address_that_many_share() {
    let (folder, enrolment) = authority();
    let renew = EnrolRequest::Renew { public_key: key() };
    for number in 0..12 {
        let site = format!("site-{number}");
        let serial = serial(ask_from(
            &enrolment,
            &join(&invite(&folder, &site)),
            None,
            IpAddr::from([192, 0, 2, number]),
        ));
        let site = site.parse().unwrap();
        let answer = ask(&enrolment, &renew, Some(Shown { site, serial }));
        assert!(matches!(answer, EnrolAnswer::Granted(_)), "{answer:?}");
    }
    let site: SiteName = "site-0".parse().unwrap();
    for _ in 0..10 {
        let serial = "00".into();
        let shown = Shown {
            site: site.clone(),
            serial,
        };
        ask(&enrolment, &renew, Some(shown));
    }
    let serial = "00".into();
    let answer = ask(&enrolment, &renew, Some(Shown { site, serial }));
    assert!(
        matches!(&answer, EnrolAnswer::Refused { reason } if reason.contains("from this site")),
        "{answer:?}"
    );
}

#[test]
fn a_damaged_record_is_said_once_until_something_changes() {
    let (folder, enrolment) = authority();
    invite(&folder, "north");
    enrolment.refresh();
    let path = folder.path().join(members::FILE);
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, "{").unwrap();
    let problem = enrolment.read_again();
    assert!(problem.is_some() && enrolment.is_news(problem.as_ref()));
    let problem = enrolment.read_again();
    assert!(!enrolment.is_news(problem.as_ref()));
    std::fs::remove_file(&path).unwrap();
    let problem = enrolment.read_again();
    assert!(enrolment.is_news(problem.as_ref()), "{problem:?}");
    std::fs::write(&path, sound).unwrap();
    assert_eq!(enrolment.read_again(), None);
    assert!(enrolment.is_news(None) && !enrolment.is_news(None));
}

#[test]
fn a_copied_key_that_renews_itself_is_noticed_and_a_lost_answer_is_not_mistaken_for_one() {
    let (folder, enrolment) = authority();
    let first = north(serial(ask(
        &enrolment,
        &join(&invite(&folder, "north")),
        None,
    )));
    enrolment.note_use(&first);
    let renew = || EnrolRequest::Renew { public_key: key() };
    // The answer is lost, and the site asks again.
    ask(&enrolment, &renew(), Some(first.clone()));
    let own = north(serial(ask(&enrolment, &renew(), Some(first.clone()))));
    enrolment.note_use(&own);
    enrolment.note_use(&own);
    assert!(!enrolment.suspects("north"));
    // Who has copied the first key renews it too.
    ask(&enrolment, &renew(), Some(first));
    assert!(enrolment.suspects("north"));
    // A restarted coordinator notices it when both are in use.
    let (folder, enrolment) = authority();
    let first = north(serial(ask(
        &enrolment,
        &join(&invite(&folder, "north")),
        None,
    )));
    let own = north(serial(ask(&enrolment, &renew(), Some(first.clone()))));
    let copied = north(serial(ask(&enrolment, &renew(), Some(first))));
    let restarted = open(&folder, &[]).unwrap();
    restarted.note_use(&own);
    assert!(!restarted.suspects("north"));
    restarted.note_use(&copied);
    assert!(restarted.suspects("north"));
}
