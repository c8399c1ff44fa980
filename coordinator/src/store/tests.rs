use super::*;
use aggregation::{Average, named_rule};
use metrics::sequence::SequenceSet;
use protocol::codec::transfer::{Arrived, Receiving};
use protocol::coordinator::Contribution;
use protocol::identity::SiteName;
use protocol::message::{RunId, TaskId, TransferHeader};
use protocol::operating::OperatingPoints;
use protocol::parameters::{Kind, TensorSpec, from_bytes};
use protocol::settings::{Aggregation, Input};

mod buffered;
mod rule_state;

fn federation(batch: usize) -> Federation {
    let text = format!(
        "name = 'x'\nrounds = 2\n[training]\nbatch = {batch}\n[input]\nsequences = ['a']\nslices \
         = 1\n"
    );
    Federation::from_toml(&text).unwrap()
}

fn manifest() -> Arc<Manifest> {
    let tensor = TensorSpec {
        name: "head.weight".into(),
        shape: vec![4],
        kind: Kind::Weight,
    };
    Arc::new(Manifest {
        tensors: vec![tensor],
    })
}

fn model(value: f32) -> Parameters {
    Parameters::new(manifest(), vec![value; 4]).unwrap()
}

fn open(root: &Path) -> (Store, Option<Checkpoint>) {
    Store::open(root, &federation(8), false).unwrap()
}

/// A file as a transfer leaves it.
fn receive(file: &Path, bytes: &[u8]) -> Arrived {
    fs::write(file, bytes).unwrap();
    let task = TaskId::training(RunId::FEDERATION, Version::INITIAL);
    let (length, parameters) = (
        bytes.len() as u64,
        ParametersId(*blake3::hash(bytes).as_bytes()),
    );
    let mut receiving = Receiving::begin(
        TransferHeader {
            parameters,
            bytes: length,
            task,
        },
        length,
    )
    .unwrap();
    receiving.resume(&mut &bytes[..], length).unwrap();
    receiving.finish().unwrap()
}

fn offered(store: &Store, file: &Path, base: Place<'_>, manifest: &Manifest) -> Offered {
    store.open_update(file, base, manifest).unwrap()
}

fn accepted(outcome: CheckOutcome) -> (Checked<FileSource>, f64) {
    match outcome {
        CheckOutcome::Accepted { update, distance } => (update, distance),
        CheckOutcome::Refused(rejection) => panic!("{rejection}"),
    }
}

fn refusal(outcome: CheckOutcome) -> String {
    match outcome {
        CheckOutcome::Accepted { distance, .. } => panic!("accepted at {distance}"),
        CheckOutcome::Refused(rejection) => rejection.to_string(),
    }
}

const START: Place<'_> = Place::INITIAL;
const FIRST: Place<'_> = place(1);

/// A version of the federation's model.
const fn place(version: u32) -> Place<'static> {
    Place {
        run: &RunKind::Federation,
        version: Version(version),
    }
}

fn site_name(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn checkpoint(rounds: u32) -> Checkpoint {
    let text = r#"{"sites":[],"runs":[{"outcome":{"name":"federation","members":[],"rounds":[],"best_round":0,
        "threshold":null,"threshold_pooled":null,"threshold_dice":null,"scores":[]},
        "finished":0,"before":{"seconds":0,"bytes":0,"validation":null},"speeds":{},"model":null,"validated":false,"best":null,"done":false}]}"#;
    let mut checkpoint: Checkpoint = serde_json::from_str(text).unwrap();
    checkpoint.runs[0].outcome.rounds = vec![record(rounds)];
    checkpoint.runs[0].finished = rounds;
    checkpoint
}

fn record(round: u32) -> RoundRecord {
    RoundRecord {
        round,
        updates: Vec::new(),
        missing: vec![(site_name("north"), format!("round {round}"))],
        validation: None,
        validation_by_site: Vec::new(),
        held_out: None,
        seconds: 0.0,
        bytes: 0,
    }
}

