//! Code that stands in both binaries because they may not see each other, and `shared` does no IO.

#[test]
fn both_ends_move_frames_and_files_by_the_same_words() {
    let coordinator = include_str!("../../coordinator/src/server/wire.rs");
    let site = include_str!("../../site-agent/src/link/wire.rs");
    assert_eq!(coordinator, site);
}

#[test]
fn both_ends_carry_datagrams_by_the_same_words() {
    let coordinator = include_str!("../../coordinator/src/server/tunnel/relay.rs");
    let site = include_str!("../../site-agent/src/link/tunnel/relay.rs");
    assert_eq!(coordinator, site);
}

#[test]
fn both_ends_heed_the_same_signals() {
    let coordinator = include_str!("../../coordinator/src/signal.rs");
    let site = include_str!("../../site-agent/src/signal.rs");
    assert_eq!(coordinator, site);
}

#[test]
fn both_ends_say_when_a_certificate_is_valid_by_the_same_words() {
    let coordinator = include_str!("../../coordinator/src/server/clock.rs");
    let site = include_str!("../../site-agent/src/link/clock.rs");
    assert_eq!(coordinator, site);
}

#[test]
fn both_ends_keep_files_private_in_the_same_way() {
    let coordinator = include_str!("../../coordinator/src/private.rs");
    let site = include_str!("../../site-agent/src/private.rs");
    assert_eq!(coordinator, site);
}
