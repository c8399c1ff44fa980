//! The part of the contract about missing sequences.

use super::{MeanSd, Metrics, Worst};
use protocol::case::Role;
use serde::{Deserialize, Serialize};

/// The model on every subset of sequences at every site, at one operating point: the matrix's
/// threshold. A case is scored on a subset if it has all of its sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// A row for each non-empty subset, those with most sequences first.
    pub rows: Vec<MatrixRow>,
    /// What each sequence alone is worth, in the federation's order.
    pub without: Vec<Without>,
    /// The site with the lowest mean Dice when every case is shown all it has.
    pub worst_site: Option<Worst>,
    /// The sequence whose absence costs most Dice.
    pub worst_missing: Option<String>,
    /// The lowest mean Dice of any site on any subset.
    pub worst_cell: Option<WorstCell>,
}

/// One subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// The sequences that the model was shown.
    pub sequences: Vec<String>,
    /// Each site that has such a case, by name.
    pub sites: Vec<SiteCell>,
    /// All held-out cases that can.
    pub held_out: Cell,
    /// All validation cases that can.
    pub validation: Cell,
}

/// One site on one subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteCell {
    /// The site.
    pub site: String,
    /// Its part.
    pub role: Role,
    /// Its cases.
    #[serde(flatten)]
    pub cell: Cell,
}

/// Cases on one subset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Cases that have these sequences.
    pub cases: usize,
    /// At the matrix's threshold.
    pub metrics: Metrics,
    /// Dice at the thresholds other than [`super::Thresholds::youden`].
    pub dice_at: DiceAt,
    /// Each patient's value less the same patient's with everything he has, at the matrix's
    /// threshold.
    pub change: Metrics,
}

/// Dice at operating points other than [`super::Thresholds::youden`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiceAt {
    /// At [`super::Thresholds::youden_pooled`].
    pub youden_pooled: MeanSd,
    /// At [`super::Thresholds::dice`].
    pub dice: MeanSd,
}

/// Cases that have a sequence and others as well, with and without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Without {
    /// The sequence.
    pub sequence: String,
    /// Such cases, held out or validation.
    pub cases: usize,
    /// The sites they are from.
    pub sites: Vec<String>,
    /// Their Dice with everything they have.
    pub dice: MeanSd,
    /// Their Dice without the sequence.
    pub dice_without: MeanSd,
    /// The second less the first, patient by patient.
    pub change: MeanSd,
}

/// A site on a subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorstCell {
    /// The site.
    pub site: String,
    /// The sequences that the model was shown.
    pub sequences: Vec<String>,
    /// Mean per-patient Dice.
    pub dice: f64,
}
