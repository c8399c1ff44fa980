use super::*;
use crate::case::{Cases, Role};
use crate::identity::tests::site_name;
use crate::identity::{SiteName, Version};
use crate::message::{EvaluationRequest, Hello, PROTOCOL, Progress, Trained};
use crate::outcome::SiteScores;
use crate::site;
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::World;

mod control;
mod rollback;
mod stragglers;
mod timeouts;
mod world;

fn undisturbed(extra: &str, with_local: bool) -> World {
    let mut world = World::new(extra, with_local, 3);
    world.calm();
    world
}

const EXPECTED: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                        = 2, concurrent = 2 }";

#[test]
fn a_quiet_federation_runs_its_rounds_and_reports_the_best_model() {
    let world = undisturbed(EXPECTED, true);
    let outcome = world.finished.unwrap();
    let names: Vec<String> = outcome
        .runs
        .iter()
        .map(|run| run.name.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "federation",
            "alone:site-0",
            "alone:site-1",
            "alone:site-2",
            "consensus"
        ]
    );
    for run in &outcome.runs[..4] {
        assert_eq!(run.rounds.len(), 3, "{}", run.name);
        assert_eq!(
            run.best_round, 2,
            "the round with the best validation score"
        );
        assert!(
            run.threshold.is_some()
                && run.threshold_pooled.is_some()
                && run.threshold_dice.is_some()
        );
        let held_out = run
            .scores
            .iter()
            .find(|scores| scores.site == "held-out")
            .unwrap();
        assert_eq!(held_out.cases.len(), 3);
        let validated: Vec<&SiteName> = run.rounds[0]
            .validation_by_site
            .iter()
            .map(|(site, _)| site)
            .collect();
        assert_eq!(validated, run.members.iter().collect::<Vec<_>>());
        assert!(
            run.rounds[0]
                .validation_by_site
                .iter()
                .all(|(_, dice)| *dice == run.rounds[0].validation)
        );
        assert_eq!(held_out.cases[0].at[0].threshold, run.threshold.unwrap());
        assert!(!held_out.cases[0].sweep.is_empty());
        let parts: Vec<(u32, u16)> = held_out
            .subsets
            .iter()
            .map(|part| (part.case, part.subset.bits()))
            .collect();
        assert_eq!(parts, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
        assert_eq!(run.scores.len(), run.members.len() + 1);
        let overlay_drawn = |scores: &SiteScores| {
            scores
                .overlays
                .iter()
                .map(|overlay| overlay.case)
                .collect::<Vec<_>>()
        };
        let expected: &[u32] = if run.name == RunKind::Federation {
            &[0, 1]
        } else {
            &[]
        };
        assert!(
            run.scores
                .iter()
                .all(|scores| overlay_drawn(scores) == expected),
            "{}",
            run.name
        );
    }
    let updates: Vec<&str> = outcome.runs[0].rounds[0]
        .updates
        .iter()
        .map(|update| update.site.as_str())
        .collect();
    assert_eq!(updates, ["site-0", "site-1", "site-2"]);
}

/// What a restart needs does not grow with the rounds, or memory and disk would.
#[test]
fn the_facts_are_as_large_after_many_rounds_as_after_few() {
    let mut sizes = Vec::new();
    for rounds in [5, 60] {
        let mut world = World::new(EXPECTED, false, 3);
        world.plan.federation.rounds = rounds;
        world.restart();
        world.calm();
        assert_eq!(
            world.finished.as_ref().unwrap().runs[0].rounds.len(),
            rounds as usize
        );
        let facts = serde_json::to_string(&world.coordinator.checkpoint()).unwrap();
        sizes.push(facts.len());
    }
    // The rounds' numbers have a digit more.
    assert!(sizes[1] < sizes[0] + 64, "{sizes:?}");
}

