use super::*;
use protocol::message::{EvaluationRequest, RunId};
use protocol::parameters::ParametersId;

fn federation(more: &str) -> Federation {
    let text = format!(
        "name = 'f'\nrounds = 3\n[model]\npreset = 'tiny'\n[input]\nsequences = ['a']\n{more}"
    );
    Federation::from_toml(&text).unwrap()
}

fn policy(text: &str) -> Policy {
    toml::from_str(text).unwrap()
}

/// A time of the first of January 2027, UTC.
fn at(hour: u64, minute: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(20_819 * 86_400 + hour * 3600 + minute * 60)
}

fn task(round: u32, kind: TaskKind) -> TaskId {
    TaskId {
        run: RunId(0),
        round,
        kind,
        pass: 0,
    }
}

fn train(round: u32, steps: Option<u32>) -> CoordinatorMessage {
    CoordinatorMessage::Train {
        task: task(round, TaskKind::Train),
        model: ParametersId([0; 32]),
        steps,
    }
}

fn usage(folder: &tempfile::TempDir) -> Usage {
    Usage::read(folder.path(), "settings".into()).unwrap()
}

#[test]
fn without_a_table_all_is_permitted() {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("[training]\nsteps = 1000000\n");
    let policy = Policy::default();
    assert_eq!(policy.judge(&federation), Ok(()));
    let asked = Asked::of(&train(1, None), &federation, 10).unwrap();
    let judged = policy.judge_task(&asked, true, &usage(&folder), at(12, 0));
    assert_eq!(judged, Ok(()));
}

#[test]
fn settings_outside_of_the_policy_are_refused_with_both_values() {
    let federation = federation("[training]\nsteps = 500\n");
    let judge = |text: &str| match policy(text).judge(&federation) {
        Ok(()) => String::new(),
        Err(refusal) => refusal.to_string(),
    };
    assert_eq!(judge("layouts = ['resnet18']"), "");
    let words = judge("layouts = ['resnet50', 'resnet101']");
    assert!(words.contains("model.layout is \"resnet18\""), "{words}");
    assert!(!judge("layouts = []").is_empty());
    assert_eq!(judge("max_steps = 500"), "");
    let words = judge("max_steps = 499");
    assert!(
        words.contains("500 steps") && words.contains("499"),
        "{words}"
    );
    let bytes = update_bytes(&federation);
    let (fits, least) = (bytes.div_ceil(MEGABYTE), bytes / MEGABYTE);
    assert!(fits > least, "the limit is between two megabytes");
    assert_eq!(judge(&format!("max_update_mb = {fits}")), "");
    let words = judge(&format!("max_update_mb = {least}"));
    assert!(words.contains(&format!("{bytes} bytes")), "{words}");
}

#[test]
fn steps_of_epochs_are_counted_with_the_sites_own_examples() {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("[training]\nepochs = 2\nbatch = 4\n");
    let policy = policy("max_steps = 50");
    let judge = |examples: u64, steps: Option<u32>| {
        let asked = Asked::of(&train(1, steps), &federation, examples).unwrap();
        policy.judge_task(&asked, true, &usage(&folder), at(12, 0))
    };
    assert_eq!(judge(100, None), Ok(()));
    let (found, most) = (51, 50);
    assert_eq!(judge(101, None), Err(NotPermitted::Steps { found, most }));
    assert_eq!(judge(101, Some(50)), Ok(()));
    // More than the settings say is never done.
    assert_eq!(judge(100, Some(9000)), Ok(()));
}

#[test]
fn a_site_that_does_not_train_refuses_to_whatever_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("");
    let asked = Asked::of(&train(1, None), &federation, 10).unwrap();
    let judged = Policy::default().judge_task(&asked, false, &usage(&folder), at(12, 0));
    assert_eq!(judged, Err(NotPermitted::Role));
    let evaluate = CoordinatorMessage::Evaluate {
        task: task(1, TaskKind::Evaluate(protocol::case::Cases::HeldOut)),
        models: Vec::new(),
        wanted: EvaluationRequest::default(),
    };
    let asked = Asked::of(&evaluate, &federation, 10).unwrap();
    let judged = Policy::default().judge_task(&asked, false, &usage(&folder), at(12, 0));
    assert_eq!(judged, Ok(()));
}

