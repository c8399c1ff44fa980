//! The status after each notification.

use super::*;
use crate::status::state::{Phase, SiteState};
use crate::status::{RoundStatus, now, text};
use protocol::case::Cases;

#[test]
fn a_sites_state_follows_what_it_says() {
    let status = busy();
    let north = &status.sites["north"];
    assert_eq!(
        (north.state, north.done, north.total, north.connected),
        (SiteState::Training, 3, 8, true)
    );
    assert_eq!(
        (north.loss, north.slices_per_second),
        (Some(0.25), Some(88.4))
    );
    assert_eq!(
        (north.last_progress, north.sequences.as_deref()),
        (Some(1006.0), Some(&["flair".to_string()][..]))
    );
    assert_eq!(north.cases.unwrap().skipped, 1);
    assert_eq!(status.sites["harbour"].state, SiteState::Expected);
    let south = &status.sites["south"];
    assert_eq!((south.state, south.failures), (SiteState::Failed, 1));
    assert_eq!(
        status.troubles[0].reason,
        "failed: the <b>loss</b> is not a number"
    );
}

#[test]
fn rounds_come_from_the_facts_and_survive_what_happens() {
    let (mut status, folder) = (busy(), run_folder());
    let run = &history::with_all_rounds(status.clone(), folder.path()).runs[0];
    assert_eq!(
        (
            run.finished,
            run.rounds.len(),
            run.rounds[1].losses["south"]
        ),
        (2, 2, 0.375)
    );
    assert_eq!(
        run.task.as_ref().map(|task| (task.round, task.since)),
        Some((3, 1004.0))
    );
    status.apply_checkpoint(&checkpoint(3));
    status.apply(
        &Notification::RoundFinished {
            run: RunId(0),
            round: 3,
            updates: 2,
            seconds: 6.0,
        },
        1011.0,
    );
    assert_eq!(
        (status.runs[0].rounds.len(), status.runs[0].task.clone()),
        (1, None),
        "the others are on the disk"
    );
    let whole = history::with_all_rounds(status.clone(), folder.path());
    assert_eq!(
        whole.runs[0].rounds,
        [1, 2, 3].map(|round| RoundStatus::from(&record(round)))
    );
    status.apply(
        &Notification::Evaluating {
            run: RunId(0),
            round: 3,
            cases: Cases::Validation,
        },
        1012.0,
    );
    let site: SiteName = "north".parse().unwrap();
    let scoring = progress(TaskKind::Evaluate(Cases::Validation), 8);
    status.apply(
        &Notification::Progress {
            site: site.clone(),
            progress: scoring,
        },
        1013.0,
    );
    assert_eq!(status.sites["north"].state, SiteState::Scoring);
    status.apply(
        &Notification::Validated {
            run: RunId(0),
            round: 3,
            score: None,
            best: true,
        },
        1014.0,
    );
    assert_eq!(status.sites["north"].state, SiteState::Ready);
}

#[test]
fn a_round_that_cannot_be_read_is_a_trouble_and_hides_nothing_else() {
    let (mut status, folder) = (busy(), run_folder());
    status.apply_checkpoint(&checkpoint(3));
    std::fs::write(
        folder.path().join("records/federation/round-0001.json"),
        "torn",
    )
    .unwrap();
    let whole = history::with_all_rounds(status, folder.path());
    assert_eq!(
        whole.runs[0]
            .rounds
            .iter()
            .map(|round| round.round)
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(whole.runs[0].totals.bytes, 12_000_000);
    let trouble = whole.troubles.back().unwrap();
    assert!(
        trouble.at == 1010.0 && trouble.reason.contains("round-0001.json is damaged"),
        "{trouble:?}"
    );
}

#[test]
fn a_dropped_site_stays_dropped_whatever_comes_of_it() {
    let mut status = busy();
    let site: SiteName = "north".parse().unwrap();
    status.apply(&Notification::Dropped { site: site.clone() }, 1011.0);
    let reason = "dropped by the operator".to_string();
    status.apply(
        &Notification::Failed {
            site: site.clone(),
            reason: reason.clone(),
        },
        1011.0,
    );
    status.apply(
        &Notification::Left {
            site,
            reason: "closed".into(),
        },
        1012.0,
    );
    let north = &status.sites["north"];
    assert_eq!(
        (north.state, north.connected, north.reason.as_ref()),
        (SiteState::Dropped, false, Some(&reason))
    );
    assert_eq!(status.troubles.len(), 2, "it is told once");
    let mut later = Status::new(&federation(), now());
    later.apply_checkpoint(&Checkpoint {
        dropped: vec!["north".parse().unwrap()],
        ..checkpoint(1)
    });
    assert_eq!(later.sites["north"].state, SiteState::Dropped);
}

#[test]
fn leaving_a_finished_federation_is_no_trouble_and_troubles_are_bounded() {
    let mut status = busy();
    for second in 0..300 {
        status.apply(
            &Notification::Left {
                site: "north".parse().unwrap(),
                reason: "gone".into(),
            },
            f64::from(second),
        );
    }
    assert_eq!(
        (status.troubles.len(), status.troubles[99].at),
        (100, 299.0)
    );
    status.apply(&Notification::Finished, 1020.0);
    status.apply(
        &Notification::Left {
            site: "south".parse().unwrap(),
            reason: "done".into(),
        },
        1021.0,
    );
    assert_eq!(
        (status.phase, status.troubles[99].at),
        (Phase::Finished, 299.0)
    );
}

#[test]
fn a_program_reads_what_was_written() {
    let text = serde_json::to_string(&busy()).unwrap();
    let back: Status = serde_json::from_str(&text).unwrap();
    assert_eq!(back, busy());
}

#[test]
fn a_terminal_is_told_in_words() {
    let mut status = busy();
    status.paused = true;
    let words = text::write(&status, Some(([127, 0, 0, 1], 8433).into()));
    for wanted in [
        "metastases: paused; round 3 of 6, training for 6.0 s",
        "page: http://127.0.0.1:8433/",
        "north    train  training 3 of 8 (by TLS)",
        "key exchange X25519MLKEM768: north",
        "88        0.2500  4.0 s ago      flair",
        "harbour  -      expected",
        "failed: the <b>loss</b> is not a number",
        "2      12.5 s  4.0 MB  0.2500      0.4375     harbour: no progress for 600 s",
        "00:16:43  south failed",
    ] {
        assert!(words.contains(wanted), "{wanted:?} is not in\n{words}");
    }
    status.phase = Phase::Away;
    assert!(text::write(&status, None).contains("no coordinator runs it"));
}
