//! A case made ready for the model: normalised planes, the label, and the way back to the patient's grid.

mod cached;
mod placement;

pub(crate) use cached::disk_hint;
pub use cached::{CachedCase, CaseFileError};
use metrics::sequence::SequenceSet;
pub use placement::Placement;
use protocol::case::Grid;
use serde::{Deserialize, Serialize};

/// A prepared case in memory.
///
/// Everything lies in canonical axial order (see [`Grid`]). Model planes are `[depth, plane, plane]` with as many
/// slices as the native grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The case's name. Never leaves the site, never in a log.
    pub id: String,
    /// Each of the federation's sequences: z-scored in the brain, zero outside; `None` where the case lacks it.
    pub sequences: Vec<Option<Vec<f32>>>,
    /// Lesion 1, other 0, on the model's planes; `None` without a reference.
    pub label: Option<Vec<u8>>,
    /// Height and width of the model's planes.
    pub plane: usize,
    /// The patient's own grid.
    pub native: Native,
    /// How the native planes became the model's.
    pub placement: Placement,
    /// What was noticed on the way.
    pub noticed: Noticed,
}

/// What was noticed of a case while it was prepared. Stays at the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// What a person should look at.
    pub notes: Vec<Note>,
    /// Of each sequence that the case has, the hash of its voxels as they were read: equal images have equal hashes,
    /// however their files were packed.
    pub images: Vec<String>,
    /// The label's values but 0, and how many voxels hold each.
    pub labels: Vec<(u16, u64)>,
}

/// Something about a case that a person should look at, although it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it is, with its figures. May name sequences, never the case.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Note {
    /// From words.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What scoring needs of the patient's own grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// The grid.
    pub grid: Grid,
    /// Brain 1, other 0.
    pub brain: Vec<u8>,
    /// Lesion 1, other 0; `None` without a reference.
    pub lesion: Option<Vec<u8>>,
}

impl Prepared {
    /// The sequences the case has.
    #[must_use]
    pub fn present(&self) -> SequenceSet {
        (0..self.sequences.len()).filter(|&i| self.sequences[i].is_some()).collect()
    }

    /// Slices.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.native.grid.dims[0]
    }

    /// Fills the slab around a slice, `[sequences * slices, plane, plane]`, a sequence's slices contiguous; zero where
    /// the case lacks the sequence and beyond the ends: as [`CachedCase::read_slab`].
    pub(crate) fn fill_slab(&self, centre: usize, slices: usize, slab: &mut [f32]) {
        let area = self.plane.pow(2);
        for (sequence, block) in slab.chunks_exact_mut(slices * area).enumerate() {
            for (offset, plane) in block.chunks_exact_mut(area).enumerate() {
                let slice = (centre + offset).checked_sub(slices / 2).filter(|&slice| slice < self.depth());
                match (&self.sequences[sequence], slice) {
                    (Some(values), Some(slice)) => plane.copy_from_slice(&values[slice * area..][..area]),
                    _ => plane.fill(0.0),
                }
            }
        }
    }

    /// Brings values of the model's planes, `[depth, plane, plane]`, back to the native grid: as
    /// [`Placement::restore`].
    #[must_use]
    pub fn restore(&self, planes: &[f32], outside: f32) -> Vec<f32> {
        self.placement.restore(planes, self.plane, self.native.grid.dims, outside)
    }
}