/// What a federation came to, as the machine says it: with the last round alone.
fn outcome(checkpoint: &Checkpoint) -> Outcome {
    let runs = checkpoint
        .runs
        .iter()
        .map(|run| run.outcome.clone())
        .collect();
    Outcome {
        federation: federation(8),
        sites: Vec::new(),
        runs,
        seconds: 1.0,
    }
}

#[test]
fn an_outcome_has_all_rounds_but_those_whose_record_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    (1..4).for_each(|round| store.record(&RunKind::Federation, &record(round)).unwrap());
    let checkpoint = checkpoint(4);
    store.persist(&checkpoint).unwrap();
    let rounds = || {
        let mut outcome = outcome(&checkpoint);
        store.complete(&mut outcome, &checkpoint.runs).unwrap();
        outcome.runs[0].rounds.clone()
    };
    assert_eq!(rounds(), [1, 2, 3, 4].map(record));
    // A record that is later than the checkpoint was written before they were: it is written again.
    store.record(&RunKind::Federation, &record(4)).unwrap();
    assert_eq!(rounds(), [1, 2, 3, 4].map(record));
    fs::remove_file(folder.path().join("records/federation/round-0002.json")).unwrap();
    assert_eq!(rounds(), [1, 3, 4].map(record));
}

#[test]
fn a_damaged_record_is_named_when_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.record(&RunKind::Federation, &record(1)).unwrap();
    store.persist(&checkpoint(2)).unwrap();
    let path = folder.path().join("records/federation/round-0001.json");
    let mut text = fs::read(&path).unwrap();
    *text.last_mut().unwrap() ^= 1;
    fs::write(&path, text).unwrap();
    drop(store);
    let error = Store::open(folder.path(), &federation(8), false).unwrap_err();
    assert!(
        matches!(&error, StoreError::Record { path: named, .. } if *named == path),
        "{error}"
    );
    let failure = program::Failure::from(error);
    assert!(format!("{failure:?}").contains("remove it"), "{failure:?}");
}

#[test]
fn the_facts_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (store, before) = open(folder.path());
    assert_eq!(before, None);
    store.persist(&checkpoint(2)).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).1, Some(checkpoint(2)));
}

/// One that was killed while it wrote leaves two files, not two names of one.
#[test]
fn damage_to_the_facts_leaves_those_before_whatever_was_at_work() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let [state, previous] =
        ["state.json", "state.previous.json"].map(|name| folder.path().join(name));
    let content = |path: &Path| fs::metadata(path).unwrap().ino();
    for rounds in 1..4 {
        store.persist(&checkpoint(rounds)).unwrap();
        // As if it ended before the new checkpoint were in their place.
        atomic::hold(&state, &previous).unwrap();
        assert!(!previous.exists() || content(&state) != content(&previous));
    }
    assert_eq!(
        checkpoint::read(folder.path()).unwrap(),
        Some(checkpoint(3))
    );
    fs::rename(&previous, &state).unwrap();
    assert_eq!(
        checkpoint::read(folder.path()).unwrap(),
        Some(checkpoint(2))
    );
}

#[test]
fn a_torn_or_changed_state_is_noticed_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.persist(&checkpoint(1)).unwrap();
    let path = folder.path().join("state.json");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(
            matches!(
                checkpoint::read(folder.path()),
                Err(StoreError::Damaged { .. })
            ),
            "cut at {at}"
        );
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(
            matches!(
                checkpoint::read(folder.path()),
                Err(StoreError::Damaged { .. })
            ),
            "flipped at {at}"
        );
    }
}

#[test]
fn sound_facts_of_another_release_are_not_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    drop(store);
    checkpoint::seal(
        &folder.path().join("state.json"),
        &serde_json::json!({ "runs": "many" }),
    )
    .unwrap()
    .commit()
    .unwrap();
    let error = Store::open(folder.path(), &federation(8), false).unwrap_err();
    assert!(
        matches!(error, StoreError::Release { .. })
            && error.to_string().contains("another release"),
        "{error}"
    );
}

