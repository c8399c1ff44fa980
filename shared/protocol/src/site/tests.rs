use super::*;
use crate::identity::tests::site_name;
use crate::message::RunId;

fn task(round: u32) -> TaskId {
    TaskId {
        run: RunId(0),
        round,
        kind: TaskKind::Train,
        pass: 0,
    }
}

fn model(byte: u8) -> ParametersId {
    ParametersId([byte; 32])
}

fn train(round: u32, byte: u8) -> Event {
    Event::Message(CoordinatorMessage::Train {
        task: task(round),
        model: model(byte),
        steps: None,
    })
}

fn received(round: u32, byte: u8) -> Event {
    Event::Received(TransferHeader {
        parameters: model(byte),
        bytes: 4,
        task: task(round),
    })
}

fn trained(round: u32, byte: u8) -> Trained {
    let sequences = metrics::sequence::SequenceSet::full(1);
    let (mean_loss, last_loss, seconds) = (1.0, 1.0, 1.0);
    Trained {
        task: task(round),
        parameters: model(byte),
        slices: 1,
        steps: 1,
        asked_steps: 2,
        mean_loss,
        last_loss,
        seconds,
        sequences,
        compute: crate::settings::Compute::F32,
    }
}

fn welcome() -> Event {
    let text = "name = 'w'\nrounds = 1\n[input]\nsequences = ['a']\n";
    let federation = Box::new(crate::settings::Federation::from_toml(text).unwrap());
    Event::Message(CoordinatorMessage::Welcome {
        federation,
        site: site_name("north"),
    })
}

fn joined() -> StateMachine {
    let mut machine = StateMachine::new(4);
    machine.handle(welcome());
    machine
}

#[test]
fn work_begins_when_request_and_model_are_here_in_any_order() {
    for events in [[train(1, 7), received(1, 7)], [received(1, 7), train(1, 7)]] {
        let mut machine = joined();
        let effects: Vec<Effect> = events
            .into_iter()
            .flat_map(|event| machine.handle(event))
            .collect();
        assert_eq!(
            effects,
            [Effect::Start(Work {
                task: task(1),
                models: vec![model(7)],
                wanted: EvaluationRequest::default(),
                steps: None
            })]
        );
    }
}

#[test]
fn a_model_of_another_task_starts_nothing() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    assert_eq!(machine.handle(received(1, 8)), []);
}

#[test]
fn a_repeated_request_starts_nothing_twice_and_gets_the_result_again() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    assert_eq!(machine.handle(train(1, 7)), []);
    let mut told = machine.handle(Event::Trained(trained(1, 9)));
    assert!(matches!(told.remove(0), Effect::Persist(_)));
    let header = TransferHeader {
        parameters: model(9),
        bytes: 4,
        task: task(1),
    };
    assert_eq!(
        told,
        [
            Effect::Send(SiteMessage::Trained(trained(1, 9))),
            Effect::SendParameters(header)
        ]
    );
    assert_eq!(machine.handle(train(1, 7)), told);
}

#[test]
fn what_ends_while_nobody_listens_is_told_when_asked_again() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    machine.handle(Event::Disconnected);
    assert!(matches!(
        machine.handle(Event::Trained(trained(1, 9)))[..],
        [Effect::Persist(_)]
    ));
    assert_eq!(machine.handle(welcome()), []);
    assert_eq!(machine.handle(train(1, 7)).len(), 2);
}

#[test]
fn another_task_replaces_the_running_one_whose_result_is_then_ignored() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    assert_eq!(
        machine.handle(train(2, 8)),
        [Effect::Cancel, Effect::Forget(model(7))]
    );
    let effects = machine.handle(Event::Trained(trained(1, 9)));
    assert_eq!(effects, [Effect::Forget(model(9))]);
}

#[test]
fn models_that_nobody_needs_are_forgotten() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    machine.handle(Event::Trained(trained(1, 9)));
    assert_eq!(machine.handle(received(2, 8)), []);
    let effects = machine.handle(train(2, 8));
    assert!(
        effects.contains(&Effect::Forget(model(7))) && effects.contains(&Effect::Forget(model(9))),
        "{effects:?}"
    );
}

