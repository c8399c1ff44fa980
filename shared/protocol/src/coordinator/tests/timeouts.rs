//! Only what moves an open task on renews timeout: no site holds a round without end.

use super::*;

const PATIENT: &str = "sites = { expected = ['site-0', 'site-1', 'site-2', 'held-out'], minimum \
                       = 2, patience_s = 20 }\ntraining = { steps = 50 }";

/// Three sites were asked to train; all but the first have answered.
fn waiting(extra: &str) -> World {
    let mut world = World::new(extra, false, 3);
    world.names().iter().for_each(|name| world.connect(name));
    world.arrive();
    ["site-1", "site-2"]
        .iter()
        .for_each(|name| world.work(name));
    world.arrive();
    assert_eq!(rounds(&world), 0, "the round waits for the first site");
    world
}

fn rounds(world: &World) -> u32 {
    world.coordinator.checkpoint().runs[0].finished
}

fn pass(world: &mut World, seconds: u64) {
    world.now += Duration::from_secs(seconds);
    world.tell(Event::Tick);
    world.arrive();
}

fn says(world: &mut World, message: SiteMessage) {
    let connection = world.peers["site-0"].connection.unwrap();
    world.tell(Event::Message {
        site: site_name("site-0"),
        connection,
        message,
    });
}

/// Why the first site is missing in the first round.
fn missing(world: &World) -> String {
    let run = &world.coordinator.checkpoint().runs[0];
    let round = world.rounds(0, run).remove(0);
    assert_eq!(round.updates.len(), 2);
    round
        .missing
        .iter()
        .find(|(site, _)| site == "site-0")
        .unwrap()
        .1
        .clone()
}

#[test]
fn a_site_that_crashes_and_comes_back_every_few_seconds_is_given_up() {
    for steps in [0, 3] {
        let mut world = waiting(PATIENT);
        let mut seconds = 0;
        while rounds(&world) == 0 {
            (0..steps).for_each(|_| world.step_on("site-0"));
            world.arrive();
            world.restart_site("site-0");
            world.connect("site-0");
            pass(&mut world, 8);
            seconds += 8;
            assert!(seconds < 120, "the round is held for ever");
        }
        assert!(
            seconds > 20 && missing(&world).contains("times and got no further"),
            "{}",
            missing(&world)
        );
        let open = world.coordinator.checkpoint().runs[0].open.clone();
        assert!(
            open.is_none_or(|open| open.round == 2),
            "the round went on without it"
        );
    }
}

#[test]
fn a_site_that_only_prepares_its_data_is_given_up() {
    let mut world = waiting(PATIENT);
    world.restart_site("site-0");
    let hello = Hello {
        protocol: PROTOCOL,
        software: String::new(),
        role: Role::Train,
        sequences: vec!["a".into()],
    };
    world.tell(Event::Connected {
        site: site_name("site-0"),
        connection: 999,
        hello,
    });
    for done in 1..=30 {
        world.now += Duration::from_secs(1);
        let message = SiteMessage::Preparing {
            done,
            total: u32::MAX,
        };
        world.tell(Event::Message {
            site: site_name("site-0"),
            connection: 999,
            message,
        });
        world.tell(Event::Tick);
    }
    world.arrive();
    assert_eq!(missing(&world), "no progress for 20 s");
}

#[test]
fn mail_about_other_tasks_renews_no_patience() {
    let mut world = waiting(PATIENT);
    let other = TaskId {
        kind: TaskKind::Evaluate(Cases::Validation),
        pass: 0,
        ..world::task(1)
    };
    for second in 0..30 {
        let wanted = EvaluationRequest::default();
        says(
            &mut world,
            SiteMessage::Scored {
                task: other,
                score: world::case(other, second, &wanted),
            },
        );
        says(
            &mut world,
            SiteMessage::Preparing {
                done: second,
                total: 100,
            },
        );
        let progress = |task, done| Progress {
            task,
            done,
            total: 50,
            loss: None,
            slices_per_second: 1.0,
        };
        says(
            &mut world,
            SiteMessage::Progress(progress(world::task(7), second)),
        );
        // The open task, further than it can get.
        says(
            &mut world,
            SiteMessage::Progress(progress(world::task(1), 51 + second)),
        );
        pass(&mut world, 1);
    }
    assert_eq!(missing(&world), "no progress for 20 s");
}

#[test]
fn a_slow_site_that_gets_on_is_waited_for_over_crashes_and_broken_lines() {
    let mut world = waiting(PATIENT);
    for step in 0..50 {
        world.step_on("site-0");
        world.arrive();
        if step == 20 {
            world.restart_site("site-0");
            world.connect("site-0");
        } else if step % 2 == 0 {
            world.cut("site-0");
            world.connect("site-0");
        }
        world.arrive();
        pass(&mut world, 15);
        assert_eq!(rounds(&world), 0, "step {step}");
    }
    (0..21).for_each(|_| world.step_on("site-0"));
    world.arrive();
    assert_eq!(rounds(&world), 1);
    let run = &world.coordinator.checkpoint().runs[0];
    assert_eq!(world.rounds(0, run)[0].updates.len(), 3);
}

#[test]
fn a_site_that_works_on_after_it_was_told_to_conclude_is_given_up() {
    let mut world = waiting(&PATIENT.replace("patience_s", "deadline_s = 5, patience_s"));
    for done in 1..=40 {
        let progress = Progress {
            task: world::task(1),
            done,
            total: 50,
            loss: None,
            slices_per_second: 1.0,
        };
        says(&mut world, SiteMessage::Progress(progress));
        pass(&mut world, 1);
    }
    assert_eq!(missing(&world), "no progress for 20 s");
}

#[test]
fn a_site_that_comes_and_goes_does_not_keep_the_others_from_beginning() {
    let mut world = World::new(PATIENT, false, 3);
    ["site-0", "site-1"]
        .iter()
        .for_each(|name| world.connect(name));
    world.arrive();
    for _ in 0..10 {
        world.connect("site-2");
        world.arrive();
        world.restart_site("site-2");
        pass(&mut world, 4);
    }
    assert!(world.peers["site-0"].work.is_some(), "they wait for ever");
}

#[test]
fn a_weight_beyond_what_was_asked_for_is_refused() {
    for extra in [
        PATIENT.to_string(),
        PATIENT.replace("steps = 50", "epochs = 3"),
    ] {
        let mut world = waiting(&extra);
        // 50 steps of 8 slices, or 3 times the 10 slices that the site has, in steps of 8.
        let (steps, slices) = (4_000_000, 16_000_000);
        let trained = Trained {
            task: world::task(1),
            parameters: ParametersId([1; 32]),
            slices,
            steps,
            asked_steps: steps,
            mean_loss: 1.0,
            last_loss: 1.0,
            seconds: 1.0,
            sequences: metrics::sequence::SequenceSet::full(1),
            compute: crate::settings::Compute::F32,
        };
        says(&mut world, SiteMessage::Trained(trained));
        world.arrive();
        assert!(
            missing(&world).contains("its summary cannot be: 16000000 slices"),
            "{}",
            missing(&world)
        );
        world.arrive();
        let told = &world.not_counted;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].2, missing(&world), "the site is told the same");
    }
}
