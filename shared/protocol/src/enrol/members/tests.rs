use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;
const SESSION: [u8; 32] = [5; 32];

fn key(first: u8) -> PublicKey {
    let mut bytes = vec![first; 65];
    bytes[0] = 4;
    PublicKey::try_from(bytes).unwrap()
}

fn secret(of: u8) -> Secret {
    Secret::new([of; 16])
}

/// An invitation whose id and secret are those of a number.
fn invite(members: &mut Members, number: u8, site: &str) {
    let new = NewInvitation {
        id: InvitationId([number; 8]),
        secret: secret(number),
        site: site.into(),
        role: Role::Train,
        expires: NOW + 48 * HOUR,
    };
    members.invite(new, NOW);
}

/// A request for an invitation, with a secret, for a key.
fn ask(
    members: &mut Members,
    invitation: u8,
    secret_of: u8,
    public_key: u8,
    now: u64,
) -> Result<Site, JoinRefusal> {
    let (secret, public_key) = (secret(secret_of), key(public_key));
    let joining = Joining {
        invitation: InvitationId([invitation; 8]),
        secret: &secret,
        binding: binding(&secret, &SESSION, &public_key),
        public_key: &public_key,
        exported: &SESSION,
    };
    members.judge(&joining, now)
}

fn north() -> Site {
    Site {
        name: "north".into(),
        role: Some(Role::Train),
    }
}

fn certificate(serial: &str) -> Certificate {
    Certificate {
        serial: serial.into(),
        until: NOW + 90 * 24 * HOUR,
        renews: None,
    }
}

fn renewed(serial: &str, renews: &str) -> Certificate {
    Certificate {
        renews: Some(renews.into()),
        ..certificate(serial)
    }
}

#[test]
fn a_token_lets_one_key_in_and_answers_the_same_key_again() {
    let mut members = Members::default();
    assert!(!members.is_open(NOW));
    invite(&mut members, 1, "north");
    assert!(members.is_open(NOW));
    assert_eq!(ask(&mut members, 1, 1, 7, NOW), Ok(north()));
    assert_eq!(ask(&mut members, 1, 1, 8, NOW), Err(JoinRefusal::Used));
    assert_eq!(ask(&mut members, 1, 1, 7, NOW + HOUR - 1), Ok(north()));
    assert!(members.is_open(NOW + HOUR - 1) && !members.is_open(NOW + HOUR));
    assert_eq!(
        ask(&mut members, 1, 1, 7, NOW + HOUR),
        Err(JoinRefusal::Used)
    );
    let expired = ask(&mut members, 1, 1, 7, NOW + 48 * HOUR);
    assert_eq!(expired, Err(JoinRefusal::Expired));
    assert_eq!(members.invitations[0].state(NOW), InvitationState::Used);
}

#[test]
fn renewals_that_do_not_arrive_do_not_shut_the_site_out() {
    let mut members = Members::default();
    members.revoke("north", NOW);
    members.certified(&north(), certificate("shown"), NOW);
    for number in 0..40 {
        let renewed = renewed(&format!("{number:02}"), "shown");
        members.certified(&north(), renewed, NOW);
    }
    assert_eq!(members.check("north", "shown"), Ok(()));
    assert_eq!(members.check("north", "39"), Ok(()));
    assert!(members.check("north", "00").is_err());
}

#[test]
fn two_certificates_that_only_a_copied_key_can_both_use_are_rivals() {
    let mut members = Members::default();
    members.certified(&north(), certificate("first"), NOW);
    members.certified(&north(), renewed("second", "first"), NOW);
    members.certified(&north(), renewed("third", "second"), NOW);
    assert_eq!(members.rivals("north", "first"), ["second"]);
    assert_eq!(members.rivals("north", "second"), ["third"]);
    assert!(members.rivals("north", "third").is_empty());
    members.certified(&north(), renewed("other", "first"), NOW);
    assert_eq!(members.rivals("north", "second"), ["third", "other"]);
    assert_eq!(members.rivals("north", "other"), ["second"]);
    // Two invitations: the earlier certificate is used until the site joins with the later token.
    members.certified(&north(), certificate("invited"), NOW);
    assert!(members.rivals("north", "invited").is_empty());
    assert!(members.rivals("south", "first").is_empty());
}

#[test]
fn a_name_in_other_letters_is_found_whether_invited_or_joined() {
    let mut members = Members::default();
    invite(&mut members, 1, "North");
    assert_eq!(members.alike("north"), Some("North"));
    assert_eq!(members.alike("North"), None);
    members.certified(&north(), certificate("01"), NOW);
    assert_eq!(members.alike("NORTH"), Some("north"));
    assert_eq!(members.alike("south"), None);
}

#[test]
fn a_site_is_live_while_a_certificate_of_it_is_accepted_and_valid() {
    let mut members = Members::default();
    let until = certificate("01").until;
    members.certified(&north(), certificate("01"), NOW);
    assert_eq!(members.valid_until("north", NOW), Some(until));
    assert_eq!(members.valid_until("north", until), None);
    members.revoke("north", NOW);
    assert_eq!(members.valid_until("north", NOW), None);
    assert_eq!(members.valid_until("south", NOW), None);
}

#[test]
fn an_expired_token_lets_no_one_in() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    let last = NOW + 48 * HOUR;
    assert!(members.is_open(last - 1) && !members.is_open(last));
    assert_eq!(ask(&mut members, 1, 1, 7, last), Err(JoinRefusal::Expired));
    assert_eq!(ask(&mut members, 1, 1, 7, last - 1), Ok(north()));
}

