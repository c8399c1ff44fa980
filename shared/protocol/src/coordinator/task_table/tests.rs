use super::*;
use crate::case::Cases;
use crate::jpeg::tests::bones;
use crate::overlay::MOST;

const TASK: TaskId = TaskId {
    run: RunId(0),
    round: 1,
    kind: TaskKind::Evaluate(Cases::HeldOut),
    pass: 1,
};

fn overlay(case: u32, byte: u8) -> Overlay {
    Overlay {
        case,
        picture: Picture::new(bones(&[byte])).unwrap(),
    }
}

fn task_table(task: TaskId, thresholds: Vec<f32>) -> TaskTable {
    let model = ModelRef {
        run: task.run,
        round: task.round,
        parameters: ParametersId([1; 32]),
    };
    let mut task_table = TaskTable::new(None, 4, 4);
    let wanted = EvaluationRequest {
        thresholds,
        ..EvaluationRequest::default()
    };
    task_table.add(
        "north",
        task,
        TaskSpec {
            models: vec![model],
            wanted,
            steps: None,
        },
        Duration::ZERO,
    );
    task_table
}

/// The pictures of the answer once the site says that it scored no case.
fn kept(task_table: &mut TaskTable, task: TaskId) -> Vec<Overlay> {
    match task_table.evaluated("north", task, 0) {
        Some(TaskResult::Scores(counted)) => counted.overlays,
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_pictures_than_there_are_ranks_are_dropped_and_a_repeated_one_counts_once() {
    let mut task_table = task_table(TASK, vec![0.5]);
    (0..9).for_each(|case| task_table.overlay_drawn("north", TASK, overlay(case, 1)));
    task_table.overlay_drawn("north", TASK, overlay(2, 7));
    assert_eq!(
        kept(&mut task_table, TASK),
        [overlay(0, 1), overlay(1, 1), overlay(2, 7)]
    );
    assert_eq!(MOST, 3);
    task_table.overlay_drawn("north", TASK, overlay(0, 1));
}

#[test]
fn pictures_that_no_report_waits_for_are_dropped() {
    let alone = TaskId {
        run: RunId(1),
        ..TASK
    };
    for (task, thresholds) in [(TASK, vec![]), (alone, vec![0.5])] {
        let mut task_table = task_table(task, thresholds);
        task_table.overlay_drawn("north", task, overlay(0, 1));
        task_table.overlay_drawn("south", task, overlay(0, 1));
        task_table.overlay_drawn("north", TaskId { round: 2, ..task }, overlay(0, 1));
        assert_eq!(kept(&mut task_table, task), []);
    }
}
