use super::*;
use crate::case::{Native, Noticed, Placement, Prepared};
use protocol::architecture::{initial, manifest};
use protocol::case::Grid;
use protocol::message::{RunId, TaskKind};
use protocol::parameters::STEM;
use std::sync::Arc;
use tempfile::TempDir;

const SIDE: usize = 32;
const DEPTH: usize = 5;

/// Settings of a network that trains in a moment; `more` goes into the training table.
pub(crate) fn federation(more: &str) -> Federation {
    let text = format!(
        "\
name = 'test'
rounds = 4
[input]
sequences = ['bright', 'dark']
slices = 3
plane = {SIDE}
[model]
preset = 'tiny'
width = 4
[training]
batch = 4
shift = 2
{more}"
    );
    Federation::from_toml(&text).unwrap()
}

/// A disc of brain with a bright square, its lesion, on all slices but the first, which is blank.
pub(crate) fn patient(id: usize, present: [bool; 2]) -> Prepared {
    let pixel = |at: usize| {
        let (z, y, x) = (at / (SIDE * SIDE), at / SIDE % SIDE, at % SIDE);
        let brain = z > 0 && (y as f32 - 15.5).hypot(x as f32 - 15.5) < 13.0;
        let lesion = z > 1 && y.abs_diff(10 + id % 8) < 3 && x.abs_diff(18 - id % 8) < 3;
        (
            brain,
            lesion,
            ((at * 2_654_435_761 + id * 97) % 1000) as f32 / 1000.0 - 0.5,
        )
    };
    let image = |gain: f32| {
        let value = |at: usize| {
            let (brain, lesion, noise) = pixel(at);
            if brain {
                noise + if lesion { gain } else { 0.0 }
            } else {
                0.0
            }
        };
        (0..DEPTH * SIDE * SIDE).map(value).collect::<Vec<f32>>()
    };
    let mask = |which: fn((bool, bool, f32)) -> bool| {
        (0..DEPTH * SIDE * SIDE)
            .map(|at| u8::from(which(pixel(at))))
            .collect()
    };
    let lesion: Vec<u8> = mask(|pixel| pixel.1);
    Prepared {
        id: format!("patient {id}"),
        sequences: vec![
            present[0].then(|| image(3.0)),
            present[1].then(|| image(-3.0)),
        ],
        label: Some(lesion.clone()),
        plane: SIDE,
        canvas: [SIDE; 2],
        native: Native {
            grid: Grid {
                dims: [DEPTH, SIDE, SIDE],
                spacing_mm: [1.0; 3],
            },
            brain: mask(|pixel| pixel.0),
            lesion: Some(lesion),
        },
        placement: Placement { step: [1.0; 2] },
        noticed: Noticed::default(),
    }
}

/// The patient on a canvas of twice the plane, what was there in its upper left quarter.
pub(crate) fn spread_out() -> Prepared {
    let small = patient(1, [true, true]);
    let (side, depth) = (small.plane, small.depth());
    fn quarter<T: Copy + Default>(from: &[T], side: usize, depth: usize) -> Vec<T> {
        let mut to = vec![T::default(); 4 * side * side * depth];
        for (row, values) in from.chunks_exact(side).enumerate() {
            let (slice, row) = (row / side, row % side);
            to[(slice * 2 * side + row) * 2 * side..][..side].copy_from_slice(values);
        }
        to
    }
    let mut large = small.clone();
    large.canvas = [2 * side; 2];
    large.native.grid.dims = [depth, 2 * side, 2 * side];
    large.native.brain = quarter(&small.native.brain, side, depth);
    large.native.lesion = small
        .native
        .lesion
        .as_ref()
        .map(|mask| quarter(mask, side, depth));
    large.label = large.native.lesion.clone();
    large.sequences = small
        .sequences
        .iter()
        .map(|image| Some(quarter(image.as_ref()?, side, depth)))
        .collect();
    large
}

/// Stores patients and opens them again.
pub(crate) fn cohort(patients: &[Prepared]) -> (TempDir, Vec<CachedCase>) {
    let folder = tempfile::tempdir().unwrap();
    let open = |(index, patient): (usize, &Prepared)| {
        let path = folder.path().join(index.to_string());
        patient.store(&path).unwrap();
        CachedCase::open(&path).unwrap()
    };
    let cases = patients.iter().enumerate().map(open).collect();
    (folder, cases)
}

pub(crate) fn fresh(federation: &Federation) -> Parameters {
    initial(
        &Arc::new(manifest(&federation.model, &federation.input)),
        federation.seed,
    )
}

fn round(number: u32) -> TaskId {
    TaskId {
        run: RunId(0),
        round: number,
        kind: TaskKind::Train,
        pass: 0,
    }
}