#[test]
fn the_consensus_is_scored_with_the_best_model_of_every_site_alone() {
    let mut world = World::new(EXPECTED, true, 3);
    let mut asked = BTreeMap::new();
    for name in world.names() {
        world.connect(&name);
    }
    while world.finished.is_none() {
        for name in world.names() {
            for stream in [true, false] {
                world.deliver_down(&name, stream, false);
                world.deliver_up(&name, stream, false);
            }
            if let Some(work) = world.peers[name.as_str()]
                .work
                .clone()
                .filter(|work| work.models.len() > 1)
            {
                asked.insert((name.clone(), work.task), work.models);
            }
            world.work(&name);
        }
        world.shell_step();
    }
    let checkpoint = world.coordinator.checkpoint();
    let best: Vec<ParametersId> = checkpoint.runs[1..4]
        .iter()
        .map(|run| run.best.unwrap().parameters)
        .collect();
    // Three sites choose the thresholds, then all four score.
    assert_eq!(asked.len(), 7);
    assert!(asked.values().all(|models| *models == best));
    let consensus = world.finished.unwrap().runs.pop().unwrap();
    assert_eq!(
        (
            consensus.members.len(),
            consensus.rounds.len(),
            consensus.best_round
        ),
        (3, 0, 0)
    );
    assert!(consensus.threshold.is_some());
    assert_eq!(
        consensus
            .scores
            .iter()
            .map(|scores| scores.cases.len())
            .collect::<Vec<_>>(),
        [2, 2, 2, 3]
    );
}

#[test]
fn a_validating_site_helps_to_choose_and_never_trains() {
    let extra = "sites = { expected = ['site-0', 'site-1', 'judge', 'held-out'] }";
    let mut world = World::new(extra, true, 2);
    world.calm();
    let outcome = world.finished.unwrap();
    for run in &outcome.runs {
        assert!(!run.members.contains(&site_name("judge")), "{}", run.name);
        assert!(run.rounds.iter().all(|round| {
            round
                .validation_by_site
                .iter()
                .any(|(site, _)| site == "judge")
        }));
        let judged = run
            .scores
            .iter()
            .find(|scores| scores.site == "judge")
            .unwrap();
        assert_eq!((judged.role, judged.cases.len()), (Role::Validate, 3));
    }
    assert!(world.peers["judge"].trained.is_empty());
}

/// A federation that evaluates the model that it is given.
fn evaluation_only(extra: &str, trainers: usize) -> World {
    let mut world = World::new(extra, true, trainers);
    world.plan.federation.rounds = 0;
    world.restart();
    world.calm();
    world
}

#[test]
fn without_rounds_the_initial_model_is_evaluated_and_no_site_trains() {
    let world = evaluation_only(EXPECTED, 3);
    let outcome = world.finished.unwrap();
    assert_eq!(outcome.runs.len(), 1, "no site trains alone either");
    let run = &outcome.runs[0];
    assert!(run.rounds.is_empty() && run.best_round == 0);
    assert_eq!(run.scores.len(), 4);
    assert!(run.scores.iter().all(|scores| !scores.cases.is_empty()));
    assert!(world.peers.values().all(|peer| peer.trained.is_empty()));
    // Validation patients choose the thresholds where there are some.
    assert!(run.threshold.is_some() && run.threshold_dice != Some(0.75));
}

#[test]
fn without_validation_cases_a_given_model_keeps_its_own_thresholds() {
    let world = evaluation_only("sites = { expected = ['held-out'] }", 0);
    let outcome = world.finished.unwrap();
    let run = &outcome.runs[0];
    assert_eq!(
        [run.threshold, run.threshold_pooled, run.threshold_dice],
        [Some(0.25), None, Some(0.75)]
    );
    let counted: Vec<f32> = run.scores[0].cases[0]
        .at
        .iter()
        .map(|at| at.threshold)
        .collect();
    assert_eq!(counted, [0.25, 0.75]);
}

#[test]
fn an_evaluation_goes_on_after_a_restart() {
    let mut world = World::new(EXPECTED, false, 3);
    world.plan.federation.rounds = 0;
    world.restart();
    for name in world.names() {
        world.connect(&name);
    }
    for _ in 0..20 {
        for name in world.names() {
            world.exchange(&name);
        }
    }
    world.restart();
    world.calm();
    let undisturbed = evaluation_only(EXPECTED, 3).finished.unwrap();
    assert_eq!(world.finished.unwrap().runs, undisturbed.runs);
}