#[test]
fn other_settings_are_refused_by_name_and_a_second_coordinator_too() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let second = Store::open(folder.path(), &federation(8), false).unwrap_err();
    assert!(
        second.to_string().contains(&format!(
            "another coordinator (process {})",
            std::process::id()
        )),
        "{second}"
    );
    drop(store);
    let other = Store::open(folder.path(), &federation(4), false)
        .unwrap_err()
        .to_string();
    assert!(other.contains("training.batch was 8 and is 4"), "{other}");
}

#[test]
fn updates_are_taken_in_and_averaged_into_the_rounds_model() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(0.0)).unwrap();
    let updates = [("north", 1.0, 3), ("south", 5.0, 1)].map(|(site, value, slices)| {
        let (received, parameters) = (folder.path().join(site), model(value).id());
        let arrived = receive(&received, &to_bytes(model(value).values()));
        let outcome = store
            .accept(
                offered(&store, &received, START, &manifest()),
                START,
                &site_name(site),
                &manifest(),
                arrived,
            )
            .unwrap();
        let (checked, distance) = accepted(outcome);
        assert!(!received.exists());
        assert!(
            (distance - 2.0 * f64::from(value)).abs() < 1e-6,
            "four values from 0 to {value}: {distance}"
        );
        (
            Contribution {
                site: site_name(site),
                parameters,
                slices,
                sequences: SequenceSet::full(1),
                base: Version::INITIAL,
            },
            checked,
        )
    });
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
        rule: &*named_rule(Aggregation::FedAvg, None),
    };
    let id = store.aggregate(&average, FIRST, updates.into()).unwrap();
    assert_eq!(id, model(2.0).id());
    store.verify(FIRST, &manifest, id).unwrap();
    fs::write(store.model(FIRST), to_bytes(&[2.0, 2.0, 2.0, 2.5])).unwrap();
    assert!(matches!(
        store.verify(FIRST, &manifest, id),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn an_update_that_is_not_finite_or_absurdly_far_is_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(0.0)).unwrap();
    let received = folder.path().join("bad");
    for (value, word) in [
        (f32::NAN, "head.weight"),
        (3e38, "away from the model that it started from"),
    ] {
        let arrived = receive(&received, &to_bytes(&[1.0, value, 1.0, 1.0]));
        let reason = refusal(
            store
                .accept(
                    offered(&store, &received, START, &manifest()),
                    START,
                    &site_name("north"),
                    &manifest(),
                    arrived,
                )
                .unwrap(),
        );
        assert!(reason.contains(word), "{reason}");
        assert!(!received.exists());
    }
}

#[test]
fn an_earlier_model_is_stored_in_the_place_of_a_discarded_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(1.0)).unwrap();
    store.put_model(FIRST, &model(2.0)).unwrap();
    store.restore(START, FIRST, &manifest()).unwrap();
    store.verify(FIRST, &manifest(), model(1.0).id()).unwrap();
    store.verify(START, &manifest(), model(1.0).id()).unwrap();
}

#[test]
fn a_run_that_lost_its_facts_is_not_begun_again_over_its_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(1.0)).unwrap();
    drop(store);
    // Nothing but the initial model: there is nothing to lose.
    assert_eq!(open(folder.path()).1, None);
    let (store, _) = open(folder.path());
    store.put_model(FIRST, &model(2.0)).unwrap();
    store.persist(&checkpoint(1)).unwrap();
    store.persist(&checkpoint(1)).unwrap();
    drop(store);
    fs::remove_file(folder.path().join("state.json")).unwrap();
    let error = Store::open(folder.path(), &federation(8), false).unwrap_err();
    let failure = program::Failure::from(error);
    assert!(
        failure.what.contains("state.json is missing"),
        "{failure:?}"
    );
    assert!(failure.hint.unwrap().contains("state.previous.json"));
    fs::remove_file(folder.path().join("state.previous.json")).unwrap();
    let failure =
        program::Failure::from(Store::open(folder.path(), &federation(8), false).unwrap_err());
    let hint = failure.hint.unwrap();
    assert!(
        hint.contains("backup") && hint.contains("another run folder"),
        "{hint}"
    );
}

