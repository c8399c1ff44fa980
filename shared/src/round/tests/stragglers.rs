//! Slow sites: a deadline, budgets of steps.

use super::*;
use crate::message::TaskKind;
use world::learnt;

const DEADLINE: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum = 2, deadline_s = 2 }\n\
                        training = { steps = 4 }";
const BUDGETS: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum = 2, concurrent = 2 }\n\
                       training = { steps = 4, round_seconds = 4 }";
const BOTH: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum = 2, deadline_s = 2 }\n\
                    training = { steps = 4, round_seconds = 7 }";

/// Everything that is on its way arrives; nobody works.
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
        round.updates.iter().map(|update| (update.steps, update.asked_steps)).collect()
    };
    rounds.iter().map(of).collect()
}

fn task(round: u32) -> TaskId {
    TaskId { run: RunId(0), round, kind: TaskKind::Train, pass: 0 }
}

fn told(world: &World) -> Vec<&str> {
    world.concluded.iter().map(|(site, _)| site.as_str()).collect()
}

/// The federation's model as anybody gets it from the record of who counted with how many steps.
fn recomputed(world: &World) -> ParametersId {
    let mut model = world.plan.initial;
    for round in &world.finished.as_ref().unwrap().runs[0].rounds {
        let mut parts = vec![model.0];
        parts.extend(round.updates.iter().map(|one| learnt(&one.site, model, round.round, one.steps).0));
        model = world::hash(&parts.iter().map(|part| &part[..]).collect::<Vec<_>>());
    }
    model
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
    assert_eq!(told(&world), ["site-0"], "the others have nothing to send yet");
    world.step_on("site-1");
    arrive(&mut world);
    pass(&mut world, 1.0);
    assert_eq!(told(&world), ["site-0", "site-1"], "each is told once");
    world.step_on("site-0");
    world.calm();
    assert_eq!(steps(&world)[0], [(3, 4), (2, 4), (4, 4)]);
    assert_eq!(steps(&world)[1], [(4, 4); 3], "the next round has a deadline of its own");
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
    assert_eq!(told(&world), ["site-0"], "it works on, and is told as soon as it shows it");
    world.step_on("site-0");
    arrive(&mut world);
    assert_eq!(told(&world), ["site-0", "site-0"]);
    world.step_on("site-0");
    arrive(&mut world);
    let open = world.coordinator.snapshot().runs[0].open.clone().unwrap();
    assert_eq!(open.updates["site-0"].steps, 3);
}

#[test]
fn a_site_without_a_step_is_waited_for_with_patience() {
    let mut world = at_work(DEADLINE);
    ["site-0", "site-1"].iter().for_each(|name| world.work(name));
    arrive(&mut world);
    pass(&mut world, 599.0);
    assert!(told(&world).is_empty() && rounds(&world) == 0);
    pass(&mut world, 2.0);
    arrive(&mut world);
    assert_eq!(rounds(&world), 1);
}

fn rounds(world: &World) -> usize {
    world.coordinator.snapshot().runs[0].outcome.rounds.len()
}

#[test]
fn slow_sites_are_asked_for_as_many_steps_as_they_have_time_for() {
    let world = undisturbed(BUDGETS, true);
    assert_eq!(steps(&world), [[(4, 4), (4, 4), (4, 4)], [(4, 4), (2, 2), (1, 1)], [(4, 4), (2, 2), (1, 1)]]);
    assert_eq!(world.models()[0], Some(recomputed(&world)));
    // Steps of 1, 2 and 3 seconds.
    assert_eq!(world.budgets[&("site-2".into(), task(2))], Some(1));
    let alone = &world.finished.as_ref().unwrap().runs[2];
    assert_eq!(alone.rounds.iter().map(|round| round.updates[0].steps).collect::<Vec<_>>(), [4, 2, 2]);
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
    let open = machine.coordinator.snapshot().runs[0].open.clone().unwrap();
    assert_eq!(open.missing, [("site-0".to_string(), "its summary cannot be: 40 slices in 5 of 4 steps".to_string())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn whatever_breaks_the_model_is_made_of_what_was_accepted(
        schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..600),
        extra in prop::sample::select(vec![DEADLINE, BOTH]),
    ) {
        let mut world = World::new(extra, false, 3);
        world.names().iter().for_each(|name| world.connect(name));
        for step in schedule {
            if world.finished.is_none() {
                world.step(step);
            }
        }
        world.calm();
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
        let mut world = World::new(BUDGETS, false, 3);
        world.names().iter().for_each(|name| world.connect(name));
        for step in schedule {
            if world.finished.is_none() {
                world.step(step);
            }
        }
        world.calm();
        let quiet = undisturbed(BUDGETS, false);
        prop_assert_eq!((world.models(), steps(&world)), (quiet.models(), steps(&quiet)));
    }
}
