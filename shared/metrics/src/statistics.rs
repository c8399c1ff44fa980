//! Comparing scores of patients: rank tests, bootstrap intervals, correction for many comparisons.

mod exact;
mod rank;

use exact::{rank_sum_tail, signed_rank_tail};
use rand::RngExt;
use random::{Purpose, stream};
use rank::Ranks;

/// How a rank test's p value is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From all arrangements of the ranks; only without ties (and, for signed ranks, without zero
    /// differences).
    Exact,
    /// From the normal distribution, its variance corrected for ties.
    Normal {
        /// Whether the statistic moves half a step towards its mean.
        continuity: bool,
    },
}

/// A rank test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTest {
    /// Rank sum: Mann-Whitney's U of the first sample. Signed rank: the smaller of the positive and
    /// negative ranks' sums.
    pub statistic: f64,
    /// The standardised statistic, negative where the first sample is lower; `None` for the exact
    /// method.
    pub z: Option<f64>,
    /// The two-sided p value.
    pub p: f64,
}

/// Wilcoxon's rank-sum test of two independent samples, two-sided (Wilcoxon 1945, Mann & Whitney
/// 1947): exact below 20 values together, fewer than 10 in one, without ties; else normal with tie
/// and continuity correction. That is the choice of MATLAB's `ranksum`. `None` if a sample is
/// empty, a value is not finite, or all are equal.
#[must_use]
pub fn rank_sum(x: &[f64], y: &[f64]) -> Option<RankTest> {
    let small = x.len().min(y.len()) < 10 && x.len() + y.len() < 20;
    let exact = small.then(|| rank_sum_by(x, y, Method::Exact)).flatten();
    exact.or_else(|| rank_sum_by(x, y, Method::Normal { continuity: true }))
}

/// [`rank_sum`] by a method of choice; also `None` for the exact method with ties.
#[must_use]
pub fn rank_sum_by(x: &[f64], y: &[f64], method: Method) -> Option<RankTest> {
    if x.is_empty() || y.is_empty() {
        return None;
    }
    let ranks = Ranks::of([x, y].concat())?;
    let (m, n) = (x.len() as f64, y.len() as f64);
    let u = ranks.values[..x.len()].iter().sum::<f64>() - m * (m + 1.0) / 2.0;
    let continuity = match method {
        Method::Exact => {
            let p = (ranks.ties == 0.0)
                .then(|| 2.0 * rank_sum_tail(x.len(), y.len(), u.max(m * n - u)))?;
            return Some(RankTest {
                statistic: u,
                z: None,
                p: p.min(1.0),
            });
        }
        Method::Normal { continuity } => continuity,
    };
    let all = m + n;
    let variance = m * n / 12.0 * (all + 1.0 - ranks.ties / (all * (all - 1.0)));
    let (z, p) = normal(u - m * n / 2.0, variance, continuity)?;
    Some(RankTest {
        statistic: u,
        z: Some(z),
        p,
    })
}

/// Wilcoxon's signed-rank test of pairs, two-sided (Wilcoxon 1945): zero differences are left out;
/// exact for up to 15 differences without ties, else normal with tie and continuity correction.
/// `None` if the lengths differ, a value is not finite, or no difference is left.
#[must_use]
pub fn signed_rank(x: &[f64], y: &[f64]) -> Option<RankTest> {
    let exact = (x.len() <= 15)
        .then(|| signed_rank_by(x, y, Method::Exact))
        .flatten();
    exact.or_else(|| signed_rank_by(x, y, Method::Normal { continuity: true }))
}

/// [`signed_rank`] by a method of choice; also `None` for the exact method with ties or zero
/// differences.
#[must_use]
pub fn signed_rank_by(x: &[f64], y: &[f64], method: Method) -> Option<RankTest> {
    let differences: Vec<f64> = x
        .iter()
        .zip(y)
        .map(|(x, y)| x - y)
        .filter(|&difference| difference != 0.0)
        .collect();
    if x.len() != y.len() || differences.is_empty() {
        return None;
    }
    let ranks = Ranks::of(
        differences
            .iter()
            .map(|difference| difference.abs())
            .collect(),
    )?;
    let n = differences.len() as f64;
    let all = n * (n + 1.0) / 2.0;
    let ranked = ranks.values.iter().zip(&differences);
    let positive = ranked
        .filter(|pair| *pair.1 > 0.0)
        .fold(0.0, |sum, pair| sum + pair.0);
    let statistic = positive.min(all - positive);
    let continuity = match method {
        Method::Exact => {
            let whole = ranks.ties == 0.0 && differences.len() == x.len();
            let p = whole
                .then(|| 2.0 * signed_rank_tail(differences.len(), positive.max(all - positive)))?;
            return Some(RankTest {
                statistic,
                z: None,
                p: p.min(1.0),
            });
        }
        Method::Normal { continuity } => continuity,
    };
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - ranks.ties / 2.0) / 24.0;
    let (z, p) = normal(positive - all / 2.0, variance, continuity)?;
    Some(RankTest {
        statistic,
        z: Some(z),
        p,
    })
}

