//! What robust rules promise while no more sites are faulty than they hold against.

use super::made::{Made, make, make_of, rule};
use super::*;

const ROBUST: [Aggregation; 5] = [
    Aggregation::Median,
    Aggregation::TrimmedMean { faulty: 2 },
    Aggregation::Krum { faulty: 2 },
    Aggregation::MultiKrum {
        faulty: 2,
        chosen: 3,
    },
    Aggregation::GeometricMedian,
];
const SITES: usize = 7;
const FAULTY: usize = 2;

fn site(values: Vec<f32>) -> Site {
    Site {
        values,
        slices: 8,
        sequences: SequenceSet::full(SEQUENCES),
    }
}

/// Five sound sites, and two with values of any size up to the largest.
fn with_faulty() -> impl Strategy<Value = Vec<Site>> {
    let length = manifest().len();
    let sound = prop::collection::vec(prop::collection::vec(-1f32..1.0, length), SITES - FAULTY);
    let wild = prop_oneof![
        -1f32..1.0,
        -1e4f32..1e4,
        Just(f32::MAX),
        Just(f32::MIN),
        Just(1e30),
        Just(0.0)
    ];
    let faulty = prop::collection::vec(prop::collection::vec(wild, length), FAULTY);
    (sound, faulty).prop_map(|(sound, faulty)| {
        let mut sites: Vec<Site> = sound.into_iter().map(site).collect();
        // First, in the middle and with most of the slices: no place is special.
        for (place, values) in [0, 3].into_iter().zip(faulty) {
            let slices = 1_000_000;
            sites.insert(
                place,
                Site {
                    slices,
                    ..site(values)
                },
            );
        }
        sites
    })
}

fn is_faulty(index: usize) -> bool {
    index == 0 || index == 3
}

/// The values of the sound sites at one place.
fn sound(sites: &[Site], index: usize) -> Vec<f32> {
    let mut values = Vec::new();
    for (number, site) in sites.iter().enumerate() {
        if !is_faulty(number) {
            values.push(site.values[index]);
        }
    }
    values
}

fn distance(one: &[f32], other: &[f32]) -> f64 {
    let mut square = 0.0;
    for (one, other) in one.iter().zip(other) {
        square += (f64::from(*one) - f64::from(*other)).powi(2);
    }
    square.sqrt()
}