#[test]
fn without_subsets_in_the_settings_no_site_is_asked_for_them() {
    let world = undisturbed(
        &format!("{EXPECTED}\nevaluation = {{ subsets = false }}"),
        false,
    );
    let outcome = world.finished.unwrap();
    assert_eq!(outcome.runs[0].scores.len(), 4);
    assert!(
        outcome.runs[0]
            .scores
            .iter()
            .all(|scores| scores.subsets.is_empty() && !scores.cases.is_empty())
    );
}

#[test]
fn a_model_is_sent_once_to_a_site_that_keeps_it() {
    let world = undisturbed(EXPECTED, false);
    let outcome = world.finished.unwrap();
    let bytes: Vec<u64> = outcome.runs[0]
        .rounds
        .iter()
        .map(|round| round.bytes)
        .collect();
    // Round 1: initial model to three sites, three updates back, new model to three. Then the sites
    // dispatch it.
    assert_eq!(bytes, [9 * 4, 6 * 4, 6 * 4]);
}

#[test]
fn no_more_sites_work_at_once_than_allowed() {
    let mut world = World::new(EXPECTED, false, 3);
    for name in world.names() {
        world.connect(&name);
        (0..3).for_each(|_| {
            world.deliver_down(&name, false, false);
            world.deliver_up(&name, false, false);
        });
    }
    let asked = |world: &World| {
        world
            .peers
            .values()
            .filter(|peer| !peer.down.streams.is_empty())
            .count()
    };
    assert_eq!(asked(&world), 2);
}

