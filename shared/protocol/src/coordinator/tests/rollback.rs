//! Updates far beyond the others', and models that no site can work with.

use super::*;

const FOUR: &str =
    "sites = { expected = ['site-0', 'site-1', 'site-2', 'site-3', 'held-out'], minimum = 2 }";

fn connected(extra: &str, trainers: usize) -> World {
    let mut world = World::new(extra, false, trainers);
    world.names().iter().for_each(|name| world.connect(name));
    world.arrive();
    world
}

/// Every site works at what it was asked, and what it sends arrives.
fn work(world: &mut World) {
    world.names().iter().for_each(|name| world.work(name));
    world.arrive();
}

/// Whatever the sites are asked fails.
fn fail(world: &mut World) {
    world.names().iter().for_each(|name| world.fail(name));
    world.arrive();
}

fn went_back(world: &World) -> Vec<(u32, u32)> {
    let back = |notification: &Notification| match notification {
        Notification::WentBack { round, to, .. } => Some((*round, *to)),
        _ => None,
    };
    world.happened.iter().filter_map(back).collect()
}

fn run(world: &World) -> RunProgress {
    world.coordinator.checkpoint().runs[0].clone()
}

#[test]
fn an_update_far_beyond_the_others_is_refused_by_name_and_the_round_goes_on() {
    for extra in [
        FOUR.to_string(),
        format!("{FOUR}\nbuffered = {{ size = 4 }}"),
    ] {
        let mut world = World::new(&extra, false, 4);
        world.distances =
            BTreeMap::from([(site_name("site-2"), 3e38), (site_name("site-1"), 50.0)]);
        world.calm();
        let rounds = &world.finished.as_ref().unwrap().runs[0].rounds;
        for round in rounds {
            let counted: Vec<&str> = round
                .updates
                .iter()
                .map(|update| update.site.as_str())
                .collect();
            assert_eq!(counted, ["site-0", "site-1", "site-3"], "{extra}");
            let (site, reason) = &round.missing[0];
            assert!(
                site == "site-2" && reason.contains("3.000e38") && reason.contains("median"),
                "{site}: {reason}"
            );
        }
        let told = |notification: &&Notification| matches!(notification, Notification::Failed { site, .. } if site == "site-2");
        assert_eq!(world.happened.iter().filter(told).count(), 3);
        for (index, (site, task, reason)) in world.not_counted.iter().enumerate() {
            let expected = "its update was refused: it is 3.000e38 away from the model that it \
                started from, more than 100 times the median of 4 updates, 1.000e0";
            assert_eq!((site.as_str(), reason.as_str()), ("site-2", expected));
            assert_eq!(*task, world::task(index as u32 + 1));
        }
        assert_eq!(world.not_counted.len(), 3, "the site itself is told");
    }
}

#[test]
fn the_settings_say_how_far_an_update_may_go() {
    let mut world = World::new(&format!("outlier_factor = 7.0\n{FOUR}"), false, 4);
    world.distances = BTreeMap::from([(site_name("site-2"), 7.1), (site_name("site-1"), 6.9)]);
    world.calm();
    for (site, _, reason) in &world.not_counted {
        assert_eq!(site.as_str(), "site-2");
        assert!(reason.contains("more than 7 times"), "{reason}");
    }
    assert_eq!(world.not_counted.len(), 3);
}

#[test]
fn refused_updates_do_not_count_for_the_fewest_that_a_round_needs() {
    let all = FOUR.replace("minimum = 2", "minimum = 4");
    let mut world = World::new(&all, false, 4);
    world.distances = BTreeMap::from([(site_name("site-3"), 1e6)]);
    world.calm();
    let stopped = world.stopped.unwrap();
    assert!(
        stopped.starts_with("round 1 has 3 of at least 4 updates (site-3: its update was refused"),
        "{stopped}"
    );
}