fn within_sound(made: &Made, sites: &[Site]) -> Result<(), TestCaseError> {
    for (index, value) in made.values.iter().enumerate() {
        let sound = sound(sites, index);
        let low = sound.iter().copied().fold(f32::INFINITY, f32::min);
        let high = sound.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        prop_assert!(
            (low..=high).contains(value),
            "{value} at {index} is not in {low}..={high}"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_order_of_arrival_changes_no_bit_of_a_robust_rule(
        sites in with_faulty(),
        order in Just((0..SITES).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        for name in ROBUST {
            let rule = rule(name, None);
            let expected = make(&*rule, &newest, &sites);
            let shuffled =
                make_of(&*rule, &manifest(), &input(), &newest, (&sites, &order));
            prop_assert_eq!(bits(&shuffled.values), bits(&expected.values), "{:?}", name);
        }
    }

    #[test]
    fn the_median_lies_between_sound_values_whatever_the_faulty_sites_send(
        sites in with_faulty(),
    ) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        within_sound(&make(&*rule(Aggregation::Median, None), &newest, &sites), &sites)?;
    }

    #[test]
    fn the_trimmed_mean_lies_between_sound_values_whatever_the_faulty_sites_send(
        sites in with_faulty(),
    ) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        let rule = rule(Aggregation::TrimmedMean { faulty: FAULTY }, None);
        within_sound(&make(&*rule, &newest, &sites), &sites)?;
    }

    #[test]
    fn krum_takes_one_update_whole_and_it_is_among_the_sound_ones_or_as_close(
        sites in with_faulty(),
    ) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        let made = make(&*rule(Aggregation::Krum { faulty: FAULTY }, None), &newest, &sites);
        let weights = 3..manifest().len() - 4;
        let taken = |site: &Site| bits(&site.values[weights.clone()]);
        let chosen = sites
            .iter()
            .position(|site| taken(site) == bits(&made.values[weights.clone()]));
        prop_assert!(chosen.is_some());
        // A faulty update has to be as close to a sound one as the sound ones are to each other.
        let chosen = &sites[chosen.unwrap()].values[weights.clone()];
        let mut nearest = f64::INFINITY;
        let mut widest = 0.0f64;
        for (index, one) in sites.iter().enumerate() {
            if is_faulty(index) {
                continue;
            }
            nearest = nearest.min(distance(chosen, &one.values[weights.clone()]));
            for (index, other) in sites.iter().enumerate() {
                if !is_faulty(index) {
                    let one = &one.values[weights.clone()];
                    widest = widest.max(distance(one, &other.values[weights.clone()]));
                }
            }
        }
        prop_assert!(nearest <= widest * 2.0, "{nearest} away, sound ones {widest}");
    }

    #[test]
    fn far_updates_are_never_among_those_that_multi_krum_chooses(
        sites in with_faulty(),
        far in prop_oneof![1e3f32..1e30, -1e30f32..-1e3],
    ) {
        let mut sites = sites;
        for index in [0, 3] {
            sites[index].values.fill(far);
        }
        let newest = Made::first(&vec![0.5; manifest().len()]);
        let name = Aggregation::MultiKrum { faulty: FAULTY, chosen: 3 };
        within_sound(&make(&*rule(name, None), &newest, &sites), &sites)?;
    }

    #[test]
    fn the_geometric_median_stays_as_near_to_the_sound_updates_as_their_share_promises(
        sites in with_faulty(),
    ) {
        let newest = Made::first(&vec![0.5; manifest().len()]);
        let made = make(&*rule(Aggregation::GeometricMedian, None), &newest, &sites);
        let weights = 3..manifest().len() - 4;
        let length = weights.len();
        let centre: Vec<f32> = weights
            .clone()
            .map(|index| sound(&sites, index).iter().sum::<f32>() / (SITES - FAULTY) as f32)
            .collect();
        let mut radius = 0.0f64;
        for (index, site) in sites.iter().enumerate() {
            if !is_faulty(index) {
                radius = radius.max(distance(&site.values[weights.clone()], &centre));
            }
        }
        // Minsker 2015, lemma 2.1, with a share of faulty sites of 2 in 7.
        let share = FAULTY as f64 / SITES as f64;
        let most = radius * (1.0 - share) / (1.0 - 2.0 * share).sqrt() * 1.01;
        let away = distance(&made.values[weights], &centre);
        prop_assert!(away <= most, "{away} away, at most {most}, of {length} values");
    }

    #[test]
    fn sites_that_agree_are_followed_by_every_rule(
        values in prop::collection::vec(-1e3f32..1e3, manifest().len()),
    ) {
        let sites = vec![site(values.clone()); SITES];
        let newest = Made::first(&vec![0.5; manifest().len()]);
        for name in ROBUST {
            let made = make(&*rule(name, None), &newest, &sites);
            for (one, other) in made.values.iter().zip(&values) {
                prop_assert!((one - other).abs() <= 1e-5 * other.abs().max(1.0), "{name:?}");
            }
        }
    }
}

/// The channels of the last sequence, which sites hold that have its bit.
fn last_sequence(values: &[f32]) -> Vec<f32> {
    let block = SLICES * 2;
    let stem = &values[3..3 + OUT * SEQUENCES * block];
    let mut last = Vec::new();
    for channels in stem.chunks(SEQUENCES * block) {
        last.extend_from_slice(&channels[(SEQUENCES - 1) * block..]);
    }
    last
}

fn constant(value: f32, bits: u16) -> Site {
    Site {
        sequences: SequenceSet::from_bits(bits),
        ..site(vec![value; manifest().len()])
    }
}

