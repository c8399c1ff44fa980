//! Optimisers on the server.

use super::made::{Made, make, rule};
use super::*;
use protocol::settings::ServerOptimiser;

const OPTIMISERS: [ServerOptimiser; 4] = [
    ServerOptimiser::Momentum {
        rate: 10.0,
        beta: 0.9,
    },
    ServerOptimiser::Adam {
        rate: 10.0,
        beta1: 0.9,
        beta2: 0.99,
        tau: 1e-3,
    },
    ServerOptimiser::Yogi {
        rate: 10.0,
        beta1: 0.9,
        beta2: 0.99,
        tau: 1e-3,
    },
    ServerOptimiser::Adagrad {
        rate: 10.0,
        beta1: 0.0,
        tau: 1e-3,
    },
];

/// Whether a value is a running statistic, by its place.
fn is_statistic(index: usize) -> bool {
    index < 3 || index >= manifest().len() - 4
}

proptest! {
    #[test]
    fn running_statistics_are_averaged_and_so_never_below_zero(
        rounds in prop::collection::vec(sites(6), 1..5),
    ) {
        for optimiser in OPTIMISERS {
            let optimised = rule(Aggregation::FedAvg, Some(optimiser));
            let plain = rule(Aggregation::FedAvg, None);
            let mut newest = Made::first(&vec![0.5; manifest().len()]);
            for sites in &rounds {
                let mut sites = sites.clone();
                for site in &mut sites {
                    for (index, value) in site.values.iter_mut().enumerate() {
                        if is_statistic(index) {
                            *value = value.abs();
                        }
                    }
                }
                let averaged = make(&*plain, &newest, &sites);
                newest = make(&*optimised, &newest, &sites);
                for (index, value) in newest.values.iter().enumerate() {
                    prop_assert!(value.is_finite());
                    if is_statistic(index) {
                        prop_assert_eq!(*value, averaged.values[index]);
                        prop_assert!(*value >= 0.0);
                    }
                }
            }
        }
    }

    #[test]
    fn momentum_that_keeps_nothing_and_goes_all_the_way_is_the_rule_itself(sites in sites(6)) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        let whole = ServerOptimiser::Momentum { rate: 1.0, beta: 0.0 };
        let made = make(&*rule(Aggregation::SequenceAware, Some(whole)), &newest, &sites);
        let plain = make(&*rule(Aggregation::SequenceAware, None), &newest, &sites);
        for (one, other) in made.values.iter().zip(&plain.values) {
            prop_assert!((one - other).abs() <= 1e-4, "{one} {other}");
        }
    }
}

#[test]
fn updates_of_any_size_make_no_infinite_model() {
    let wild = |value| Site {
        values: vec![value; manifest().len()],
        slices: 8,
        sequences: SequenceSet::full(SEQUENCES),
    };
    for optimiser in OPTIMISERS {
        let rule = rule(Aggregation::FedAvg, Some(optimiser));
        let mut newest = Made::first(&vec![-1.0; manifest().len()]);
        for value in [f32::MAX, f32::MAX, f32::MIN, 0.0] {
            newest = make(&*rule, &newest, &[wild(value)]);
            let finite = newest.values.iter().chain(&newest.state);
            assert!(finite.copied().all(f32::is_finite), "{optimiser:?}");
        }
    }
}

#[test]
fn what_no_site_teaches_stays_as_it_is_with_what_is_kept_for_it() {
    let site = |value, bits| Site {
        values: vec![value; manifest().len()],
        slices: 8,
        sequences: SequenceSet::from_bits(bits),
    };
    let last_channel = 3 + (SEQUENCES - 1) * SLICES * 2;
    for optimiser in OPTIMISERS {
        let rule = rule(Aggregation::SequenceAware, Some(optimiser));
        let first = Made::first(&vec![0.5; manifest().len()]);
        let begun = make(&*rule, &first, &[site(1.0, 0b111)]);
        assert_ne!(begun.values[last_channel], 0.5, "{optimiser:?}");
        let next = make(&*rule, &begun, &[site(2.0, 0b011)]);
        assert_eq!(next.values[last_channel], begun.values[last_channel]);
        assert_ne!(next.values[3], begun.values[3]);
        let again = make(&*rule, &next, &[site(2.0, 0b111)]);
        assert_ne!(again.values[last_channel], begun.values[last_channel]);
    }
}

#[test]
fn an_optimiser_goes_on_from_what_a_robust_rule_makes() {
    let site = |value| Site {
        values: vec![value; manifest().len()],
        slices: 8,
        sequences: SequenceSet::full(SEQUENCES),
    };
    let momentum = ServerOptimiser::Momentum {
        rate: 1.0,
        beta: 0.5,
    };
    let rule = rule(Aggregation::Krum { faulty: 1 }, Some(momentum));
    let sites = [site(1.0), site(1.0), site(1e6), site(1.0), site(1.0)];
    let first = make(&*rule, &Made::first(&vec![0.0; manifest().len()]), &sites);
    let second = make(&*rule, &first, &sites);
    // The second round finds nothing to do but half of the first one's way.
    assert_eq!((first.values[5], second.values[5]), (1.0, 1.5));
    assert_eq!(
        (first.values[0], second.values[0]),
        (1.0, 1.0),
        "a statistic"
    );
}
