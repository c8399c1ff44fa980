use super::*;
use crate::case::Cases;
use crate::overlay::MOST;
use crate::picture::tests::bones;

const TASK: TaskId = TaskId { run: RunId(0), round: 1, kind: TaskKind::Evaluate(Cases::HeldOut), pass: 1 };

fn overlay(case: u32, byte: u8) -> Overlay {
    Overlay { case, picture: Picture::new(bones(&[byte])).unwrap() }
}

fn desk(task: TaskId, thresholds: Vec<f32>) -> Desk {
    let model = ModelRef { run: task.run, round: task.round, parameters: ParametersId([1; 32]) };
    let mut desk = Desk::new(None, 4, 4);
    let wanted = Wanted { thresholds, ..Wanted::default() };
    desk.add("north", task, Order { models: vec![model], wanted, steps: None }, Duration::ZERO);
    desk
}

/// The pictures of the answer once the site says that it scored no case.
fn kept(desk: &mut Desk, task: TaskId) -> Vec<Overlay> {
    match desk.evaluated("north", task, 0) {
        Some(Answer::Scores(counted)) => counted.overlays,
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_pictures_than_there_are_ranks_are_dropped_and_a_repeated_one_counts_once() {
    let mut desk = desk(TASK, vec![0.5]);
    (0..9).for_each(|case| desk.drawn("north", TASK, overlay(case, 1)));
    desk.drawn("north", TASK, overlay(2, 7));
    assert_eq!(kept(&mut desk, TASK), [overlay(0, 1), overlay(1, 1), overlay(2, 7)]);
    assert_eq!(MOST, 3);
    desk.drawn("north", TASK, overlay(0, 1));
}

#[test]
fn pictures_that_no_report_waits_for_are_dropped() {
    let alone = TaskId { run: RunId(1), ..TASK };
    for (task, thresholds) in [(TASK, vec![]), (alone, vec![0.5])] {
        let mut desk = desk(task, thresholds);
        desk.drawn("north", task, overlay(0, 1));
        desk.drawn("south", task, overlay(0, 1));
        desk.drawn("north", TaskId { round: 2, ..task }, overlay(0, 1));
        assert_eq!(kept(&mut desk, task), []);
    }
}