#[test]
fn a_consensus_waits_for_all_its_models_which_may_come_before_the_request() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    machine.handle(Event::Trained(trained(1, 9)));
    assert_eq!(machine.handle(received(2, 3)), []);
    assert_eq!(machine.handle(received(2, 4)), []);
    let task = TaskId {
        kind: TaskKind::Evaluate(crate::case::Cases::Validation),
        ..task(2)
    };
    let (models, wanted) = (
        vec![model(3), model(4), model(5)],
        EvaluationRequest::default(),
    );
    let ask = CoordinatorMessage::Evaluate {
        task,
        models: models.clone(),
        wanted: wanted.clone(),
    };
    let effects = machine.handle(Event::Message(ask));
    assert_eq!(
        effects,
        [Effect::Forget(model(7)), Effect::Forget(model(9))]
    );
    assert_eq!(
        machine.handle(received(2, 5)),
        [Effect::Start(Work {
            task,
            models,
            wanted,
            steps: None
        })]
    );
}

#[test]
fn a_finished_training_is_kept_before_it_is_told_and_told_again_after_a_restart() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    let effects = machine.handle(Event::Trained(trained(1, 9)));
    let Effect::Persist(finished) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert!(matches!(effects[1], Effect::Send(SiteMessage::Trained(_))));

    let mut restarted = StateMachine::resumed(4, finished.clone());
    restarted.handle(welcome());
    let effects = restarted.handle(train(1, 7));
    assert!(
        matches!(
            effects[..],
            [
                Effect::Send(SiteMessage::Trained(_)),
                Effect::SendParameters(_)
            ]
        ),
        "{effects:?}"
    );
    // The same round of another model is another task.
    let mut other = StateMachine::resumed(4, finished.clone());
    other.handle(welcome());
    assert_eq!(other.handle(train(1, 8)), [Effect::Forget(model(9))]);
    // So is the same round with another number of steps.
    let mut other = StateMachine::resumed(4, finished.clone());
    other.handle(welcome());
    let fewer = CoordinatorMessage::Train {
        task: task(1),
        model: model(7),
        steps: Some(3),
    };
    assert_eq!(
        other.handle(Event::Message(fewer)),
        [Effect::Forget(model(9))]
    );
}

fn conclude(round: u32) -> Event {
    Event::Message(CoordinatorMessage::Conclude { task: task(round) })
}

#[test]
fn a_training_concludes_when_told_and_what_it_came_to_is_told_like_any_result() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    for _ in 0..2 {
        assert_eq!(machine.handle(conclude(1)), [Effect::Conclude]);
    }
    let told = machine.handle(Event::Trained(trained(1, 9)));
    assert!(matches!(
        told[0],
        Effect::Persist(Finished {
            trained: Trained {
                steps: 1,
                asked_steps: 2,
                ..
            },
            ..
        })
    ));
    assert_eq!(
        machine.handle(train(1, 7)),
        told[1..],
        "asked again, it has the same result"
    );
}

#[test]
fn a_conclusion_that_comes_late_or_is_about_another_task_changes_nothing() {
    let mut machine = joined();
    assert_eq!(machine.handle(conclude(1)), []);
    machine.handle(train(2, 7));
    machine.handle(received(2, 7));
    assert_eq!(machine.handle(conclude(1)), []);
    machine.handle(Event::Trained(trained(2, 9)));
    assert_eq!(machine.handle(conclude(2)), []);
    let scoring = TaskId {
        kind: TaskKind::Evaluate(crate::case::Cases::Validation),
        ..task(3)
    };
    let ask = CoordinatorMessage::Evaluate {
        task: scoring,
        models: vec![model(9)],
        wanted: EvaluationRequest::default(),
    };
    assert!(matches!(
        machine.handle(Event::Message(ask))[..],
        [Effect::Start(_), ..]
    ));
    assert_eq!(
        machine.handle(Event::Message(CoordinatorMessage::Conclude {
            task: scoring
        })),
        []
    );
}

#[test]
fn a_training_that_could_not_begin_by_the_deadline_gives_nothing_and_says_so() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    let told = machine.handle(conclude(1));
    assert!(
        matches!(&told[..], [Effect::Send(SiteMessage::Failed { reason, .. })] if reason.contains("first \
            step"))
    );
    assert_eq!(
        machine.handle(received(1, 7)),
        [],
        "it is not begun any more"
    );
    assert!(
        matches!(machine.handle(train(1, 7))[..], [Effect::Start(_)]),
        "unless it is asked for again"
    );
}

#[test]
fn a_failed_task_that_is_asked_for_again_is_tried_again() {
    let mut machine = joined();
    machine.handle(train(1, 7));
    machine.handle(received(1, 7));
    machine.handle(Event::Failed {
        task: task(1),
        reason: "the disk is full".into(),
    });
    assert!(matches!(
        machine.handle(train(1, 7))[..],
        [Effect::Start(_)]
    ));
}