#[test]
fn too_few_updates_for_a_comparison_are_all_counted() {
    let mut world = World::new(EXPECTED, false, 2);
    world.plan.federation.sites.expected = Vec::new();
    world.distances = BTreeMap::from([(site_name("site-1"), 3e38)]);
    world.restart();
    world.calm();
    assert!(
        world.finished.unwrap().runs[0]
            .rounds
            .iter()
            .all(|round| round.updates.len() == 2)
    );
}

/// Round 1 was scored; no site can score the model of round 2.
fn second_model_is_broken() -> World {
    let mut world = connected(FOUR, 4);
    work(&mut world);
    work(&mut world);
    assert!(
        run(&world).scored
            && run(&world)
                .sound
                .is_some_and(|sound| sound.version == Version(1))
    );
    work(&mut world);
    assert_eq!(run(&world).finished, 2);
    fail(&mut world);
    world
}

#[test]
fn a_model_that_no_site_can_score_gives_its_place_to_the_one_before() {
    let mut world = second_model_is_broken();
    assert_eq!(went_back(&world), [(2, 1)]);
    let first = run(&world).sound.unwrap().parameters;
    assert_eq!(
        run(&world).model,
        Some(first),
        "round 3 starts from the model of round 1"
    );
    assert_eq!(world.peers["site-0"].work.as_ref().unwrap().models, [first]);
    world.calm();
    let rounds = &world.finished.as_ref().unwrap().runs[0].rounds;
    assert_eq!(rounds.len(), 3);
    assert!(
        rounds[1]
            .missing
            .iter()
            .all(|(_, reason)| reason.contains("discarded"))
            && rounds[1].missing.len() == 4
    );
    assert_eq!(rounds[1].validation, None);
}

#[test]
fn a_restart_before_the_earlier_model_is_stored_goes_back_all_the_same() {
    let mut world = connected(FOUR, 4);
    work(&mut world);
    work(&mut world);
    work(&mut world);
    world.names().iter().for_each(|name| world.fail(name));
    for name in world.names() {
        (0..4).for_each(|_| world.deliver_up(&name, false, false));
    }
    assert!(
        run(&world).discarded.is_some()
            && world.checkpoint.as_ref().unwrap().runs[0]
                .discarded
                .is_some()
    );
    world.restart();
    world.calm();
    assert_eq!(went_back(&world), [(2, 1)]);
    assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
}

#[test]
fn a_model_that_no_site_can_train_from_gives_its_place_to_the_one_before() {
    for (extra, back) in [
        (FOUR.to_string(), (1, 0)),
        (format!("{FOUR}\nbuffered = {{ size = 4 }}"), (1, 0)),
    ] {
        let mut world = connected(&extra, 4);
        work(&mut world);
        // No site ever scored a model, so that failing at it says nothing yet.
        if !extra.contains("buffered") {
            fail(&mut world);
            assert_eq!((run(&world).validated, went_back(&world)), (true, vec![]));
        }
        fail(&mut world);
        assert_eq!(went_back(&world), [back], "{extra}");
        assert_eq!(
            (run(&world).model, run(&world).best),
            (Some(world.plan.initial), None)
        );
        assert_eq!(world.stopped, None);
        world.calm();
        assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
    }
}

#[test]
fn where_the_model_before_does_not_help_either_the_federation_stops() {
    let mut world = connected(FOUR, 4);
    work(&mut world);
    (0..4).for_each(|_| fail(&mut world));
    assert_eq!(went_back(&world), [(1, 0)]);
    let reason = world.stopped.take().unwrap();
    assert!(
        reason.contains("round 2 has 0 of at least 2 updates") && reason.contains("the loss"),
        "{reason}"
    );
    world.restart();
    world.calm();
    assert_eq!(world.finished.unwrap().runs[0].rounds.len(), 3);
}

#[test]
fn sites_that_never_could_score_discard_no_model() {
    let mut world = connected(FOUR, 4);
    for _ in 0..3 {
        work(&mut world);
        fail(&mut world);
    }
    assert!(went_back(&world).is_empty());
    assert_eq!(run(&world).finished, 3);
}
