use super::*;
use metrics::sequence::SequenceSet;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::coordinator::UpdateRejection;
use protocol::identity::Version;
use protocol::parameters::{Kind, ParametersError, ParametersId, STEM, TensorSpec, to_bytes};
use protocol::settings::Aggregation;

mod buffered;
mod golden;
mod hostile;
mod known;
mod made;
mod page;
mod pipeline;
mod robust;
mod server;
mod state;

const OUT: usize = 2;
const SEQUENCES: usize = 3;
const SLICES: usize = 2;

fn manifest() -> Manifest {
    let spec = |name: &str, shape: &[usize], kind| TensorSpec {
        name: name.into(),
        shape: shape.into(),
        kind,
    };
    Manifest {
        tensors: vec![
            spec("backbone.bn0.running_mean", &[3], Kind::RunningStatistic),
            spec(STEM, &[OUT, SEQUENCES * SLICES, 2, 1], Kind::Weight),
            spec("backbone.bn1.weight", &[4], Kind::Weight),
            spec("backbone.bn1.running_var", &[4], Kind::RunningStatistic),
        ],
    }
}

fn input() -> Input {
    let sequences = (0..SEQUENCES).map(|i| format!("s{i}")).collect();
    Input {
        sequences,
        slices: SLICES,
        plane: 16,
        spacing_mm: None,
        clip_percentiles: None,
    }
}

#[derive(Clone, Debug)]
struct Site {
    values: Vec<f32>,
    slices: u64,
    sequences: SequenceSet,
}

fn id(values: &[f32]) -> ParametersId {
    ParametersId(*blake3::hash(&to_bytes(values)).as_bytes())
}

fn update(index: usize, site: &Site) -> (Contribution, Checked<&[f32]>) {
    let parameters = id(&site.values);
    let Site {
        slices, sequences, ..
    } = *site;
    let checked = Checked::check(site.values.as_slice(), &manifest(), parameters).unwrap();
    (
        Contribution {
            site: format!("site-{index}").parse().unwrap(),
            parameters,
            slices,
            sequences,
            base: Version::INITIAL,
        },
        checked,
    )
}

fn average(
    rule: Aggregation,
    start: &[f32],
    updates: Vec<(Contribution, Checked<&[f32]>)>,
) -> Vec<f32> {
    let mut new = Vec::new();
    let (manifest, input) = (manifest(), input());
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(rule, None),
    };
    let write = |made: Made<'_>| {
        new.extend_from_slice(made.values);
        Ok(())
    };
    average
        .run(Models::only(Version::INITIAL, start), updates, write)
        .unwrap();
    new
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn all(sites: &[Site]) -> Vec<(Contribution, Checked<&[f32]>)> {
    sites
        .iter()
        .enumerate()
        .map(|(index, site)| update(index, site))
        .collect()
}

fn sites(most: usize) -> impl Strategy<Value = Vec<Site>> {
    let values = prop::collection::vec(-1e3f32..1e3, manifest().len());
    let site = (values, 1u64..100_000, 1u16..8).prop_map(|(values, slices, bits)| Site {
        values,
        slices,
        sequences: SequenceSet::from_bits(bits),
    });
    prop::collection::vec(site, 1..most)
}

proptest! {
    #[test]
    fn the_order_of_arrival_changes_no_bit(sites in sites(6), order in prop::collection::vec(any::<Index>(), 6)) {
        let start = vec![0.5; manifest().len()];
        let expected = average(Aggregation::SequenceAware, &start, all(&sites));
        let mut shuffled = all(&sites);
        for (i, pick) in order.iter().enumerate() {
            let (a, b) = (i % sites.len(), pick.index(sites.len()));
            shuffled.swap(a, b);
        }
        prop_assert_eq!(bits(&average(Aggregation::SequenceAware, &start, shuffled)), bits(&expected));
    }

    #[test]
    fn both_rules_agree_where_every_site_holds_everything(mut sites in sites(6)) {
        sites.iter_mut().for_each(|site| site.sequences = SequenceSet::full(SEQUENCES));
        let start = vec![0.5; manifest().len()];
        let plain = average(Aggregation::FedAvg, &start, all(&sites));
        prop_assert_eq!(bits(&average(Aggregation::SequenceAware, &start, all(&sites))), bits(&plain));
    }

    #[test]
    fn one_site_alone_gives_its_own_update(sites in sites(2)) {
        let start = vec![0.5; manifest().len()];
        prop_assert_eq!(bits(&average(Aggregation::FedAvg, &start, all(&sites))), bits(&sites[0].values));
    }

    #[test]
    fn an_average_stays_between_the_extremes(sites in sites(6)) {
        let start = vec![0.5; manifest().len()];
        let new = average(Aggregation::FedAvg, &start, all(&sites));
        for (i, value) in new.iter().enumerate() {
            let low = sites.iter().map(|site| site.values[i]).fold(f32::INFINITY, f32::min);
            let high = sites.iter().map(|site| site.values[i]).fold(f32::NEG_INFINITY, f32::max);
            prop_assert!((low..=high).contains(value), "{} not in {}..={}", value, low, high);
        }
    }
}

