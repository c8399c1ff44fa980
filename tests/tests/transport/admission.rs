//! Who is let in, and what the others are told.

use crate::stage::{Stage, certify, hello, soon};
use coordinator::certificates::{Request, issue};
use protocol::message::PROTOCOL;
use site_agent::link::{Link, LinkConfig, LinkError};
use std::path::Path;
use std::time::Duration;

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let mut stage = Stage::open(4, &[]).await;
    certify(&stage.path("other"), "127.0.0.1", &["north"]);
    let theirs = LinkConfig {
        certificates: stage.path("other/north"),
        ..stage.link("north")
    };
    let refusal = stage.refusal(theirs.clone()).await;
    assert!(
        matches!(refusal, LinkError::TheirCertificate { .. }),
        "{refusal}"
    );
    // The same site, told to trust our authority: now it is the coordinator that refuses.
    copy(&stage.path("pki/ca.pem"), &stage.path("other/north/ca.pem"));
    let refusal = stage.refusal(theirs).await;
    assert_eq!(
        refusal.to_string(),
        "the coordinator does not accept our certificate: it is not from the federation's authority"
    );
    assert!(!refusal.again());
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named_as_such() {
    let mut stage = Stage::open(4, &[]).await;
    let (out, sites) = (stage.path("pki"), vec!["late".to_owned()]);
    issue(&Request {
        out,
        coordinator_names: Vec::new(),
        sites,
        days: 0,
    })
    .unwrap();
    // Certificates count in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refusal = stage.refusal(stage.link("late")).await;
    let words = refusal.to_string();
    let expired = "the coordinator does not accept our certificate: it has expired, or is not \
                   valid yet: it is ";
    assert!(words.starts_with(expired), "{words}");
    assert!(words.contains(" by this machine's clock"), "{words}");
    assert!(
        words.contains("this site's certificate is valid from") && words.contains(" until "),
        "{words}"
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_by_another_name_is_not_trusted() {
    let mut stage = Stage::named("elsewhere.example", 4, &[]).await;
    let refusal = stage.refusal(stage.link("north")).await;
    assert!(
        matches!(&refusal, LinkError::TheirCertificate { reason } if reason.contains("127.0.0.1")),
        "{refusal}"
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_works_on_its_own_side_only() {
    let mut stage = Stage::open(4, &[]).await;
    let refusal = stage.refusal(stage.link("coordinator")).await;
    assert!(
        matches!(refusal, LinkError::OurCertificate { .. }),
        "{refusal}"
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_good_certificate_is_refused_by_name() {
    let mut stage = Stage::open(4, &["north", "west"]).await;
    let refusal = stage.refusal(stage.link("south")).await;
    assert_eq!(
        refusal.to_string(),
        "the coordinator refuses this site: south is not one of this federation's sites"
    );
    assert!(!refusal.again());
    assert!(stage.is_quiet());
    stage.join("west").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_protocol_is_refused_with_both_numbers() {
    let mut stage = Stage::open(4, &[]).await;
    let mut words = hello();
    words.protocol = PROTOCOL + 8;
    let refusal = soon(Link::connect(stage.link("north"), words))
        .await
        .err()
        .unwrap();
    assert_eq!(
        refusal.to_string(),
        format!(
            "the coordinator does not speak our protocol: the site speaks protocol {}, the \
             coordinator {PROTOCOL}",
            PROTOCOL + 8
        )
    );
    assert!(stage.is_quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_addresses_and_missing_files_are_named() {
    let stage = Stage::open(4, &[]).await;
    let nowhere = LinkConfig {
        coordinator: "no-port".into(),
        ..stage.link("north")
    };
    assert!(matches!(
        stage.refusal(nowhere).await,
        LinkError::Address { .. }
    ));
    std::fs::remove_file(stage.path("pki/north/key.pem")).unwrap();
    match stage.refusal(stage.link("north")).await {
        LinkError::Certificates(error) => assert_eq!(error.path, stage.path("pki/north/key.pem")),
        other => panic!("{other}"),
    }
}
