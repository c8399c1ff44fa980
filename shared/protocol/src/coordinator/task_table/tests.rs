use super::*;
use crate::case::Cases;
use crate::identity::Version;
use crate::identity::tests::site_name;
use crate::jpeg::tests::bones;
use crate::overlay::MOST;

const TASK: TaskId = TaskId {
    run: RunId::FEDERATION,
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
        version: task.base(),
        parameters: ParametersId([1; 32]),
    };
    let mut task_table = TaskTable::new(None, 4, 4);
    let wanted = EvaluationRequest {
        thresholds,
        ..EvaluationRequest::default()
    };
    task_table.add(
        &site_name("north"),
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
    match task_table.evaluated(&site_name("north"), task, 0) {
        Some(TaskResult::Scores(counted)) => counted.overlays,
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_pictures_than_there_are_ranks_are_dropped_and_a_repeated_one_counts_once() {
    let mut task_table = task_table(TASK, vec![0.5]);
    (0..9).for_each(|case| task_table.overlay_drawn(&site_name("north"), TASK, overlay(case, 1)));
    task_table.overlay_drawn(&site_name("north"), TASK, overlay(2, 7));
    assert_eq!(
        kept(&mut task_table, TASK),
        [overlay(0, 1), overlay(1, 1), overlay(2, 7)]
    );
    assert_eq!(MOST, 3);
    task_table.overlay_drawn(&site_name("north"), TASK, overlay(0, 1));
}

#[test]
fn pictures_that_no_report_waits_for_are_dropped() {
    let alone = TaskId {
        run: RunId(1),
        ..TASK
    };
    for (task, thresholds) in [(TASK, vec![]), (alone, vec![0.5])] {
        let mut task_table = task_table(task, thresholds);
        task_table.overlay_drawn(&site_name("north"), task, overlay(0, 1));
        task_table.overlay_drawn(&site_name("south"), task, overlay(0, 1));
        task_table.overlay_drawn(
            &site_name("north"),
            TaskId { round: 2, ..task },
            overlay(0, 1),
        );
        assert_eq!(kept(&mut task_table, task), []);
    }
}

/// What becomes of a training of 4 steps at most with 8 slices each, whose summary is this one.
fn summary(change: impl Fn(&mut Trained)) -> Option<TaskResult> {
    let task = TaskId::training(RunId::FEDERATION, Version::INITIAL);
    let mut task_table = task_table(task, Vec::new());
    let mut trained = Trained {
        task,
        parameters: ParametersId([1; 32]),
        slices: 32,
        steps: 4,
        asked_steps: 4,
        mean_loss: 1.0,
        last_loss: 1.0,
        seconds: 1.0,
        sequences: SequenceSet::full(1),
        compute: crate::settings::Compute::F32,
    };
    change(&mut trained);
    let most = MostWork { batch: 8, steps: 4 };
    task_table.trained(&site_name("north"), trained, most, Duration::ZERO)
}

#[test]
fn a_refused_summary_says_which_of_its_numbers_cannot_be() {
    assert_eq!(summary(|_| ()), None, "a sound one waits for its bytes");
    let refused = |change: &dyn Fn(&mut Trained)| match summary(change) {
        Some(TaskResult::Missing(TaskFailure::Summary(rejection))) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        refused(&|trained| trained.slices = 0),
        SummaryRejection::NoSlices {
            steps: 4,
            asked_steps: 4
        }
    );
    assert_eq!(
        refused(&|trained| trained.slices = 33),
        SummaryRejection::Slices {
            slices: 33,
            steps: 4,
            batch: 8
        }
    );
    assert_eq!(
        refused(&|trained| trained.asked_steps = 3),
        SummaryRejection::Steps {
            slices: 32,
            steps: 4,
            asked_steps: 3
        }
    );
    assert_eq!(
        refused(&|trained| trained.asked_steps = 5),
        SummaryRejection::AskedSteps {
            slices: 32,
            steps: 4,
            asked_steps: 5,
            most_steps: 4
        }
    );
    assert_eq!(
        refused(&|trained| trained.sequences = SequenceSet::EMPTY),
        SummaryRejection::NoSequence { slices: 32 }
    );
    let loss = refused(&|trained| trained.last_loss = f32::INFINITY);
    assert_eq!(
        loss.to_string(),
        "its loss is not a number: 1 over all steps, inf over the last ones"
    );
}

fn score(case: u32, thresholds: &[f32]) -> CaseScore {
    let mut at = Vec::new();
    for &threshold in thresholds {
        at.push(metrics::score::AtThreshold {
            threshold,
            ..Default::default()
        });
    }
    CaseScore {
        case,
        subset: SequenceSet::full(1),
        voxel_mm3: 1.0,
        brain: Default::default(),
        outside: Default::default(),
        at,
        sweep: Vec::new(),
    }
}

/// What becomes of a site's scores of its two cases.
fn scored(scores: Vec<CaseScore>) -> Option<TaskResult> {
    let mut task_table = task_table(TASK, vec![0.5]);
    let mut answer = None;
    for score in scores {
        answer = task_table.scored(&site_name("north"), TASK, score, 2, Duration::ZERO);
    }
    answer
}

#[test]
fn refused_scores_name_the_case_and_what_is_wrong_with_it() {
    let refused = |scores| match scored(scores) {
        Some(TaskResult::Missing(TaskFailure::Scores(rejection))) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(scored(vec![score(0, &[0.5]), score(1, &[0.5])]), None);
    assert_eq!(
        refused(vec![score(1, &[0.25])]),
        ScoreRejection::Thresholds {
            case: 1,
            asked: 1,
            found: 1
        }
    );
    let mut broken = score(1, &[0.5]);
    broken.brain.bins = vec![(3, 0, 0)];
    assert_eq!(
        refused(vec![broken]),
        ScoreRejection::Histogram {
            case: 1,
            error: metrics::voxel::HistogramError::Empty(3)
        }
    );
    let three = (0..3).map(|case| score(case, &[0.5])).collect();
    assert_eq!(refused(three), ScoreRejection::Many { most: 2 });
    let subset = SubsetScore {
        case: 1,
        subset: SequenceSet::full(1),
        auc_brain: None,
        auc_volume: None,
        at: Vec::new(),
    };
    let answer = task_table(TASK, vec![0.5]).subset_scored(
        &site_name("north"),
        TASK,
        subset,
        2,
        Duration::ZERO,
    );
    let rejection = ScoreRejection::Subset { case: 1 };
    assert_eq!(
        answer,
        Some(TaskResult::Missing(TaskFailure::Scores(rejection)))
    );
}
