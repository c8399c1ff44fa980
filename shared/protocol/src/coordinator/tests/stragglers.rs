//! Slow sites: a deadline, budgets of steps, and versions that wait for no site.

use super::*;
use world::{learnt, task};

const DEADLINE: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                        = 2, deadline_s = 2 }\ntraining = { steps = 4 }";
const BUDGETS: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                       = 2, concurrent = 2 }\ntraining = { steps = 4, round_seconds = 4 }";
const BOTH: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum = \
                    2, deadline_s = 2 }\ntraining = { steps = 4, round_seconds = 7 }";

/// Everything that is on its way arrives; no site works.
fn arrive(world: &mut World) {
    for _ in 0..8 {
        for name in world.names() {
            world.exchange(&name);
        }
        world.shell_step();
    }
}

/// Three sites were asked to train four steps each, just now.
fn at_work(extra: &str) -> World {
    let mut world = World::new(extra, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    arrive(&mut world);
    world
}

fn steps(world: &World) -> Vec<Vec<(u32, u32)>> {
    let rounds = &world.finished.as_ref().unwrap().runs[0].rounds;
    let of = |round: &crate::outcome::RoundRecord| {
        round
            .updates
            .iter()
            .map(|update| (update.steps, update.asked_steps))
            .collect()
    };
    rounds.iter().map(of).collect()
}

fn told(world: &World) -> Vec<&str> {
    world
        .concluded
        .iter()
        .map(|(site, _)| site.as_str())
        .collect()
}

/// The federation's model as anybody gets it from the record of who counted, with how many steps,
/// from which model.
fn recomputed(world: &World) -> ParametersId {
    let mut models = vec![world.plan.initial];
    for round in &world.finished.as_ref().unwrap().runs[0].rounds {
        let mut parts = vec![models[round.round as usize - 1].0];
        for one in &round.updates {
            let base = round.round - 1 - one.staleness;
            parts.push(
                learnt(
                    one.site.as_str(),
                    models[base as usize],
                    base + 1,
                    one.steps,
                )
                .0,
            );
        }
        models.push(world::hash(
            &parts.iter().map(|part| &part[..]).collect::<Vec<_>>(),
        ));
    }
    *models.last().unwrap()
}

fn pass(world: &mut World, seconds: f64) {
    world.now += Duration::from_secs_f64(seconds);
    world.tell(Event::Tick);
}

#[test]
fn at_the_deadline_those_at_work_send_what_they_have_and_it_counts() {
    let mut world = at_work(DEADLINE);
    world.step_on("site-0");
    world.step_on("site-0");
    arrive(&mut world);
    pass(&mut world, 1.9);
    assert!(told(&world).is_empty());
    pass(&mut world, 0.1);
    assert_eq!(
        told(&world),
        ["site-0"],
        "the others have nothing to send yet"
    );
    world.step_on("site-1");
    arrive(&mut world);
    pass(&mut world, 1.0);
    assert_eq!(told(&world), ["site-0", "site-1"], "each is told once");
    world.step_on("site-0");
    world.calm();
    assert_eq!(steps(&world)[0], [(3, 4), (2, 4), (4, 4)]);
    assert_eq!(
        steps(&world)[1],
        [(4, 4); 3],
        "the next round has a deadline of its own"
    );
    assert_eq!(world.models(), [Some(recomputed(&world))]);
}

#[test]
fn a_deadline_does_not_count_a_pause() {
    let mut world = at_work(DEADLINE);
    world.step_on("site-0");
    arrive(&mut world);
    pass(&mut world, 1.5);
    world.tell(Event::Pause);
    pass(&mut world, 500.0);
    world.tell(Event::Resume);
    pass(&mut world, 0.25);
    assert!(told(&world).is_empty());
    pass(&mut world, 0.25);
    assert_eq!(told(&world), ["site-0"]);
}

#[test]
fn a_site_that_comes_back_after_the_deadline_is_told_again() {
    let mut world = at_work(DEADLINE);
    world.step_on("site-0");
    arrive(&mut world);
    pass(&mut world, 2.0);
    world.cut("site-0");
    world.connect("site-0");
    arrive(&mut world);
    assert_eq!(
        told(&world),
        ["site-0"],
        "it works on, and is told as soon as it shows it"
    );
    world.step_on("site-0");
    arrive(&mut world);
    assert_eq!(told(&world), ["site-0", "site-0"]);
    world.step_on("site-0");
    arrive(&mut world);
    let open = world.coordinator.checkpoint().runs[0].open.clone().unwrap();
    assert_eq!(open.updates["site-0"].steps, 3);
}

#[test]
fn a_site_without_a_step_is_waited_for_with_patience() {
    let mut world = at_work(DEADLINE);
    ["site-0", "site-1"]
        .iter()
        .for_each(|name| world.work(name));
    arrive(&mut world);
    pass(&mut world, 599.0);
    assert!(told(&world).is_empty() && rounds(&world) == 0);
    pass(&mut world, 2.0);
    arrive(&mut world);
    assert_eq!(rounds(&world), 1);
}

fn rounds(world: &World) -> usize {
    world.coordinator.checkpoint().runs[0].finished as usize
}

#[test]
fn slow_sites_are_asked_for_as_many_steps_as_they_have_time_for() {
    let world = undisturbed(BUDGETS, true);
    assert_eq!(
        steps(&world),
        [
            [(4, 4), (4, 4), (4, 4)],
            [(4, 4), (2, 2), (1, 1)],
            [(4, 4), (2, 2), (1, 1)]
        ]
    );
    assert_eq!(world.models()[0], Some(recomputed(&world)));
    // Steps of 1, 2 and 3 seconds.
    assert_eq!(world.budgets[&(site_name("site-2"), task(2))], Some(1));
    let alone = &world.finished.as_ref().unwrap().runs[2];
    assert_eq!(
        alone
            .rounds
            .iter()
            .map(|round| round.updates[0].steps)
            .collect::<Vec<_>>(),
        [4, 2, 2]
    );
}

#[test]
fn more_steps_than_a_site_was_asked_for_are_refused() {
    let mut machine = at_work(BUDGETS);
    machine.work("site-0");
    let up = &mut machine.peers.get_mut("site-0").unwrap().up.messages;
    for message in up.iter_mut() {
        if let SiteMessage::Trained(trained) = message {
            (trained.steps, trained.slices) = (5, 40);
        }
    }
    arrive(&mut machine);
    let open = machine.coordinator.checkpoint().runs[0]
        .open
        .clone()
        .unwrap();
    assert_eq!(
        open.missing,
        [(
            site_name("site-0"),
            "its summary cannot be: 40 slices in 5 of 4 steps".to_string()
        )]
    );
}

/// Two updates make a version; of two sites at least.
const BUFFERED: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                        = 2 }\nbuffered = { size = 2, max_staleness = 1 }";
const CAREFUL: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                       = 2, concurrent = 2 }\nbuffered = { size = 3 }\ntraining = { steps = 4, \
                       round_seconds = 4 }";