/// The standardised distance from the mean and its two-sided p value; `None` without variance.
fn normal(distance: f64, variance: f64, continuity: bool) -> Option<(f64, f64)> {
    let step = if continuity { 0.5 } else { 0.0 };
    // A distance of less than half a step is no distance, not one to the other side.
    let moved = (distance.abs() - step).max(0.0).copysign(distance);
    let z = (variance > 0.0).then(|| moved / variance.sqrt())?;
    Some((z, libm::erfc(z.abs() / std::f64::consts::SQRT_2).min(1.0)))
}

/// P values corrected for their number, in their order (Holm 1979): each is what the family's error
/// rate must be for its comparison to count.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut highest = 0.0f64;
    for (done, &i) in order.iter().enumerate() {
        highest = highest.max((p[i] * (p.len() - done) as f64).min(1.0));
        corrected[i] = highest;
    }
    corrected
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The 95 % interval of a statistic over patients by the percentile bootstrap (Efron 1979): `draws`
/// times as many values as there are, drawn with replacement from a stream of `seed`. `None`
/// without values, or where the statistic was undefined for all draws.
pub fn bootstrap(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> Option<f64>,
    draws: usize,
    seed: u64,
) -> Option<Interval> {
    let mut random = stream(seed, 0, "", Purpose::Bootstrap);
    let mut drawn = vec![0.0; values.len()];
    let mut outcomes = Vec::with_capacity(draws);
    for _ in 0..if values.is_empty() { 0 } else { draws } {
        drawn.fill_with(|| values[random.random_range(0..values.len())]);
        outcomes.extend(statistic(&drawn));
    }
    Some(Interval {
        low: quantile(&mut outcomes, 0.025)?,
        high: quantile(&mut outcomes, 0.975)?,
    })
}

/// The mean; `None` without values.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample (over `n - 1`); `None` for fewer than two values.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Mean and standard deviation over `n`, as z-scores use them, of values that can be gone through
/// twice; `None` without values.
pub fn population<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> Option<(f64, f64)> {
    let count = values().count() as f64;
    let mean = (count > 0.0).then(|| values().sum::<f64>() / count)?;
    Some((
        mean,
        (values()
            .map(|value| (value - mean) * (value - mean))
            .sum::<f64>()
            / count)
            .sqrt(),
    ))
}

/// The value below which a share of the values lies, on straight lines between them (NumPy's
/// default); sorts them. `None` without values.
pub fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let place = share * values.len().checked_sub(1)? as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(values[below] + (values[above] - values[below]) * (place - place.floor()))
}

/// A metric over patients, its undefined values counted and left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Patients with a value.
    pub defined: usize,
    /// Patients without.
    pub undefined: usize,
    /// Mean of the values.
    pub mean: Option<f64>,
    /// Their standard deviation, over `n - 1`.
    pub deviation: Option<f64>,
    /// Least, lower quartile, median, upper quartile, greatest.
    pub five: Option<[f64; 5]>,
}

impl Summary {
    /// Summarises a metric that some patients lack.
    #[must_use]
    pub fn of(values: &[Option<f64>]) -> Self {
        let mut defined: Vec<f64> = values.iter().flatten().copied().collect();
        let (mean, deviation) = (mean(&defined), deviation(&defined));
        let five = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&mut defined, share));
        let [Some(a), Some(b), Some(c), Some(d), Some(e)] = five else {
            return Self {
                defined: 0,
                undefined: values.len(),
                mean,
                deviation,
                five: None,
            };
        };
        let undefined = values.len() - defined.len();
        Self {
            defined: defined.len(),
            undefined,
            mean,
            deviation,
            five: Some([a, b, c, d, e]),
        }
    }
}

#[cfg(test)]
mod tests;
