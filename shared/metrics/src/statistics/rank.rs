//! Ranks with ties.

/// The ranks of values.
pub(super) struct Ranks {
    /// From 1, in the order of the values; equal values share the mean of their ranks.
    pub(super) values: Vec<f64>,
    /// The sum of `t³ - t` over groups of `t` equal values; zero without ties.
    pub(super) ties: f64,
}

impl Ranks {
    /// Ranks finite values; `None` if one is not.
    pub(super) fn of(values: Vec<f64>) -> Option<Self> {
        if !values.iter().all(|value| value.is_finite()) {
            return None;
        }
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut ranks = Self {
            values: vec![0.0; values.len()],
            ties: 0.0,
        };
        let mut before = 0.0;
        for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
            let count = equal.len() as f64;
            equal
                .iter()
                .for_each(|&i| ranks.values[i] = before + (count + 1.0) / 2.0);
            ranks.ties += count * count * count - count;
            before += count;
        }
        Some(ranks)
    }
}