/// Who counted in each version, and how much older the model was that each started from.
fn counted(world: &World) -> Vec<Vec<(SiteName, u32)>> {
    let rounds = world.rounds(0, &world.coordinator.checkpoint().runs[0]);
    let of = |round: &crate::outcome::RoundRecord| {
        round
            .updates
            .iter()
            .map(|update| (update.site.clone(), update.staleness))
            .collect()
    };
    rounds.iter().map(of).collect()
}

fn pairs(pairs: &[(&str, u32)]) -> Vec<(SiteName, u32)> {
    pairs
        .iter()
        .map(|(site, staleness)| (site_name(site), *staleness))
        .collect()
}

/// These sites train, and what they send arrives.
fn train(world: &mut World, sites: &[&str]) {
    sites.iter().for_each(|name| world.work(name));
    arrive(world);
}

#[test]
fn a_version_is_made_without_the_slow_and_counts_them_later() {
    let mut world = at_work(BUFFERED);
    train(&mut world, &["site-0", "site-1"]);
    assert_eq!(counted(&world), [pairs(&[("site-0", 0), ("site-1", 0)])]);
    // The third is still at its first training, the others begin from the new model.
    assert_eq!(world.peers["site-2"].work.as_ref().unwrap().task, task(1));
    assert_eq!(world.peers["site-0"].work.as_ref().unwrap().task, task(2));
    train(&mut world, &["site-2", "site-0"]);
    assert_eq!(counted(&world)[1], pairs(&[("site-0", 0), ("site-2", 1)]));
    world.calm();
    assert_eq!(world.models(), [Some(recomputed(&world))]);
    let run = &world.finished.as_ref().unwrap().runs[0];
    assert_eq!(
        (run.rounds.len(), run.best_round),
        (3, 3),
        "only the last model is scored, and it is reported"
    );
    assert!(
        run.rounds[..2]
            .iter()
            .all(|round| round.validation.is_none())
            && run.rounds[2].validation.is_some()
    );
    assert_eq!(run.scores.len(), 4);
}