/// Each file and each kind of error has a remedy of its own.
#[test]
fn the_remedy_fits_the_file_and_the_error() {
    let root = Path::new("run");
    let damaged = |name: &str| StoreError::Damaged {
        path: root.join(name),
        reason: "cut".into(),
    };
    let io = |name: &str, kind: io::ErrorKind| StoreError::Io {
        action: "read",
        path: root.join(name),
        error: kind.into(),
    };
    let model = "federation/round-0002/global.f32";
    let cases = [
        (
            damaged("state.json"),
            "state.previous.json, put in place of state.json",
        ),
        (damaged(model), "copy of this very file"),
        (damaged("settings.json"), "remove it"),
        (
            damaged("federation/round-0002/updates/north.f32"),
            "asked for again",
        ),
        (io(model, io::ErrorKind::NotFound), "copy of this very file"),
        (
            io("settings.json", io::ErrorKind::NotFound),
            "a run folder has one",
        ),
        (io(model, io::ErrorKind::StorageFull), "free the disk"),
        (
            io("state.json", io::ErrorKind::QuotaExceeded),
            "free the disk",
        ),
        (io("state.json", io::ErrorKind::PermissionDenied), "right"),
        (io("state.json", io::ErrorKind::ReadOnlyFilesystem), "right"),
        (io("state.json", io::ErrorKind::Other), "disk is sound"),
    ];
    for (error, remedy) in cases {
        let failure = program::Failure::from(error);
        assert!(
            failure
                .hint
                .as_ref()
                .is_some_and(|hint| hint.contains(remedy)),
            "{remedy}: {failure:?}"
        );
    }
}

#[test]
fn only_models_that_something_leads_to_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    for round in 0..=5 {
        store.put_model(place(round), &model(1.0)).unwrap();
    }
    let mut checkpoint = checkpoint(5);
    checkpoint.runs[0].best = Some(protocol::coordinator::Best {
        version: Version(2),
        parameters: model(1.0).id(),
        score: None,
    });
    store.prune(&checkpoint).unwrap();
    let kept = (0..=5).filter(|&round| store.model(place(round)).exists());
    assert_eq!(kept.collect::<Vec<_>>(), [0, 2, 4, 5]);
}

#[test]
fn an_exported_model_is_the_file_that_encoding_gives() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = 'x'\nrounds = 2\n[input]\nsequences = ['a']\nslices = 1\n[model]\npreset \
                = 'tiny'\nwidth = 4\n";
    let Federation {
        name, input, model, ..
    } = Federation::from_toml(text).unwrap();
    let manifest = Arc::new(protocol::architecture::manifest(&model, &input));
    let (store, _) = open(folder.path());
    let parameters = protocol::architecture::initial(&manifest, 5);
    store.put_model(START, &parameters).unwrap();
    let alone = RunKind::Alone {
        site: site_name("north"),
    };
    let place = Place {
        run: &alone,
        version: Version::INITIAL,
    };
    let points = OperatingPoints {
        dice: Some(0.25),
        ..OperatingPoints::default()
    };
    let card = ModelCard {
        name,
        input,
        model,
        round: 0,
        operating_points: points,
    };
    store
        .export(place, &manifest, &card, parameters.id(), Export::Best)
        .unwrap();
    let path = folder.path().join("models/alone-north.safetensors");
    let written = fs::read(&path).unwrap();
    assert!(written == protocol::model_file::encode(&parameters, &card).unwrap());

    // What is on disk is not what was averaged: no model file bears a good hash of that.
    fs::remove_file(&path).unwrap();
    let stored = store.model(START);
    let sound = fs::read(&stored).unwrap();
    let mut turned = sound.clone();
    turned[100] ^= 1;
    fs::write(&stored, turned).unwrap();
    let refused = store
        .export(place, &manifest, &card, parameters.id(), Export::Best)
        .unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    let variance = manifest
        .ranges()
        .find(|(spec, _)| spec.is_variance())
        .unwrap()
        .1
        .start;
    let mut negative = sound;
    negative[4 * variance..][..4].copy_from_slice(&(-1.0f32).to_le_bytes());
    fs::write(&stored, &negative).unwrap();
    let id = ParametersId(*blake3::hash(&negative).as_bytes());
    let refused = store
        .export(place, &manifest, &card, id, Export::Best)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("backbone.bn1.running_var") && !path.exists(),
        "{refused}"
    );
}