#[test]
fn a_site_that_says_it_alone_holds_a_sequence_cannot_set_its_weights() {
    let mut sites = vec![constant(1.0, 0b011); SITES];
    sites[4] = constant(1e30, 0b111);
    let newest = Made::first(&vec![0.5; manifest().len()]);
    for name in ROBUST {
        let made = make(&*rule(name, None), &newest, &sites);
        for value in last_sequence(&made.values) {
            // The geometric median goes no further than the others did.
            assert!((0.4..=8.0).contains(&value), "{name:?}: {value}");
        }
        assert!((made.values[30] - 1.0).abs() < 1e-3, "{name:?}");
    }
}

#[test]
fn a_sequence_that_two_sites_hold_is_learnt_where_both_agree() {
    let mut sites = vec![constant(1.0, 0b011); SITES];
    sites[1] = constant(0.75, 0b111);
    sites[5] = constant(1.0, 0b111);
    let newest = Made::first(&vec![0.5; manifest().len()]);
    let made = make(&*rule(Aggregation::Median, None), &newest, &sites);
    assert_eq!(last_sequence(&made.values), [0.75; 8]);
    sites[5] = constant(1e30, 0b111);
    let made = make(&*rule(Aggregation::Median, None), &newest, &sites);
    assert_eq!(
        last_sequence(&made.values),
        [0.75; 8],
        "one of them is faulty"
    );
    sites[5] = constant(-1e30, 0b111);
    let made = make(&*rule(Aggregation::Median, None), &newest, &sites);
    assert_eq!(last_sequence(&made.values), [0.5; 8], "they disagree");
}

#[test]
fn a_sequence_that_no_site_holds_stays_as_it_is_under_every_rule() {
    let sites = vec![constant(1.0, 0b011); SITES];
    let newest = Made::first(&vec![0.3; manifest().len()]);
    for name in ROBUST {
        let made = make(&*rule(name, None), &newest, &sites);
        assert_eq!(last_sequence(&made.values), [0.3; 8], "{name:?}");
    }
}

#[test]
fn running_statistics_do_not_decide_which_updates_krum_chooses() {
    let mut sites = Vec::new();
    for (index, weight) in [-5.0, -0.6, -0.5, 0.0, 0.5, 0.6, 9.0]
        .into_iter()
        .enumerate()
    {
        let mut values = vec![weight; manifest().len()];
        // Another scanner, with other statistics.
        values[..3].fill(1000.0 * index as f32);
        values[31..].fill(if index == 6 { 1.0 } else { 1e4 * index as f32 });
        sites.push(site(values));
    }
    let newest = Made::first(&vec![0.2; manifest().len()]);
    let made = make(
        &*rule(Aggregation::Krum { faulty: 2 }, None),
        &newest,
        &sites,
    );
    assert_eq!(made.values[..3], [3000.0; 3], "their medians");
    assert_eq!(made.values[27..31], [0.0; 4], "the weights in the middle");
}

#[test]
fn what_is_said_not_to_be_learnt_is_what_stays_as_it_is() {
    let newest = Made::first(&vec![0.5; manifest().len()]);
    let input = input();
    // Not the geometric median: it always moves by the share of the holders' weights.
    let others = [ROBUST[0], ROBUST[1], ROBUST[2], ROBUST[3]];
    for name in others.into_iter().chain([Aggregation::SequenceAware]) {
        for holders in 1..=SITES {
            let mut sites = Vec::new();
            let mut updates = Vec::new();
            for index in 0..SITES {
                let bits = if index < holders { 0b111 } else { 0b011 };
                sites.push(constant(1.0, bits));
                updates.push(update(index, &sites[index]).0);
            }
            let made = make(&*rule(name, None), &newest, &sites);
            let is_learnt = last_sequence(&made.values) != [0.5; 8];
            let mut said = Vec::new();
            if !is_learnt {
                let sequence = "s2";
                said.push(NotLearnt { sequence, holders });
            }
            let found = not_learnt(name, &input, &updates);
            assert_eq!(found, said, "{name:?} with {holders} holders");
        }
    }
}