#[test]
fn who_has_answered_for_the_newest_model_waits_for_the_next() {
    let mut world = at_work(BUFFERED);
    train(&mut world, &["site-0"]);
    assert!(world.peers["site-0"].work.is_none());
    train(&mut world, &["site-1"]);
    assert!(world.peers["site-0"].work.is_some());
}

#[test]
fn work_on_a_model_that_has_become_too_old_is_taken_back_and_begun_anew() {
    let mut world = at_work(BUFFERED);
    train(&mut world, &["site-0", "site-1"]);
    train(&mut world, &["site-0", "site-1"]);
    assert_eq!(counted(&world).len(), 2);
    assert_eq!(
        world.peers["site-2"].work.as_ref().unwrap().task,
        task(3),
        "it began from version 0"
    );
    let missing = &world.checkpoint.as_ref().unwrap().runs[0]
        .buffer
        .as_ref()
        .unwrap()
        .missing;
    assert_eq!(
        (missing[0].site.as_str(), missing[0].reason.as_str()),
        ("site-2", "its model is more than 1 versions old")
    );
    world.calm();
    let rounds = &world.finished.as_ref().unwrap().runs[0].rounds;
    assert_eq!(
        (
            rounds[0].missing.len(),
            rounds[1].missing.len(),
            rounds[2].missing.len()
        ),
        (0, 0, 1)
    );
}

#[test]
fn a_restarted_coordinator_goes_on_with_what_waits_and_asks_for_no_other_work() {
    let mut world = at_work(BUFFERED);
    train(&mut world, &["site-0", "site-1"]);
    train(&mut world, &["site-2"]);
    let kept = world.checkpoint.clone().unwrap().runs[0]
        .buffer
        .clone()
        .unwrap();
    assert_eq!((kept.updates.len(), kept.asked.len()), (1, 3));
    world.restart();
    world.names().iter().for_each(|name| world.connect(name));
    arrive(&mut world);
    train(&mut world, &["site-0", "site-1", "site-2"]);
    // The update that waited counts, and `World::work` would have noticed a training that is done
    // again.
    assert_eq!(counted(&world)[1].len(), 2);
    assert!(
        counted(&world)[1].contains(&(site_name("site-2"), 1)),
        "{:?}",
        counted(&world)
    );
    world.calm();
    assert_eq!(world.models(), [Some(recomputed(&world))]);
}

#[test]
fn a_buffer_that_nobody_can_fill_is_counted_as_it_is() {
    let greedy = BUFFERED.replace("size = 2", "size = 9");
    let world = undisturbed(&greedy, false);
    assert!(
        counted(&world).iter().all(|version| version.len() == 3),
        "{:?}",
        counted(&world)
    );
    // One site is away for good: it is waited for with timeout once, then no more.
    let mut world = at_work(&greedy);
    world.cut("site-2");
    train(&mut world, &["site-0", "site-1"]);
    pass(&mut world, 599.0);
    assert!(counted(&world).is_empty());
    pass(&mut world, 2.0);
    arrive(&mut world);
    assert_eq!(counted(&world), [pairs(&[("site-0", 0), ("site-1", 0)])]);
    train(&mut world, &["site-0", "site-1"]);
    assert_eq!(counted(&world).len(), 2);
}

