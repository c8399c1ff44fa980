//! The exact null distributions of the rank tests.

/// The chance that Mann-Whitney's U of samples of `m` and `n` is at least `u`.
pub(super) fn rank_sum_tail(m: usize, n: usize, u: f64) -> f64 {
    // The generating function of U is the product of (1 - q^(n+i)) / (1 - q^i) for i from 1 to m.
    let mut ways = vec![0.0; m * n + 1];
    ways[0] = 1.0;
    for i in 1..=m {
        for at in (n + i..ways.len()).rev() {
            ways[at] -= ways[at - n - i];
        }
        for at in i..ways.len() {
            ways[at] += ways[at - i];
        }
    }
    tail(&ways, u)
}

/// The chance that the positive ranks of `n` differences sum to at least `w`.
pub(super) fn signed_rank_tail(n: usize, w: f64) -> f64 {
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for at in (rank..ways.len()).rev() {
            ways[at] += ways[at - rank];
        }
    }
    tail(&ways, w)
}

/// The share of ways from `least` up.
fn tail(ways: &[f64], least: f64) -> f64 {
    let all: f64 = ways.iter().sum();
    ways.iter().skip(least.ceil() as usize).sum::<f64>() / all
}