#[test]
fn tasks_begin_only_within_the_hours_and_one_that_was_begun_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("");
    let night = policy("hours_utc = '20:00-06:30'");
    let asked = |round| Asked::of(&train(round, None), &federation, 10).unwrap();
    let mut usage = usage(&folder);
    for (hour, minute, is_permitted) in [
        (19, 59, false),
        (20, 0, true),
        (23, 59, true),
        (0, 0, true),
        (6, 29, true),
        (6, 30, false),
    ] {
        let judged = night.judge_task(&asked(1), true, &usage, at(hour, minute));
        assert_eq!(judged.is_ok(), is_permitted, "{hour}:{minute}");
    }
    usage.begin(asked(1).task, at(6, 29)).unwrap();
    assert_eq!(night.judge_task(&asked(1), true, &usage, at(9, 0)), Ok(()));
    let next = night.judge_task(&asked(2), true, &usage, at(9, 0));
    let words = next.unwrap_err().to_string();
    assert!(words.contains("20:00-06:30"), "{words}");
    let day = policy("hours_utc = '8:00-24:00'");
    assert!(day.judge_task(&asked(3), true, &usage, at(7, 59)).is_err());
    assert!(day.judge_task(&asked(3), true, &usage, at(23, 59)).is_ok());
    for wrong in [
        "",
        "20-6",
        "20:00",
        "25:00-06:00",
        "20:60-06:00",
        "6:00-6:00",
    ] {
        let read: Result<Policy, _> = toml::from_str(&format!("hours_utc = '{wrong}'"));
        assert!(read.is_err(), "{wrong}");
    }
}

#[test]
fn trainings_of_a_day_are_counted_once_each_and_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let federation = federation("");
    let policy = policy("max_trainings_per_day = 2");
    let asked = |round| Asked::of(&train(round, None), &federation, 10).unwrap();
    let mut begun = usage(&folder);
    for round in [1, 1, 2, 2] {
        policy
            .judge_task(&asked(round), true, &begun, at(1, 0))
            .unwrap();
        begun.begin(asked(round).task, at(1, 0)).unwrap();
    }
    let restarted = usage(&folder);
    let most = 2;
    let third = policy.judge_task(&asked(3), true, &restarted, at(23, 59));
    assert_eq!(third, Err(NotPermitted::Trainings { most }));
    assert_eq!(
        policy.judge_task(&asked(3), true, &restarted, at(24, 0)),
        Ok(())
    );
    // The same round of another federation is another training.
    let other = Usage::read(folder.path(), "other".into()).unwrap();
    assert!(
        policy
            .judge_task(&asked(2), true, &other, at(2, 0))
            .is_err()
    );
    std::fs::write(folder.path().join("usage.json"), "{").unwrap();
    let damaged = Usage::read(folder.path(), "settings".into());
    assert!(matches!(damaged, Err(UsageError::Damaged { .. })));
}

#[test]
fn a_yes_holds_for_what_was_shown_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let approvals = Approvals::of_work_folder(folder.path());
    let first = Proposal::of(&federation("[training]\nsteps = 100\n"));
    let changed = Proposal::of(&federation("[training]\nsteps = 500\n"));
    assert_ne!(first.settings, changed.settings);
    assert!(approvals.permit(Ask::Never, &first).unwrap());
    assert!(!approvals.permit(Ask::Federation, &first).unwrap());
    approvals.wait(&first).unwrap();
    let waiting = approvals.waiting().unwrap().unwrap();
    assert_eq!(waiting, first);
    approvals.approve(waiting, 1_800_000_000).unwrap();
    assert_eq!(approvals.waiting().unwrap(), None);
    assert!(approvals.permit(Ask::Settings, &first).unwrap());
    assert!(!approvals.permit(Ask::Settings, &changed).unwrap());
    assert!(approvals.permit(Ask::Federation, &changed).unwrap());
    let before = approvals.before("f").unwrap().unwrap();
    assert_eq!(before.at, 1_800_000_000);
    let lines = changed.lines(Some(&before.proposal));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("training.steps: 100 before, 500 now\n"));
    let all = changed.lines(None).join("\n");
    assert!(all.contains("name = \"f\"") && all.contains("training.steps = 500"));
}
