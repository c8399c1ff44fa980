use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Made by `tests/fixtures/metrics/statistics.py` with SciPy.
const SCIPY: &str = include_str!("../../../../tests/fixtures/metrics/statistics.json");

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3)
}

#[test]
fn both_tests_give_scipys_statistics_and_p_values_by_every_method() {
    let cases: Value = serde_json::from_str(SCIPY).unwrap();
    let normal = |continuity| Method::Normal { continuity };
    let methods = [
        ("exact", Method::Exact),
        ("normal", normal(false)),
        ("corrected", normal(true)),
    ];
    let mut compared = 0;
    for case in cases["pairs"].as_array().unwrap() {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        type Test = fn(&[f64], &[f64], Method) -> Option<RankTest>;
        for (name, test) in [
            ("rank_sum", rank_sum_by as Test),
            ("signed_rank", signed_rank_by as Test),
        ] {
            for (label, method) in methods {
                let Some(expected) = case[name].get(label).filter(|expected| !expected.is_null())
                else {
                    continue;
                };
                let found = test(&x, &y, method).unwrap();
                let expected = numbers(expected);
                assert!(
                    close(found.statistic, expected[0]) && close(found.p, expected[1]),
                    "{name} {label}: {found:?}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared >= 40, "{compared}");
}

#[test]
fn small_samples_without_ties_are_exact_and_others_are_corrected() {
    let (x, y) = ([1.0, 2.0, 4.0], [3.0, 5.0, 6.0, 7.0]);
    assert_eq!(rank_sum(&x, &y), rank_sum_by(&x, &y, Method::Exact));
    assert!(rank_sum(&[1.0, 2.0, 2.0], &y).unwrap().z.is_some());
    let many: Vec<f64> = (0..12).map(f64::from).collect();
    let more: Vec<f64> = many.iter().map(|value| value + 3.5).collect();
    assert_eq!(
        rank_sum(&many, &more),
        rank_sum_by(&many, &more, Method::Normal { continuity: true })
    );
    let exact = signed_rank_by(&x, &[3.0, 5.0, 8.0], Method::Exact);
    assert!(exact.is_some());
    assert_eq!(signed_rank(&x, &[3.0, 5.0, 8.0]), exact);
}

#[test]
fn what_cannot_be_tested_is_none() {
    assert_eq!(rank_sum(&[], &[1.0]), None);
    assert_eq!(rank_sum(&[f64::NAN], &[1.0]), None);
    assert_eq!(rank_sum(&[2.0; 30], &[2.0; 30]), None);
    assert_eq!(signed_rank(&[1.0, 2.0], &[1.0, 2.0]), None);
    assert_eq!(signed_rank(&[1.0], &[1.0, 2.0]), None);
    assert_eq!(bootstrap(&[], mean, 10, 1), None);
    assert_eq!((deviation(&[1.0]), quantile(&mut [], 0.5)), (None, None));
}

#[test]
fn holms_correction_of_four_by_hand() {
    // Ascending 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1: the last may not fall below the one
    // before.
    let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
    let expected = [0.03, 0.06, 0.06, 0.02];
    assert!(
        corrected
            .iter()
            .zip(expected)
            .all(|(ours, theirs)| (ours - theirs).abs() < 1e-12),
        "{corrected:?}"
    );
}

#[test]
fn the_bootstrap_repeats_itself_and_agrees_with_scipy_within_its_noise() {
    let cases: Value = serde_json::from_str(SCIPY).unwrap();
    let values = numbers(&cases["bootstrap"]["values"]);
    let expected = numbers(&cases["bootstrap"]["mean"]);
    let found = bootstrap(&values, mean, 10_000, 7).unwrap();
    assert_eq!(Some(found), bootstrap(&values, mean, 10_000, 7));
    assert_ne!(Some(found), bootstrap(&values, mean, 10_000, 8));
    let noise = 0.05 * (expected[1] - expected[0]);
    assert!(
        (found.low - expected[0]).abs() < noise && (found.high - expected[1]).abs() < noise,
        "{found:?}"
    );
}

#[test]
fn a_summary_counts_the_undefined() {
    let summary = Summary::of(&[Some(1.0), None, Some(2.0), Some(6.0)]);
    assert_eq!(
        (summary.defined, summary.undefined, summary.mean),
        (3, 1, Some(3.0))
    );
    assert_eq!(summary.five, Some([1.0, 1.5, 2.0, 4.0, 6.0]));
    assert_eq!(Summary::of(&[None]).five, None);
}

proptest! {
    #[test]
    fn swapping_the_samples_turns_the_statistic_and_keeps_p(
        x in prop::collection::vec((0i8..20).prop_map(f64::from), 1..12),
        y in prop::collection::vec((0i8..20).prop_map(f64::from), 1..12),
    ) {
        match (rank_sum(&x, &y), rank_sum(&y, &x)) {
            (Some(here), Some(there)) => {
                prop_assert!((here.p - there.p).abs() < 1e-12 && (0.0..=1.0).contains(&here.p));
                prop_assert!((here.statistic + there.statistic - (x.len() * y.len()) as f64).abs() < 1e-9);
            }
            (here, there) => prop_assert_eq!(here, there),
        }
    }

    #[test]
    fn the_exact_chances_of_all_outcomes_count_down_to_none(m in 1usize..9, n in 1usize..9) {
        prop_assert_eq!(exact::rank_sum_tail(m, n, 0.0), 1.0);
        // The largest U happens in one of the ways to choose m of m + n.
        let ways = (1..=m).fold(1.0, |ways, i| ways * (n + i) as f64 / i as f64);
        prop_assert!((exact::rank_sum_tail(m, n, (m * n) as f64) * ways - 1.0).abs() < 1e-9);
        prop_assert!((exact::signed_rank_tail(n, (n * (n + 1) / 2) as f64) * 2f64.powi(n as i32) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn holm_never_lowers_a_p_value_nor_changes_their_order(p in prop::collection::vec(0.0f64..1.0, 0..9)) {
        let corrected = holm(&p);
        for i in 0..p.len() {
            prop_assert!(corrected[i] >= p[i] && corrected[i] <= 1.0);
            prop_assert!((0..p.len()).all(|j| p[i] >= p[j] || corrected[i] <= corrected[j]));
        }
    }
}