/// An update that travelled rounded is averaged as what the site rounded it to, and found again
/// after a restart.
#[test]
fn rounded_updates_are_decoded_from_the_model_that_they_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = 'x'\nrounds = 2\nupdates = 'int8'\n[input]\nsequences = ['a']\nslices = \
                1\n[model]\npreset = 'tiny'\nwidth = 4\n";
    let federation = Federation::from_toml(text).unwrap();
    let manifest = Arc::new(protocol::architecture::manifest(
        &federation.model,
        &federation.input,
    ));
    let (store, _) = Store::open(folder.path(), &federation, false).unwrap();
    let start = protocol::architecture::initial(&manifest, 1);
    store.put_model(START, &start).unwrap();
    let encoding = Encoding::new(&manifest, Precision::Int8).unwrap();
    assert!(store.update_bytes(&manifest) < manifest.bytes() * 3 / 10);
    let learnt: Vec<f32> = start
        .values()
        .iter()
        .zip(0u32..)
        .map(|(v, i)| v + 0.01 * (i % 7) as f32)
        .collect();
    let mut lost = vec![0.0; manifest.len()];
    let bytes = encoding.encode(start.values(), &learnt, &mut lost);
    let received = folder.path().join("received");
    let arrived = receive(&received, &bytes);
    let header = arrived.header();
    let id = header.parameters;
    let outcome = store
        .accept(
            offered(&store, &received, START, &manifest),
            START,
            &site_name("north"),
            &manifest,
            arrived,
        )
        .unwrap();
    let (checked, distance) = accepted(outcome);
    assert!(distance > 0.0);
    drop(checked);
    let again = store
        .accepted(START, &site_name("north"), &manifest, header)
        .unwrap();
    let north = Contribution {
        site: site_name("north"),
        parameters: id,
        slices: 3,
        sequences: SequenceSet::full(1),
        base: Version::INITIAL,
    };
    let average = Average {
        manifest: &manifest,
        input: &federation.input,
        rule: &*named_rule(Aggregation::SequenceAware, None),
    };
    store
        .aggregate(&average, FIRST, vec![(north, again)])
        .unwrap();
    let sent: Vec<f32> = learnt
        .iter()
        .zip(&lost)
        .map(|(learnt, lost)| learnt - lost)
        .collect();
    let made = from_bytes(&fs::read(store.model(FIRST)).unwrap()).unwrap();
    assert!(
        made.iter()
            .zip(&sent)
            .all(|(made, sent)| (made - sent).abs() <= 1e-6),
        "more was lost than the site knows"
    );

    // A scale that is no number is refused, wherever it is.
    let mut wrong = bytes.clone();
    let at = encoding.spans(0..1).next().unwrap().bytes.start as usize;
    wrong[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let arrived = receive(&received, &wrong);
    let reason = refusal(
        store
            .accept(
                offered(&store, &received, START, &manifest),
                START,
                &site_name("south"),
                &manifest,
                arrived,
            )
            .unwrap(),
    );
    assert!(reason.contains("backbone.conv1.weight"), "{reason}");
    let path = folder
        .path()
        .join("federation/round-0001/updates/north.int8");
    let mut changed = fs::read(&path).unwrap();
    changed[100] ^= 1;
    fs::write(&path, changed).unwrap();
    let damaged = store
        .accepted(START, &site_name("north"), &manifest, header)
        .unwrap_err();
    assert!(
        matches!(&damaged, StoreError::Damaged { reason, .. } if reason.contains("changed")),
        "{damaged}"
    );
}