/// A training of round 1 on the processor's arithmetic, as long as the settings ask for.
fn task<'a>(
    federation: &'a Federation,
    cases: &'a [&'a CachedCase],
    start: &'a Parameters,
) -> TrainingTask<'a> {
    TrainingTask {
        cases,
        federation,
        site: "north",
        id: round(1),
        start,
        most_steps: None,
        own: None,
        compute: Compute::F32,
    }
}

/// Trains in round 1 from fresh parameters, with normalisations of the site's `own` where they are
/// given.
fn trained(
    federation: &Federation,
    patients: &[Prepared],
    own: Option<&Parameters>,
) -> Result<LocalUpdate, TrainError> {
    let (_folder, cases) = cohort(patients);
    let (cases, start): (Vec<&CachedCase>, _) = (cases.iter().collect(), fresh(federation));
    let task = TrainingTask {
        own,
        ..task(federation, &cases, &start)
    };
    train(&task, &Device::flex(), &mut |_| ControlFlow::Continue(()))
}

fn both() -> Vec<Prepared> {
    vec![
        patient(1, [true, true]),
        patient(2, [true, false]),
        patient(3, [false, true]),
    ]
}

#[test]
fn training_lowers_the_loss() {
    let update = trained(
        &federation("steps = 40\nlearning_rate = 0.01"),
        &both(),
        None,
    )
    .unwrap();
    assert!(
        update.last_loss < 0.85 * update.mean_loss,
        "{} {}",
        update.last_loss,
        update.mean_loss
    );
    assert_eq!((update.steps, update.slices, update.left_out), (40, 160, 0));
    assert_eq!(update.sequences, SequenceSet::full(2));
}

#[test]
fn a_round_repeats_bit_by_bit_on_any_number_of_threads_and_changes_with_the_seed() {
    let once = federation("steps = 3\nturns = true");
    let run = |federation: &Federation, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let start = fresh(&once);
        let (_folder, cases) = cohort(&both());
        let cases: Vec<&CachedCase> = cases.iter().collect();
        let task = task(federation, &cases, &start);
        pool.install(|| train(&task, &Device::flex(), &mut |_| ControlFlow::Continue(())))
            .unwrap()
            .parameters
            .id()
    };
    let first = run(&once, 1);
    assert_eq!(first, run(&once, 1));
    assert_eq!(first, run(&once, 2));
    assert_ne!(
        first,
        run(
            &Federation {
                seed: once.seed + 1,
                ..once.clone()
            },
            1
        )
    );
}

