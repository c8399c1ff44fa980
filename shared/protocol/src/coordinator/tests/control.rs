//! The operator pauses, drops and drains.

use super::*;

const HOURS: Duration = Duration::from_secs(7200);

/// Everything that is on its way arrives; no site works.
fn arrive(world: &mut World) {
    for _ in 0..8 {
        for name in world.names() {
            world.exchange(&name);
        }
        world.shell_step();
    }
}

/// A federation of three whose first two sites were asked to train.
fn at_work() -> World {
    let mut world = World::new(EXPECTED, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    arrive(&mut world);
    assert_eq!(asked(&world), ["site-0", "site-1"]);
    world
}

fn asked(world: &World) -> Vec<&str> {
    world
        .peers
        .iter()
        .filter(|(_, peer)| peer.work.is_some())
        .map(|(name, _)| name.as_str())
        .collect()
}

fn rounds(world: &World) -> usize {
    world.coordinator.checkpoint().runs[0].finished as usize
}

#[test]
fn in_a_pause_running_tasks_finish_and_nobody_is_asked() {
    let mut world = at_work();
    world.tell(Event::Pause);
    world.names().iter().for_each(|name| world.work(name));
    arrive(&mut world);
    assert!(asked(&world).is_empty(), "{:?}", asked(&world));
    world.now += HOURS;
    world.tell(Event::Tick);
    world.tell(Event::Resume);
    arrive(&mut world);
    assert_eq!(
        asked(&world),
        ["site-2"],
        "it was not late for what it was not asked"
    );
    world.calm();
    let rounds = &world.finished.unwrap().runs[0].rounds;
    assert!(
        rounds
            .iter()
            .all(|round| round.updates.len() == 3 && round.missing.is_empty()),
        "{rounds:?}"
    );
}

#[test]
fn in_a_pause_a_whole_round_is_averaged_and_the_next_waits_with_patience() {
    let mut world = at_work();
    world.names().iter().for_each(|name| world.work(name));
    arrive(&mut world);
    world.tell(Event::Pause);
    world.work("site-2");
    arrive(&mut world);
    assert_eq!(rounds(&world), 1);
    assert!(asked(&world).is_empty());
    // Too few sites for longer than timeout lasts: in a pause that stops nothing, and no time of it
    // counts after.
    world.names().iter().for_each(|name| world.cut(name));
    world.now += HOURS;
    world.tell(Event::Tick);
    world.tell(Event::Resume);
    assert_eq!(world.stopped, None);
    world.calm();
    assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
}

#[test]
fn a_pause_before_the_beginning_gives_nobody_up() {
    let mut world = World::new(EXPECTED, false, 3);
    ["site-0", "site-1"]
        .iter()
        .for_each(|name| world.connect(name));
    arrive(&mut world);
    world.tell(Event::Pause);
    world.now += HOURS;
    world.tell(Event::Tick);
    world.tell(Event::Resume);
    arrive(&mut world);
    assert!(asked(&world).is_empty(), "the others are still awaited");
    world.now += HOURS;
    world.tell(Event::Tick);
    arrive(&mut world);
    assert_eq!(asked(&world), ["site-0", "site-1"]);
}

#[test]
fn a_dropped_site_is_told_is_missing_and_is_not_asked_again() {
    let mut world = at_work();
    let effects = world.coordinator.handle(
        Event::Drop {
            site: site_name("site-0"),
        },
        world.now,
    );
    assert!(
        matches!(&effects[0], Effect::Persist(checkpoint) if checkpoint.dropped == ["site-0"]),
        "{effects:?}"
    );
    let told = |effect: &Effect| match effect {
        Effect::Send {
            site,
            message: CoordinatorMessage::Refused { reason },
        } => site == "site-0" && reason == "site-0 was dropped by the operator",
        _ => false,
    };
    let at = effects.iter().position(told).unwrap();
    assert!(matches!(&effects[at + 1], Effect::Close { site, .. } if site == "site-0"));
    effects
        .into_iter()
        .for_each(|effect| world.carry_out(effect));
    world.calm();
    let rounds = &world.finished.unwrap().runs[0].rounds;
    assert_eq!(
        rounds[0].missing,
        [(site_name("site-0"), "dropped by the operator".to_string())]
    );
    let all = rounds
        .iter()
        .flat_map(|round| &round.updates)
        .map(|update| update.site.as_str());
    assert_eq!(all.collect::<Vec<_>>(), ["site-1", "site-2"].repeat(3));
    assert!(rounds[1].missing.is_empty(), "it was not asked");
}

#[test]
fn a_dropped_site_stays_out_over_a_restart() {
    let mut world = at_work();
    world.tell(Event::Drop {
        site: site_name("site-2"),
    });
    world.restart();
    world.calm();
    let outcome = world.finished.unwrap();
    let updates = outcome.runs[0]
        .rounds
        .iter()
        .flat_map(|round| &round.updates);
    assert_eq!(
        updates
            .map(|update| update.site.as_str())
            .collect::<Vec<_>>(),
        ["site-0", "site-1"].repeat(3)
    );
    assert!(
        outcome.runs[0]
            .scores
            .iter()
            .all(|scores| scores.site != "site-2")
    );
}

#[test]
fn a_beginning_does_not_wait_for_a_dropped_site() {
    let mut world = World::new(EXPECTED, false, 3);
    ["site-0", "site-1", "site-2"]
        .iter()
        .for_each(|name| world.connect(name));
    arrive(&mut world);
    assert!(asked(&world).is_empty());
    world.tell(Event::Drop {
        site: site_name("held-out"),
    });
    arrive(&mut world);
    assert_eq!(asked(&world).len(), 2);
    assert!(world.coordinator.site("held-out").is_some());
    assert!(world.coordinator.site("mallory").is_none());
    assert!(
        world
            .coordinator
            .handle(
                Event::Drop {
                    site: site_name("mallory")
                },
                world.now
            )
            .is_empty()
    );
}

#[test]
fn a_drop_that_leaves_too_few_training_sites_can_be_told_before() {
    let mut world = at_work();
    assert_eq!(
        world.coordinator.too_few_without(&site_name("held-out")),
        None,
        "it trains nothing"
    );
    assert_eq!(
        world.coordinator.too_few_without(&site_name("site-0")),
        None,
        "two are left of two"
    );
    world.tell(Event::Drop {
        site: site_name("site-0"),
    });
    assert!(world.coordinator.is_dropped(&site_name("site-0")));
    assert_eq!(
        world.coordinator.too_few_without(&site_name("site-1")),
        Some(TooFewLeft {
            left: 1,
            minimum: 2
        })
    );
    assert_eq!(
        world.coordinator.too_few_without(&site_name("site-0")),
        None,
        "it is out already"
    );
    assert_eq!(
        world.coordinator.site_names(),
        ["held-out", "site-0", "site-1", "site-2"]
    );
}

#[test]
fn drained_a_whole_round_is_still_averaged_and_kept() {
    let mut world = at_work();
    world.names().iter().for_each(|name| world.work(name));
    arrive(&mut world);
    world.work("site-2");
    world.tell(Event::Drain);
    arrive(&mut world);
    assert_eq!(world.checkpoint.as_ref().unwrap().runs[0].finished, 1);
    world.tell(Event::Resume);
    arrive(&mut world);
    assert!(asked(&world).is_empty(), "there is no way back");
}

#[test]
fn a_pause_outlives_the_coordinator_and_its_drain() {
    let mut world = World::new(EXPECTED, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    world.tell(Event::Pause);
    world.tell(Event::Drain);
    world.restart();
    world.names().iter().for_each(|name| world.connect(name));
    arrive(&mut world);
    assert!(asked(&world).is_empty(), "it goes on by itself");
    world.tell(Event::Resume);
    world.restart();
    world.calm();
    assert_eq!(world.models(), undisturbed(EXPECTED, false).models());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn pauses_change_no_model(schedule in prop::collection::vec(any::<(u8, u8, bool)>(), 0..400)) {
        let mut world = World::new(EXPECTED, false, 3);
        world.names().iter().for_each(|name| world.connect(name));
        for step in schedule {
            match step {
                _ if world.finished.is_some() => {}
                (what, _, true) if what % 16 == 15 => world.tell(Event::Pause),
                (what, _, false) if what % 16 == 15 => world.tell(Event::Resume),
                other => world.step(other),
            }
        }
        world.tell(Event::Resume);
        world.calm();
        let quiet = undisturbed(EXPECTED, false);
        prop_assert_eq!(world.models(), quiet.models());
    }
}
