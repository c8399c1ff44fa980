//! What is kept for sites that trained from older models, and how their updates become the next.

use super::*;
use protocol::coordinator::{Asked, Buffer};
use protocol::message::Trained;
use std::collections::BTreeMap;

/// Takes in what a site sent, trained from the model of round `base`.
pub(super) fn update(
    store: &Store,
    (site, base): (&str, u32),
    value: f32,
    slices: u64,
) -> (Contribution, Checked<FileSource>) {
    let (received, parameters) = (store.root.join("received"), model(value).id());
    let arrived = receive(&received, &to_bytes(model(value).values()));
    let outcome = store
        .accept(
            offered(store, &received, place(base), &manifest()),
            place(base),
            &site_name(site),
            &manifest(),
            arrived,
        )
        .unwrap();
    let (checked, _) = accepted(outcome);
    assert!(!received.exists());
    (
        Contribution {
            site: site_name(site),
            parameters,
            slices,
            sequences: SequenceSet::full(1),
            base: Version(base),
        },
        checked,
    )
}

fn trained(site: &str, base: u32) -> (SiteName, Trained) {
    let trained = Trained {
        task: TaskId::training(RunId::FEDERATION, Version(base)),
        parameters: model(1.0).id(),
        slices: 8,
        steps: 1,
        asked_steps: 1,
        mean_loss: 0.5,
        last_loss: 0.5,
        seconds: 1.0,
        sequences: SequenceSet::full(1),
        compute: protocol::settings::Compute::F32,
    };
    (site_name(site), trained)
}

#[test]
fn models_that_somebody_trains_from_stay_and_so_do_updates_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    for round in 0..=6 {
        store.put_model(place(round), &model(1.0)).unwrap();
    }
    (1..6).for_each(|base| drop(update(&store, ("north", base), 1.0, 8)));
    let mut checkpoint = checkpoint(6);
    // An update from version 3 waits, and a site trains from version 4.
    checkpoint.runs[0].buffer = Some(Buffer {
        asked: BTreeMap::from([(
            site_name("south"),
            Asked {
                base: Version(4),
                steps: None,
            },
        )]),
        updates: vec![trained("north", 3)],
        models: [3, 4, 6]
            .map(|version| (Version(version), model(1.0).id()))
            .into(),
        ..Buffer::default()
    });
    store.prune(&checkpoint).unwrap();
    let models = || {
        (0..=6)
            .filter(|&round| store.model(place(round)).exists())
            .collect::<Vec<_>>()
    };
    assert_eq!(models(), [0, 3, 4, 5, 6]);
    let waits = |base: u32| store.update(place(base), &site_name("north")).exists();
    assert_eq!([1, 2, 3, 4, 5].map(waits), [false, false, true, true, true]);
    // Once they are counted nothing leads there any more.
    checkpoint.runs[0].buffer = None;
    store.prune(&checkpoint).unwrap();
    assert_eq!(models(), [0, 5, 6]);
    assert_eq!([3, 4, 5].map(waits), [false, false, true]);
}

#[test]
fn a_buffers_updates_move_the_newest_model_and_the_summary_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    for (round, value) in [(0, 0.0), (1, 1.0), (2, 10.0)] {
        store.put_model(place(round), &model(value)).unwrap();
    }
    let updates = vec![
        update(&store, ("south", 2), 14.0, 1),
        update(&store, ("north", 2), 13.0, 2),
        update(&store, ("north", 0), 6.0, 1),
    ];
    let input = Input {
        sequences: vec!["a".into()],
        slices: 1,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: None,
    };
    let manifest = manifest();
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(Aggregation::FedAvg, Some(0.5)),
    };
    let third = place(3);
    let id = store.aggregate(&average, third, updates).unwrap();
    // Two versions old, 6 - 0 counts for 1/sqrt(3).
    let went = (4.0 + 2.0 * 3.0 + 6.0 / 3f64.sqrt()) / 4.0;
    assert_eq!(id, model((10.0 + 0.5 * went) as f32).id());
    let summary: Vec<Contribution> =
        serde_json::from_slice(&fs::read(store.round(third).join("updates.json")).unwrap())
            .unwrap();
    let bases: Vec<(&str, u32)> = summary
        .iter()
        .map(|one| (one.site.as_str(), one.base.0))
        .collect();
    assert_eq!(bases, [("south", 2), ("north", 2), ("north", 0)]);
    let seventh = place(7);
    store.put_model(seventh, &model(1.0)).unwrap();
    let gone = vec![update(&store, ("west", 7), 1.0, 1)];
    fs::remove_file(store.model(seventh)).unwrap();
    assert!(matches!(
        store.aggregate(&average, third, gone),
        Err(StoreError::Io { .. })
    ));
}