#[test]
fn features_dropped_inside_the_network_are_drawn_from_the_seed() {
    let mut federation = federation("steps = 2");
    federation.model.head_dropout = 0.5;
    let ids: Vec<_> = (0..2)
        .map(|_| trained(&federation, &both(), None).unwrap().parameters.id())
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn an_input_that_is_not_a_number_ends_the_round() {
    let mut broken = patient(1, [true, false]);
    broken.sequences[0].as_mut().unwrap()[2 * SIDE * SIDE + 500] = f32::NAN;
    let mut settings = federation("steps = 30");
    settings.training.augmentation.shift = 0;
    assert!(matches!(
        trained(&settings, &[broken], None),
        Err(TrainError::NotFinite {
            what: "loss",
            total: 30,
            ..
        })
    ));
}

#[test]
fn a_lesion_outside_the_middle_of_a_large_brain_is_drawn_whole() {
    let mut settings = federation("");
    (
        settings.training.augmentation.shift,
        settings.training.augmentation.flips,
    ) = (0, false);
    let patient = spread_out();
    let lesion = patient.label.as_ref().unwrap();
    let of_slice = lesion[2 * 4 * SIDE * SIDE..][..4 * SIDE * SIDE]
        .iter()
        .filter(|&&voxel| voxel == 1)
        .count();
    let (_folder, cases) = cohort(&[patient]);
    let (cases, start): (Vec<&CachedCase>, _) = (cases.iter().collect(), fresh(&settings));
    let task = TrainingTask {
        cases: &cases,
        federation: &settings,
        site: "north",
        id: round(1),
        start: &start,
        most_steps: None,
        own: None,
        compute: Compute::F32,
    };
    let mut batches = Batches::new(&task).unwrap();
    assert_eq!(batches.slices(), DEPTH * 9);
    let mut most = 0;
    for _ in 0..40 {
        for label in batches.next().unwrap().labels.chunks_exact(SIDE * SIDE) {
            most = most.max(label.iter().filter(|&&voxel| voxel == 1.0).count());
        }
    }
    assert_eq!(most, of_slice);
}

#[test]
fn the_caller_may_break_off() {
    let federation = federation("steps = 50");
    let (_folder, cases) = cohort(&both());
    let (cases, start): (Vec<&CachedCase>, _) = (cases.iter().collect(), fresh(&federation));
    let task = task(&federation, &cases, &start);
    let mut seen = Vec::new();
    let outcome = train(&task, &Device::flex(), &mut |step| {
        seen.push((step.done, step.total));
        if step.done == 2 {
            ControlFlow::Break(Stop::Cancelled)
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(outcome, Err(TrainError::Cancelled { step: 2 }));
    assert_eq!(seen, [(1, 50), (2, 50)]);
}

#[test]
fn a_training_that_concludes_early_gives_what_a_shorter_one_gives() {
    let (_folder, cases) = cohort(&both());
    let cases: Vec<&CachedCase> = cases.iter().collect();
    let run = |steps: u32, most_steps: Option<u32>, last: u32| {
        let federation = federation(&format!("steps = {steps}"));
        let start = fresh(&federation);
        let task = TrainingTask {
            most_steps,
            ..task(&federation, &cases, &start)
        };
        let until = |step: TrainingProgress| {
            if step.done == last {
                ControlFlow::Break(Stop::Concluded)
            } else {
                ControlFlow::Continue(())
            }
        };
        train(&task, &Device::flex(), &mut { until }).unwrap()
    };
    let (early, short, capped) = (run(50, None, 3), run(3, Some(7), 9), run(50, Some(3), 9));
    assert_eq!((early.steps, early.asked_steps, early.slices), (3, 50, 12));
    assert_eq!((short.steps, short.asked_steps, short.slices), (3, 3, 12));
    assert_eq!(
        (capped.steps, capped.asked_steps, capped.slices),
        (3, 3, 12)
    );
    assert_eq!(early.parameters.id(), short.parameters.id());
    assert_eq!(capped.parameters.id(), short.parameters.id());
    assert_eq!(
        (early.mean_loss, early.last_loss),
        (short.mean_loss, short.last_loss)
    );
}

#[test]
fn a_sequence_that_the_site_lacks_teaches_the_stem_nothing() {
    let federation = federation("steps = 2\noptimiser = 'sgd'");
    let update = trained(&federation, &[patient(1, [false, true])], None).unwrap();
    assert_eq!(update.sequences, SequenceSet::EMPTY.with(1));
    let stem = |parameters: &Parameters| {
        let (spec, values) = parameters
            .tensors()
            .find(|(spec, _)| spec.name == STEM)
            .unwrap();
        let block = spec.len() / spec.shape[0] / 2;
        let first = values
            .chunks(block)
            .step_by(2)
            .flatten()
            .copied()
            .collect::<Vec<f32>>();
        let second = values
            .chunks(block)
            .skip(1)
            .step_by(2)
            .flatten()
            .copied()
            .collect::<Vec<f32>>();
        (first, second)
    };
    let (before, after) = (stem(&fresh(&federation)), stem(&update.parameters));
    assert_eq!(before.0, after.0);
    assert_ne!(before.1, after.1);
}

#[test]
fn a_fixed_subset_leaves_out_the_cases_without_it_and_needs_one_with_it() {
    let mut federation = federation("steps = 1");
    federation.dropout = protocol::dropout::DropOut::Fixed(SequenceSet::EMPTY.with(0));
    let update = trained(&federation, &both(), None).unwrap();
    assert_eq!(
        (update.left_out, update.sequences),
        (1, SequenceSet::EMPTY.with(0))
    );
    let none = trained(&federation, &[patient(3, [false, true])], None);
    assert_eq!(none, Err(TrainError::NothingToTrainOn { left_out: 1 }));
}

#[test]
fn an_epoch_is_as_many_draws_as_there_are_slices() {
    assert_eq!(federation("epochs = 2").training.steps(5), 3);
    assert_eq!(federation("steps = 7").training.steps(5), 7);
}

#[test]
fn clipping_bounds_how_far_one_step_goes() {
    let reach = |clip: &str| {
        let federation = federation(&format!(
            "steps = 1\noptimiser = 'sgd'\nlearning_rate = 1.0\n{clip}"
        ));
        let (before, after) = (
            fresh(&federation),
            trained(&federation, &both(), None).unwrap().parameters,
        );
        let weight = |spec: &protocol::parameters::TensorSpec| {
            spec.kind == protocol::parameters::Kind::Weight
        };
        let pairs = before
            .tensors()
            .zip(after.tensors())
            .filter(|((spec, _), _)| weight(spec));
        let squares = pairs
            .flat_map(|((_, a), (_, b))| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)));
        squares.sum::<f64>().sqrt()
    };
    assert!((reach("clip_norm = 0.01") - 0.01).abs() < 1e-4);
    assert!(reach("clip_norm = 0") > 0.02);
}

#[test]
fn local_normalisation_starts_from_the_sites_own() {
    let mut federation = federation("steps = 1\noptimiser = 'sgd'\nlearning_rate = 1e-9");
    federation.model.norm = Norm::BatchLocal;
    let start = fresh(&federation);
    let own = Parameters::new(start.manifest().clone(), vec![2.0; start.values().len()]).unwrap();
    let weights = |own: Option<&Parameters>| {
        let update = trained(&federation, &both(), own).unwrap();
        update
            .parameters
            .tensors()
            .find(|(spec, _)| spec.name == "backbone.bn1.weight")
            .unwrap()
            .1
            .to_vec()
    };
    assert!(
        weights(Some(&own))
            .iter()
            .all(|weight| (weight - 2.0).abs() < 1e-3)
    );
    assert!(
        weights(None)
            .iter()
            .all(|weight| (weight - 1.0).abs() < 1e-3)
    );
}

/// Training on a GPU against the processor, and mixed precision against 32 bits.
#[cfg(feature = "gpu")]
mod gpu {
    use super::*;
    use crate::device::computes_in;
    use crate::device::tests::{Gpu, gpu};
    use protocol::settings::Norm;

    fn on(device: &Device, federation: &Federation, compute: Compute) -> LocalUpdate {
        let start = fresh(federation);
        let (_folder, cases) = cohort(&both());
        let cases: Vec<&CachedCase> = cases.iter().collect();
        let task = TrainingTask {
            compute,
            ..task(federation, &cases, &start)
        };
        train(&task, device, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    fn furthest(one: &LocalUpdate, other: &LocalUpdate) -> f32 {
        let values = one
            .parameters
            .values()
            .iter()
            .zip(other.parameters.values());
        values
            .map(|(one, other)| (one - other).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn three_steps_on_a_gpu_are_the_processors() {
        let Some(Gpu { device, tolerance }) = gpu() else {
            return;
        };
        let mut settings = Vec::new();
        for more in [
            "",
            "optimiser = 'sgd'\nproximal = 0.1\n",
            "clip_norm = 0.01\nweight_decay = 0.1\n",
        ] {
            settings.push(federation(&format!("steps = 3\n{more}")));
        }
        for (norm, head_dropout) in [
            (Norm::Group, 0.0),
            (Norm::BatchLocal, 0.0),
            (Norm::Batch, 0.5),
        ] {
            let mut changed = federation("steps = 3");
            changed.model.norm = norm;
            changed.model.head_dropout = head_dropout;
            settings.push(changed);
        }
        for federation in settings {
            let (gpu, processor) = (
                on(&device, &federation, Compute::F32),
                on(&Device::flex(), &federation, Compute::F32),
            );
            let apart = (gpu.mean_loss - processor.mean_loss).abs();
            assert!(
                apart < 1e-3,
                "{} {}: {federation:?}",
                gpu.mean_loss,
                processor.mean_loss
            );
            // A step of Adam is as long as the learning rate, whatever rounding did to a gradient
            // near zero.
            let allowed = if tolerance > 1e-3 { 6e-3 } else { 1e-3 };
            assert!(
                furthest(&gpu, &processor) < allowed,
                "{}: {federation:?}",
                furthest(&gpu, &processor)
            );
        }
    }

    #[test]
    fn the_same_training_on_a_gpu_gives_the_same_bits() {
        let Some(Gpu { device, .. }) = gpu() else {
            return;
        };
        let federation = federation("steps = 3");
        let once = on(&device, &federation, Compute::F32);
        assert_eq!(
            on(&device, &federation, Compute::F32).parameters.id(),
            once.parameters.id()
        );
    }

    #[test]
    fn mixed_precision_learns_as_32_bits_do() {
        let Some(Gpu { device, .. }) = gpu() else {
            return;
        };
        if !computes_in(&device, Compute::Bf16) {
            eprintln!("SKIPPED, NOTHING WAS CHECKED: this GPU has no bfloat16");
            return;
        }
        let federation = federation("steps = 10");
        let (mixed, full) = (
            on(&device, &federation, Compute::Bf16),
            on(&device, &federation, Compute::F32),
        );
        assert_eq!((mixed.compute, full.compute), (Compute::Bf16, Compute::F32));
        assert!((mixed.mean_loss - full.mean_loss).abs() < 0.02 * full.mean_loss);
        assert!((mixed.last_loss - full.last_loss).abs() < 0.05 * full.last_loss);
    }

    #[test]
    fn the_processor_computes_in_32_bits_whatever_it_is_asked() {
        assert_eq!(
            on(&Device::flex(), &federation("steps = 1"), Compute::Bf16).compute,
            Compute::F32
        );
    }
}