#[test]
fn a_stem_block_is_averaged_over_the_sites_that_hold_its_sequence() {
    let constant = |value: f32, slices, bits| Site {
        values: vec![value; manifest().len()],
        slices,
        sequences: SequenceSet::from_bits(bits),
    };
    // Sequence 0: both sites; sequence 1: the second alone; sequence 2: none.
    let sites = [constant(1.0, 3, 0b001), constant(5.0, 1, 0b011)];
    let new = average(
        Aggregation::SequenceAware,
        &vec![-7.0; manifest().len()],
        all(&sites),
    );
    let stem = &new[3..3 + OUT * SEQUENCES * SLICES * 2];
    for out in stem.chunks(SEQUENCES * SLICES * 2) {
        assert_eq!(
            out,
            [
                2.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0, 5.0, -7.0, -7.0, -7.0, -7.0
            ]
        );
    }
    let rest: Vec<f32> = new[..3].iter().chain(&new[27..]).copied().collect();
    assert_eq!(
        rest,
        vec![2.0; 11],
        "running statistics and other weights are averaged over all"
    );
}

#[test]
fn what_is_not_finite_or_not_what_it_says_is_no_update() {
    let mut values = vec![0.0; manifest().len()];
    let other = Checked::check(values.as_slice(), &manifest(), ParametersId([0; 32])).unwrap_err();
    assert!(matches!(
        other,
        CheckError::Rejected(UpdateRejection::Hash { .. })
    ));
    values[4] = f32::INFINITY;
    let bad = Checked::check(values.as_slice(), &manifest(), id(&values)).unwrap_err();
    assert_eq!(
        bad,
        CheckError::Rejected(UpdateRejection::Values(ParametersError::NotFinite {
            tensor: STEM.into(),
            index: 1
        }))
    );
}

#[test]
fn a_site_counts_once_and_only_with_its_own_summary() {
    let site = Site {
        values: vec![1.0; manifest().len()],
        slices: 2,
        sequences: SequenceSet::full(3),
    };
    let (manifest, input) = (manifest(), input());
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(Aggregation::FedAvg, None),
    };
    let run = |updates| {
        average.run(
            Models::only(Version::INITIAL, site.values.as_slice()),
            updates,
            |_| Ok(()),
        )
    };
    assert_eq!(
        run(vec![update(0, &site), update(0, &site)]),
        Err(AggregateError::Twice {
            site: "site-0".parse().unwrap(),
            base: Version::INITIAL
        })
    );
    let (mut contribution, checked) = update(0, &site);
    contribution.parameters = ParametersId([9; 32]);
    assert_eq!(
        run(vec![(contribution, checked)]),
        Err(AggregateError::Mismatch("site-0".parse().unwrap()))
    );
    assert_eq!(run(Vec::new()), Err(AggregateError::Empty));
}

/// The update of one site, measured from a model of these values.
fn measured(
    start: f32,
    change: impl Fn(&mut Vec<f32>),
) -> Result<f64, CheckError<std::convert::Infallible>> {
    let base = vec![start; manifest().len()];
    let mut values = base.clone();
    change(&mut values);
    let mut checked = Checked::check(values.as_slice(), &manifest(), id(&values)).unwrap();
    checked.measure(&mut base.as_slice(), &manifest())
}

#[test]
fn an_update_is_measured_from_the_model_that_it_started_from() {
    assert_eq!(measured(0.5, |_| ()), Ok(0.0));
    let moved = measured(0.5, |values| (values[0], values[5]) = (3.5, -3.5)).unwrap();
    assert!((moved - 5.0).abs() < 1e-6, "{moved}");
}

#[test]
fn a_variance_below_zero_is_refused_by_name_and_any_other_value_may_be() {
    let variance = manifest().len() - 2;
    let refused = measured(0.5, |values| values[variance] = -1e6).unwrap_err();
    let tensor = "backbone.bn1.running_var".to_string();
    assert_eq!(
        refused,
        CheckError::Rejected(UpdateRejection::Values(ParametersError::Variance {
            tensor,
            index: 2,
            value: -1e6
        }))
    );
    assert!(measured(0.5, |values| values[variance] = 0.0).is_ok());
    assert!(
        measured(0.5, |values| (values[0], values[4], values[28]) =
            (-9.0, -9.0, -9.0))
        .is_ok()
    );
}

#[test]
fn a_distance_that_no_training_goes_is_refused_with_the_models_size() {
    let refused = measured(0.5, |values| values[4] = 3e38).unwrap_err();
    assert!(
        matches!(refused, CheckError::Rejected(UpdateRejection::Far { distance, .. }) if distance > 1e38),
        "{refused}"
    );
    // A model of 35 halves has a size of 3.
    assert!(measured(0.5, |values| values[4] = 2900.0).is_ok());
    assert!(measured(0.5, |values| values[4] = 3100.0).is_err());
    assert!(
        measured(0.0, |values| values[4] = 900.0).is_ok(),
        "a model of zeros may be changed, too"
    );
}