#[test]
fn a_silent_site_is_given_up_and_may_come_back() {
    let mut world = World::new(EXPECTED, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    for _ in 0..4 {
        for name in ["held-out", "site-0", "site-1", "site-2"] {
            world.deliver_down(name, false, false);
            world.deliver_up(name, false, false);
        }
    }
    world.cut("site-0");
    for _ in 0..10 {
        for name in ["site-1", "site-2"] {
            world.exchange(name);
            world.work(name);
        }
        world.shell_step();
    }
    assert!(
        world.coordinator.checkpoint().runs[0]
            .outcome
            .rounds
            .is_empty(),
        "the round waits for the third"
    );
    world.now += Duration::from_secs(601);
    world.tell(Event::Tick);
    world.calm();
    let outcome = world.finished.unwrap();
    let rounds = &outcome.runs[0].rounds;
    assert_eq!(
        rounds[0].missing,
        [(site_name("site-0"), "no progress for 600 s".to_string())]
    );
    assert_eq!(rounds[0].updates.len(), 2);
    assert_eq!(rounds[2].updates.len(), 3, "it came back");
}

#[test]
fn too_few_updates_stop_the_federation_with_the_sites_reasons() {
    let mut world = World::new(EXPECTED, false, 3);
    for _ in 0..200 {
        for name in world.names() {
            world.connect(&name);
            world.exchange(&name);
            world.fail(&name);
        }
    }
    let reason = world.stopped.take().unwrap();
    assert!(
        reason.contains("round 1 has 0 of at least 2") && reason.contains("site-1: the loss"),
        "{reason}"
    );
    // The same command goes on: those that gave nothing are asked once more.
    world.restart();
    world.calm();
    assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
}

#[test]
fn a_stopped_round_keeps_what_was_accepted_of_it() {
    let mut world = World::new(EXPECTED, false, 3);
    for _ in 0..200 {
        for name in world.names() {
            world.connect(&name);
            world.exchange(&name);
            match name.as_str() {
                "site-1" => world.work(&name),
                _ => world.fail(&name),
            }
        }
        world.shell_step();
    }
    assert!(
        world
            .stopped
            .take()
            .is_some_and(|reason| reason.contains("round 1 has 1 of at least 2"))
    );
    world.restart();
    world.calm();
    // `carry_out` and `work` would have noticed an update that is asked for again, or a training that is
    // done again.
    assert_eq!(world.finished.unwrap().runs[0].rounds[0].updates.len(), 3);
}

#[test]
fn a_site_that_begins_anew_after_a_restart_shows_progress_from_its_first_step_on() {
    let mut world = World::new(
        &format!("{EXPECTED}\ntraining = {{ steps = 1000 }}"),
        false,
        3,
    );
    world.names().iter().for_each(|name| world.connect(name));
    for _ in 0..4 {
        for name in world.names() {
            world.deliver_down(&name, false, false);
            world.deliver_up(&name, false, false);
        }
    }
    let name = "site-0";
    world.deliver_down(name, true, false);
    let task = world.peers[name].work.as_ref().unwrap().task;
    let progress = |done| {
        site::Event::Progress(Progress {
            task,
            done,
            total: 1000,
            loss: None,
            slices_per_second: 1.0,
        })
    };
    world.peer(name, progress(900));
    world.deliver_up(name, false, false);
    world.restart_site(name);
    world.connect(name);
    for _ in 0..8 {
        for stream in [false, true] {
            world.deliver_up(name, stream, false);
            world.deliver_down(name, stream, false);
        }
    }
    for done in 1..=3 {
        world.now += Duration::from_secs(300);
        world.peer(name, progress(done));
        world.deliver_up(name, false, false);
        world.tell(Event::Tick);
    }
    let open = world.coordinator.checkpoint().runs[0].open.clone().unwrap();
    assert!(
        !open.missing.iter().any(|(site, _)| site == name),
        "{:?}",
        open.missing
    );
}

#[test]
fn strangers_and_other_protocols_are_refused() {
    let mut machine = World::new(EXPECTED, false, 1).coordinator;
    let mut join = |site: &str, protocol, sequence: &str| {
        let hello = Hello {
            protocol,
            software: String::new(),
            role: Role::Train,
            sequences: vec![sequence.into()],
        };
        let effects = machine.handle(
            Event::Connected {
                site: site_name(site),
                connection: 1,
                hello,
            },
            Duration::ZERO,
        );
        effects.into_iter().find_map(|effect| match effect {
            Effect::Send {
                message: CoordinatorMessage::Refused { reason },
                ..
            } => Some(reason),
            _ => None,
        })
    };
    assert!(
        join("mallory", PROTOCOL, "a")
            .unwrap()
            .contains("not among")
    );
    assert!(
        join("site-0", PROTOCOL + 1, "a")
            .unwrap()
            .contains("protocol")
    );
    assert!(join("site-0", PROTOCOL, "z").unwrap().contains("\"z\""));
    assert_eq!(join("site-0", PROTOCOL, "a"), None);
}

#[test]
fn sampling_takes_so_many_and_the_same_each_time() {
    let sampled =
        "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], per_round = 2 }";
    let rounds = |world: World| -> Vec<Vec<SiteName>> {
        let rounds = world.finished.unwrap().runs[0].rounds.clone();
        rounds
            .iter()
            .map(|round| {
                round
                    .updates
                    .iter()
                    .map(|update| update.site.clone())
                    .collect()
            })
            .collect()
    };
    let first = rounds(undisturbed(sampled, false));
    assert!(first.iter().all(|round| round.len() == 2), "{first:?}");
    assert_eq!(first, rounds(undisturbed(sampled, false)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn broken_lines_repeated_mail_and_restarts_change_no_model(
        schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600),
        with_local: bool,
    ) {
        let mut world = World::new(EXPECTED, with_local, 3);
        world.names().iter().for_each(|name| world.connect(name));
        for step in schedule {
            if world.finished.is_none() {
                world.step(step);
            }
        }
        world.calm();
        let quiet = undisturbed(EXPECTED, with_local);
        prop_assert_eq!(world.models(), quiet.models());
        let (outcome, expected) = (world.finished.unwrap(), quiet.finished.unwrap());
        for (run, wanted) in outcome.runs.iter().zip(&expected.runs) {
            prop_assert_eq!(run.rounds.iter().map(|r| r.missing.len()).sum::<usize>(), 0);
            prop_assert_eq!(&run.scores, &wanted.scores);
            prop_assert_eq!(run.best_round, wanted.best_round);
        }
    }
}