#[test]
fn too_few_sites_stop_a_buffered_federation_after_patience_and_it_goes_on_later() {
    let mut world = at_work(BUFFERED);
    train(&mut world, &["site-0"]);
    ["site-1", "site-2"].iter().for_each(|name| world.cut(name));
    pass(&mut world, 601.0);
    pass(&mut world, 601.0);
    pass(&mut world, 601.0);
    let reason = world.stopped.take().unwrap();
    assert!(
        reason.contains("round 1 has updates of 1 of at least 2 sites")
            && reason.contains("site-1"),
        "{reason}"
    );
    world.restart();
    world.calm();
    assert_eq!(world.models(), [Some(recomputed(&world))]);
    assert_eq!(counted(&world)[0].len(), 2);
}

#[test]
fn failures_of_all_stop_a_buffered_federation_at_once() {
    let mut world = at_work(BUFFERED);
    world.names().iter().for_each(|name| world.fail(name));
    arrive(&mut world);
    let reason = world.stopped.take().unwrap();
    assert!(
        reason.contains("0 of at least 2") && reason.contains("site-2: the loss"),
        "{reason}"
    );
    world.restart();
    world.calm();
    assert_eq!(counted(&world).len(), 3);
}

#[test]
fn in_a_pause_a_buffer_fills_and_nobody_is_asked() {
    let mut world = at_work(BUFFERED);
    world.tell(Event::Pause);
    train(&mut world, &["site-0", "site-1", "site-2"]);
    assert_eq!(counted(&world).len(), 1);
    assert!(world.peers.values().all(|peer| peer.work.is_none()));
    pass(&mut world, 7200.0);
    world.tell(Event::Resume);
    arrive(&mut world);
    assert!(world.peers["site-0"].work.is_some() && world.stopped.is_none());
}

#[test]
fn beside_a_buffered_federation_sites_alone_train_in_rounds() {
    let mut world = World::new(BUFFERED, true, 3);
    world.calm();
    let outcome = world.finished.as_ref().unwrap();
    let rounds: Vec<usize> = outcome.runs.iter().map(|run| run.rounds.len()).collect();
    assert_eq!(rounds, [3, 3, 3, 3, 0]);
    assert!(
        outcome.runs[1]
            .rounds
            .iter()
            .all(|round| round.validation.is_some())
    );
}

fn broken(extra: &str, with_local: bool, schedule: Vec<(u8, u8, bool)>) -> World {
    let mut world = World::new(extra, with_local, 3);
    world.names().iter().for_each(|name| world.connect(name));
    for step in schedule {
        if world.finished.is_none() {
            world.step(step);
        }
    }
    world.calm();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn whatever_breaks_the_model_is_made_of_what_was_accepted(
        schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600),
        extra in prop::sample::select(vec![DEADLINE, BOTH]),
    ) {
        let world = broken(extra, false, schedule);
        prop_assert_eq!(world.models()[0], Some(recomputed(&world)));
        for round in &world.finished.as_ref().unwrap().runs[0].rounds {
            prop_assert_eq!((round.updates.len(), &round.missing), (3, &Vec::new()));
            for one in round.updates.iter().filter(|one| one.steps < one.asked_steps) {
                prop_assert!(world.concluded.contains(&(one.site.clone(), task(round.round))));
            }
        }
    }

    #[test]
    fn budgets_are_the_same_whatever_breaks(schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600)) {
        let world = broken(BUDGETS, false, schedule);
        let quiet = undisturbed(BUDGETS, false);
        prop_assert_eq!((world.models(), steps(&world)), (quiet.models(), steps(&quiet)));
    }

    #[test]
    fn whatever_breaks_every_accepted_update_is_counted_once_in_a_buffer(
        schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600),
        extra in prop::sample::select(vec![BUFFERED, CAREFUL]),
        with_local: bool,
    ) {
        // What is lost, counted twice, trained twice or asked for differently is noticed on the
        // way.
        let world = broken(extra, with_local, schedule);
        prop_assert_eq!(world.models()[0], Some(recomputed(&world)));
        let rounds = &world.finished.as_ref().unwrap().runs[0].rounds;
        prop_assert_eq!(rounds.len(), 3);
        let most = world.plan.federation.buffered.unwrap().max_staleness;
        for one in rounds.iter().flat_map(|round| &round.updates) {
            prop_assert!(one.staleness <= most + 1);
        }
    }
}
