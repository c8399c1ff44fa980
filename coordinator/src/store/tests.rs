use super::*;
use shared::federation::{Aggregation, Input};
use shared::parameters::{Kind, TensorSpec};
use shared::sequence::SequenceSet;

fn federation(batch: usize) -> Federation {
    let text = format!("name = 'x'\nrounds = 2\n[training]\nbatch = {batch}\n[input]\nsequences = ['a']\nslices = 1\n");
    Federation::from_toml(&text).unwrap()
}

fn manifest() -> Arc<Manifest> {
    let tensor = TensorSpec { name: "head.weight".into(), shape: vec![4], kind: Kind::Weight };
    Arc::new(Manifest { tensors: vec![tensor] })
}

fn model(value: f32) -> Parameters {
    Parameters::new(manifest(), vec![value; 4]).unwrap()
}

fn open(root: &Path) -> (Store, Option<Snapshot>) {
    Store::open(root, &federation(8), false).unwrap()
}

const START: Place<'_> = Place { run: "federation", round: 0 };
const FIRST: Place<'_> = Place { run: "federation", round: 1 };

fn snapshot(rounds: u32) -> Snapshot {
    let text = r#"{"sites":[],"runs":[{"outcome":{"name":"federation","members":[],"rounds":[],"best_round":0,
        "threshold":null,"threshold_pooled":null,"threshold_dice":null,"scores":[]},
        "model":null,"validated":false,"best":null,"done":false}]}"#;
    let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
    snapshot.runs[0].outcome.rounds = (1..=rounds)
        .map(|round| crate::outcome::RoundRecord {
            round,
            updates: Vec::new(),
            missing: Vec::new(),
            validation: None,
            validation_by_site: Vec::new(),
            held_out: None,
            seconds: 0.0,
            bytes: 0,
        })
        .collect();
    snapshot
}

#[test]
fn the_facts_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (store, before) = open(folder.path());
    assert_eq!(before, None);
    store.persist(&snapshot(2)).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).1, Some(snapshot(2)));
}

#[test]
fn a_torn_or_changed_state_is_noticed_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.persist(&snapshot(1)).unwrap();
    let path = folder.path().join("state.json");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(facts::read(folder.path()), Err(StoreError::Damaged { .. })), "cut at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(matches!(facts::read(folder.path()), Err(StoreError::Damaged { .. })), "flipped at {at}");
    }
}

#[test]
fn other_settings_are_refused_by_name_and_a_second_coordinator_too() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let second = Store::open(folder.path(), &federation(8), false).unwrap_err();
    assert!(matches!(second, StoreError::InUse(_)), "{second}");
    drop(store);
    let other = Store::open(folder.path(), &federation(4), false).unwrap_err().to_string();
    assert!(other.contains("training.batch was 8 and is 4"), "{other}");
}

#[test]
fn updates_are_taken_in_and_averaged_into_the_rounds_model() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    store.put_model(START, &model(0.0)).unwrap();
    let updates = [("north", 1.0, 3), ("south", 5.0, 1)].map(|(site, value, slices)| {
        let (received, parameters) = (folder.path().join(site), model(value).id());
        fs::write(&received, to_bytes(model(value).values())).unwrap();
        let checked = store.accept(&received, FIRST, site, &manifest(), parameters).unwrap().unwrap();
        assert!(!received.exists());
        (Contribution { site: site.into(), parameters, slices, sequences: SequenceSet::full(1) }, checked)
    });
    let input = Input { sequences: vec!["a".into()], slices: 1, plane: 16, spacing_mm: None };
    let manifest = manifest();
    let average = Average { manifest: &manifest, input: &input, rule: Aggregation::FedAvg };
    let id = store.aggregate(&average, &store.model(START), FIRST, updates.into()).unwrap();
    assert_eq!(id, model(2.0).id());
    store.verify(FIRST, &manifest, id).unwrap();
    fs::write(store.model(FIRST), to_bytes(&[2.0, 2.0, 2.0, 2.5])).unwrap();
    assert!(matches!(store.verify(FIRST, &manifest, id), Err(StoreError::Damaged { .. })));
}

#[test]
fn an_update_that_is_not_finite_is_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let received = folder.path().join("bad");
    let bytes = to_bytes(&[1.0, f32::NAN, 1.0, 1.0]);
    fs::write(&received, &bytes).unwrap();
    let id = ParametersId(*blake3::hash(&bytes).as_bytes());
    let reason = store.accept(&received, FIRST, "north", &manifest(), id).unwrap().unwrap_err();
    assert!(reason.contains("head.weight"), "{reason}");
    assert!(!received.exists());
}

#[test]
fn only_models_that_something_leads_to_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    for round in 0..=5 {
        store.put_model(Place { run: "federation", round }, &model(1.0)).unwrap();
    }
    let mut snapshot = snapshot(5);
    snapshot.runs[0].best = Some(shared::round::Best { round: 2, parameters: model(1.0).id(), score: None });
    store.persist(&snapshot).unwrap();
    let kept = (0..=5).filter(|&round| store.model(Place { run: "federation", round }).exists());
    assert_eq!(kept.collect::<Vec<_>>(), [0, 2, 4, 5]);
}