#[test]
fn wrong_secrets_close_an_invitation_and_learn_nothing_before() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    for _ in 0..MOST_WRONG {
        assert_eq!(ask(&mut members, 1, 2, 7, NOW), Err(JoinRefusal::Unknown));
    }
    assert_eq!(ask(&mut members, 1, 1, 7, NOW), Err(JoinRefusal::Closed));
    assert!(!members.is_open(NOW));
    // Who guesses does not learn that it is closed now, and changes nothing.
    let before = members.clone();
    assert_eq!(ask(&mut members, 1, 2, 7, NOW), Err(JoinRefusal::Unknown));
    assert_eq!(members, before);
    // An invitation that does not exist looks the same as one with another secret.
    assert_eq!(ask(&mut members, 9, 9, 7, NOW), Err(JoinRefusal::Unknown));
}

#[test]
fn a_request_copied_into_another_session_is_refused_and_counted() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    let (secret, public_key) = (secret(1), key(7));
    let joining = Joining {
        invitation: InvitationId([1; 8]),
        secret: &secret,
        binding: binding(&secret, &SESSION, &public_key),
        public_key: &public_key,
        exported: &[6; 32],
    };
    assert_eq!(members.judge(&joining, NOW), Err(JoinRefusal::Binding));
    let other = key(8);
    let joining = Joining {
        public_key: &other,
        exported: &SESSION,
        ..joining
    };
    assert_eq!(members.judge(&joining, NOW), Err(JoinRefusal::Binding));
    assert_eq!(members.invitations[0].wrong, 2);
    assert_eq!(members.invitations[0].state(NOW), InvitationState::Open);
}

#[test]
fn a_newer_invitation_withdraws_the_open_one_of_its_site_only() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    invite(&mut members, 2, "south");
    invite(&mut members, 3, "north");
    assert_eq!(ask(&mut members, 1, 1, 7, NOW), Err(JoinRefusal::Unknown));
    assert!(ask(&mut members, 2, 2, 7, NOW).is_ok());
    assert_eq!(ask(&mut members, 3, 3, 7, NOW), Ok(north()));
}

#[test]
fn a_revoked_site_is_refused_until_it_is_invited_again() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    ask(&mut members, 1, 1, 7, NOW).unwrap();
    members.certified(&north(), certificate("01"), NOW);
    assert_eq!(members.check("north", "01"), Ok(()));
    // One that `coordinator init` made.
    assert_eq!(members.check("north", "ff"), Ok(()));
    assert_eq!(members.check("stranger", "01"), Ok(()));
    members.revoke("north", NOW + HOUR);
    let revoked = Err(MemberRefusal::Revoked("north".into()));
    assert_eq!(members.check("north", "01"), revoked);
    assert_eq!(members.check("north", "ff"), revoked);
    assert!(members.renewal("north", "01").is_err());
    // The key that used the token gets no other certificate with it.
    assert_eq!(
        ask(&mut members, 1, 1, 7, NOW + HOUR),
        Err(JoinRefusal::Unknown)
    );
    invite(&mut members, 2, "north");
    ask(&mut members, 2, 2, 8, NOW + 2 * HOUR).unwrap();
    members.certified(&north(), certificate("02"), NOW + 2 * HOUR);
    assert_eq!(members.check("north", "02"), Ok(()));
    assert_eq!(members.check("north", "01"), revoked);
    assert_eq!(members.renewal("north", "02"), Ok(north()));
}

#[test]
fn the_record_is_kept_without_any_secret() {
    let mut members = Members::default();
    invite(&mut members, 1, "north");
    ask(&mut members, 1, 1, 7, NOW).unwrap();
    members.certified(&north(), certificate("01"), NOW);
    let text = serde_json::to_string(&members).unwrap();
    assert_eq!(serde_json::from_str::<Members>(&text).unwrap(), members);
    let bytes = serde_json::to_string(&[1u8; 16]).unwrap();
    assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
}

/// What may happen to the record.
#[derive(Clone, Debug)]
enum Step {
    Invite,
    Ask { secret: u8, key: u8 },
    Revoke,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Invite),
        (1u8..6, 1u8..4).prop_map(|(secret, key)| Step::Ask { secret, key }),
        Just(Step::Revoke),
        (1u64..30 * HOUR).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens, a token lets in one key, and only while it may.
    #[test]
    fn no_history_lets_a_second_key_in(steps in prop::collection::vec(step(), 1..40)) {
        let mut members = Members::default();
        let mut now = NOW;
        let mut newest = 0;
        let mut until = BTreeMap::new();
        let mut users: BTreeMap<u8, u8> = BTreeMap::new();
        let mut revoked = BTreeMap::new();
        for step in steps {
            match step {
                Step::Invite if newest < 200 => {
                    newest += 1;
                    let id = InvitationId([newest; 8]);
                    let secret = secret(newest);
                    let expires = now + 48 * HOUR;
                    let (site, role) = ("north".into(), Role::Train);
                    members.invite(NewInvitation { id, secret, site, role, expires }, now);
                    until.insert(newest, expires);
                }
                Step::Invite => {}
                Step::Ask { secret, key } => {
                    let Ok(site) = ask(&mut members, secret, secret, key, now) else { continue };
                    prop_assert_eq!(&site.name, "north");
                    prop_assert!(now < until[&secret], "an expired token");
                    prop_assert!(!revoked.contains_key(&secret), "a revoked token");
                    prop_assert_eq!(*users.entry(secret).or_insert(key), key);
                }
                Step::Revoke => {
                    members.revoke("north", now);
                    for number in 1..=newest {
                        revoked.insert(number, now);
                    }
                }
                Step::Wait(seconds) => now += seconds,
            }
        }
    }
}
