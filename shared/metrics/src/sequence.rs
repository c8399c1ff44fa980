//! MRI sequences by position, and sets of them.
//!
//! A federation names its sequences once, in order (`bravo`, `t1_pre`, `t1_post`, `flair`);
//! everything else speaks of them by index in that order.

use serde::{Deserialize, Serialize};

/// The most sequences a federation may name. Sets are 16-bit masks and there are `2^n - 1` subsets
/// to score.
pub const MAX_SEQUENCES: usize = 8;

/// A set of sequences, bit `i` for the federation's sequence `i`. May be empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SequenceSet(u16);

impl SequenceSet {
    /// The set with nothing in it.
    pub const EMPTY: Self = Self(0);

    /// All of the first `count` sequences.
    #[must_use]
    pub fn full(count: usize) -> Self {
        Self(((1u32 << count.min(MAX_SEQUENCES)) - 1) as u16)
    }

    /// The set whose bit pattern is `bits`; bits past [`MAX_SEQUENCES`] are dropped.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & Self::full(MAX_SEQUENCES).0)
    }

    /// The bit pattern: bit `i` is sequence `i`.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }

    /// This set and sequence `index`.
    #[must_use]
    pub fn with(self, index: usize) -> Self {
        Self::from_bits(self.0 | 1u16.checked_shl(index as u32).unwrap_or(0))
    }

    /// This set without sequence `index`.
    #[must_use]
    pub fn without(self, index: usize) -> Self {
        Self(self.0 & !1u16.checked_shl(index as u32).unwrap_or(0))
    }

    /// Whether sequence `index` is in the set.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index < MAX_SEQUENCES && self.0 >> index & 1 == 1
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set holds.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every sequence of `self` is in `other`.
    #[must_use]
    pub fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// How many sequences are in the set.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indices in the set, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_SEQUENCES).filter(move |&index| self.contains(index))
    }

    /// Every non-empty subset of this set, ascending by bit pattern: `2^len - 1` of them.
    pub fn non_empty_subsets(self) -> impl Iterator<Item = Self> {
        (1..=self.0)
            .map(Self)
            .filter(move |set| set.is_subset(self))
    }

    /// Every non-empty subset of this set but the set itself, ascending by bit pattern: `2^len - 2`
    /// of them.
    pub fn proper_subsets(self) -> impl Iterator<Item = Self> {
        self.non_empty_subsets().filter(move |&set| set != self)
    }

    /// The names of the set's sequences joined by `+`, or `none`.
    #[must_use]
    pub fn label(self, names: &[String]) -> String {
        let held: Vec<&str> = self
            .iter()
            .filter_map(|i| names.get(i))
            .map(String::as_str)
            .collect();
        if held.is_empty() {
            "none".into()
        } else {
            held.join("+")
        }
    }
}

impl std::fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SequenceSet({:#b})", self.0)
    }
}

impl FromIterator<usize> for SequenceSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        indices.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_sequences_have_fifteen_non_empty_subsets() {
        let subsets: Vec<_> = SequenceSet::full(4).non_empty_subsets().collect();
        assert_eq!(subsets.len(), 15);
        assert!(
            subsets
                .iter()
                .all(|s| !s.is_empty() && s.is_subset(SequenceSet::full(4)))
        );
    }

    #[test]
    fn a_set_with_a_gap_keeps_its_gap() {
        let held = SequenceSet::full(4).without(1);
        assert_eq!(held.iter().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(held.non_empty_subsets().count(), 7);
        assert_eq!(held.proper_subsets().count(), 6);
        assert!(held.proper_subsets().all(|part| part != held));
        assert_eq!(SequenceSet::EMPTY.with(3).proper_subsets().count(), 0);
        assert_eq!(held, [0, 2, 3].into_iter().collect());
    }

    #[test]
    fn an_index_past_the_end_changes_nothing() {
        let set = SequenceSet::full(4);
        assert_eq!(set.with(40).without(99), set);
        assert!(!set.contains(200));
    }

    #[test]
    fn labels_name_what_is_held() {
        let names: Vec<String> = ["t1", "t1ce"].map(Into::into).to_vec();
        assert_eq!(SequenceSet::full(2).label(&names), "t1+t1ce");
        assert_eq!(SequenceSet::EMPTY.label(&names), "none");
    }
}
