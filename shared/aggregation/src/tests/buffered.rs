//! Updates that started from different versions.

use super::*;

/// What becomes of the newest of `models` with updates from the model of their base.
pub(super) fn moved(
    rule: Aggregation,
    rate: f64,
    models: &[Vec<f32>],
    updates: &[(Site, u32)],
) -> Vec<f32> {
    let sources = models
        .iter()
        .zip(0..)
        .map(|(values, version)| (Version(version), values.as_slice()));
    let versions = Models {
        newest: Version(models.len() as u32 - 1),
        stored: sources.collect(),
        state: None,
    };
    let named = updates.iter().enumerate().map(|(index, (site, base))| {
        let (contribution, checked) = update(index, site);
        (
            Contribution {
                base: Version(*base),
                ..contribution
            },
            checked,
        )
    });
    let mut new = Vec::new();
    let (manifest, input) = (manifest(), input());
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(rule, Some(rate)),
    };
    let write = |made: Made<'_>| {
        new.extend_from_slice(made.values);
        Ok(())
    };
    average.run(versions, named.collect(), write).unwrap();
    new
}

fn versions(most: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    prop::collection::vec(
        prop::collection::vec(-1e3f32..1e3, manifest().len()),
        1..most,
    )
}

/// The rule with a pencil: value `index` of the model after the newest of `models`.
fn expected(rate: f64, models: &[Vec<f32>], updates: &[(Site, u32)], index: usize) -> f64 {
    let manifest = manifest();
    let (spec, range) = manifest
        .ranges()
        .find(|(_, range)| range.contains(&index))
        .unwrap();
    let sequence = (spec.name == STEM).then(|| (index - range.start) / (SLICES * 2) % SEQUENCES);
    let statistic = spec.kind == Kind::RunningStatistic;
    let newest = models.len() - 1;
    let (mut sum, mut weight) = (0.0, 0.0);
    for (site, base) in updates {
        if sequence.is_none_or(|sequence| site.sequences.contains(sequence)) {
            let from = f64::from(models[if statistic { newest } else { *base as usize }][index]);
            let staleness = newest as f64 - f64::from(*base);
            sum += site.slices as f64 * (f64::from(site.values[index]) - from)
                / (1.0 + staleness).sqrt();
            weight += site.slices as f64;
        }
    }
    let rate = if statistic { rate.min(1.0) } else { rate };
    f64::from(models[newest][index])
        + if weight > 0.0 {
            rate * sum / weight
        } else {
            0.0
        }
}

proptest! {
    #[test]
    fn fresh_updates_at_full_rate_are_averaged_as_in_a_round(sites in sites(6), start in versions(2)) {
        for rule in [Aggregation::FedAvg, Aggregation::SequenceAware] {
            let fresh: Vec<(Site, u32)> = sites.iter().map(|site| (site.clone(), 0)).collect();
            let (new, round) = (moved(rule, 1.0, &start, &fresh), average(rule, &start[0], all(&sites)));
            for (one, other) in new.iter().zip(&round) {
                prop_assert!((one - other).abs() <= 1e-3, "{one} {other}");
            }
        }
    }

    #[test]
    fn every_value_moves_as_the_rule_says(
        sites in sites(6),
        models in versions(4),
        bases in prop::collection::vec(any::<Index>(), 6),
        rate in 0.1f64..3.0,
    ) {
        let base = |at: usize| bases[at].index(models.len()) as u32;
        let updates: Vec<(Site, u32)> = sites.into_iter().enumerate().map(|(at, site)| (site, base(at))).collect();
        let new = moved(Aggregation::SequenceAware, rate, &models, &updates);
        for (index, value) in new.iter().enumerate() {
            let expected = expected(rate, &models, &updates, index);
            prop_assert!((f64::from(*value) - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{value} \
                {expected}");
        }
    }
}

fn site(value: f32, slices: u64, bits: u16) -> Site {
    Site {
        values: vec![value; manifest().len()],
        slices,
        sequences: SequenceSet::from_bits(bits),
    }
}

#[test]
fn a_variance_stays_between_the_newest_and_the_updates_own() {
    // The difference to the old model is -0.9: added to the newest it would be negative.
    let models = [vec![1.0; manifest().len()], vec![0.1; manifest().len()]];
    let new = moved(Aggregation::FedAvg, 5.0, &models, &[(site(0.1, 8, 7), 0)]);
    let variances = manifest().ranges().last().unwrap().1;
    assert!(
        new[variances]
            .iter()
            .all(|&variance| (variance - 0.1).abs() < 1e-6),
        "{new:?}"
    );
    assert!(
        new[manifest().ranges().nth(2).unwrap().1]
            .iter()
            .all(|&weight| weight < -1.0),
        "{new:?}"
    );
}

#[test]
fn a_sequence_that_no_update_holds_stays_as_it_is_in_the_newest() {
    let models = [vec![1.0; manifest().len()], vec![0.5; manifest().len()]];
    let new = moved(
        Aggregation::SequenceAware,
        1.0,
        &models,
        &[(site(2.0, 8, 1), 1)],
    );
    let stem = manifest()
        .ranges()
        .find(|(spec, _)| spec.name == STEM)
        .unwrap()
        .1;
    let block = SLICES * 2;
    let (held, rest): (Vec<_>, Vec<_>) = new[stem]
        .chunks(block)
        .enumerate()
        .partition(|(index, _)| index % SEQUENCES == 0);
    assert!(
        held.iter()
            .all(|(_, values)| values.iter().all(|value| *value == 2.0))
    );
    assert!(
        rest.iter()
            .all(|(_, values)| values.iter().all(|value| *value == 0.5))
    );
}

#[test]
fn wild_updates_make_no_infinite_model() {
    let models = [
        vec![-f32::MAX; manifest().len()],
        vec![f32::MAX; manifest().len()],
    ];
    let new = moved(
        Aggregation::FedAvg,
        10.0,
        &models,
        &[(site(f32::MAX, 8, 7), 0)],
    );
    assert!(new.iter().all(|value| value.is_finite()));
}

#[test]
fn one_site_may_give_one_update_from_each_version_and_every_version_must_be_there() {
    let (manifest, input) = (manifest(), input());
    let (one, values) = (site(1.0, 8, 7), vec![1.0; manifest.len()]);
    let average = Average {
        manifest: &manifest,
        input: &input,
        rule: &*named_rule(Aggregation::FedAvg, Some(1.0)),
    };
    let run = |bases: [u32; 2]| {
        let named = bases.map(|base| {
            let (contribution, checked) = update(0, &one);
            (
                Contribution {
                    base: Version(base),
                    ..contribution
                },
                checked,
            )
        });
        let versions = Models {
            newest: Version(1),
            stored: [
                (Version(0), values.as_slice()),
                (Version(1), values.as_slice()),
            ]
            .into(),
            state: None,
        };
        average.run(versions, named.into(), |_| Ok(()))
    };
    assert_eq!(run([0, 1]), Ok(()));
    assert_eq!(
        run([1, 1]),
        Err(AggregateError::Twice {
            site: "site-0".parse().unwrap(),
            base: Version(1)
        })
    );
    assert_eq!(run([0, 7]), Err(AggregateError::Base(Version(7))));
}
