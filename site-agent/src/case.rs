//! A case made ready for the model: normalised planes, the label, and the way back to the patient's
//! grid.

mod cached;
mod placement;
mod tiles;

pub(crate) use cached::disk_hint;
pub use cached::{CachedCase, CaseFileError};
use metrics::sequence::SequenceSet;
pub use placement::Placement;
use protocol::case::Grid;
use serde::{Deserialize, Serialize};
pub(crate) use tiles::{Mosaic, Tiles};

/// A prepared case in memory.
///
/// Everything is in canonical axial order (see [`Grid`]). Planes have the model's pixels and are
/// `[depth, height, width]` of the canvas, with as many slices as the native grid. The network is
/// shown views of the model's size: one of each slice where the brain fits the model's plane,
/// several that overlap where it does not. Views are counted slice by slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The case's name. Must not leave the site or appear in a log.
    pub id: String,
    /// Each of the federation's sequences: z-scored in the brain, zero outside; `None` where the
    /// case lacks it.
    pub sequences: Vec<Option<Vec<f32>>>,
    /// Lesion 1, other 0, on the planes; `None` without a reference.
    pub label: Option<Vec<u8>>,
    /// Height and width of what the network is shown at once.
    pub plane: usize,
    /// Height and width of the planes: `plane`, or more where the brain is larger.
    pub canvas: [usize; 2],
    /// The patient's own grid.
    pub native: Native,
    /// How the native planes became these.
    pub placement: Placement,
    pub noticed: Noticed,
}

/// What preparing a case found out about it. Must not leave the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// Warnings.
    pub notes: Vec<Note>,
    /// For each present sequence, the hash of its voxels: equal images have equal hashes, whatever
    /// the format of their files.
    pub images: Vec<String>,
    /// The hash of the lesions' mask; `None` if it has too few voxels to tell patients apart.
    #[serde(default)]
    pub label: Option<String>,
    /// The values of the label other than 0, each with its number of voxels.
    pub labels: Vec<(u16, u64)>,
}

/// A warning about a case that can be used all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The finding, with its numbers. May name sequences, never the case.
    pub what: String,
    pub remedy: String,
}

impl Note {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// The masks on the native grid, for scoring.
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
        (0..self.sequences.len())
            .filter(|&i| self.sequences[i].is_some())
            .collect()
    }

    /// Slices.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.native.grid.dims[0]
    }

    /// The views of a slice.
    pub(crate) fn tiles(&self) -> Tiles {
        Tiles::over(self.canvas, self.plane)
    }

    /// Fills the slab around a view, `[sequences * slices, plane, plane]`, a sequence's slices
    /// contiguous; zero where the case lacks the sequence and beyond the ends: as
    /// [`CachedCase::read_slab`].
    pub(crate) fn fill_slab(&self, view: usize, slices: usize, slab: &mut [f32]) {
        let tiles = self.tiles();
        let area = self.plane.pow(2);
        let slice_pixels = self.canvas[0] * self.canvas[1];
        let centre = view / tiles.count();
        let tile = view % tiles.count();
        for (sequence, block) in slab.chunks_exact_mut(slices * area).enumerate() {
            for (offset, plane) in block.chunks_exact_mut(area).enumerate() {
                let slice = (centre + offset)
                    .checked_sub(slices / 2)
                    .filter(|&slice| slice < self.depth());
                match (&self.sequences[sequence], slice) {
                    (Some(values), Some(slice)) => {
                        tiles.cut(tile, &values[slice * slice_pixels..][..slice_pixels], plane)
                    }
                    _ => plane.fill(0.0),
                }
            }
        }
    }

    /// Which views show any brain.
    pub(crate) fn brain_views(&self) -> Vec<bool> {
        let [_, height, width] = self.native.grid.dims;
        let tiles = self.tiles();
        let slices = self.native.brain.chunks_exact(height * width);
        if tiles.count() == 1 {
            return slices.map(|slice| slice.contains(&1)).collect();
        }
        let mut shown = Vec::with_capacity(tiles.count());
        for tile in 0..tiles.count() {
            let corner = tiles.corner(tile);
            let rows_and_columns =
                self.placement
                    .shown([height, width], self.canvas, corner, self.plane);
            shown.push(rows_and_columns);
        }
        let mut views = Vec::new();
        for slice in slices {
            for [rows, columns] in &shown {
                let mut rows = rows.clone();
                views.push(rows.any(|row| slice[row * width..][columns.clone()].contains(&1)));
            }
        }
        views
    }

    /// The share of the brain's voxels that views show: what the network is asked about.
    #[must_use]
    pub fn brain_shown(&self) -> f64 {
        let [_, height, width] = self.native.grid.dims;
        let seen = vec![1.0; self.canvas[0] * self.canvas[1]];
        let seen = self
            .placement
            .restore(&seen, self.canvas, [1, height, width], 0.0);
        let mut brain = 0u64;
        let mut shown = 0u64;
        for (at, &voxel) in self.native.brain.iter().enumerate() {
            brain += u64::from(voxel);
            shown += u64::from(voxel != 0 && seen[at % (height * width)] != 0.0);
        }
        shown as f64 / brain.max(1) as f64
    }

    /// Brings values of the planes, `[depth, height, width]` of the canvas, back to the native
    /// grid: as [`Placement::restore`].
    #[must_use]
    pub fn restore(&self, planes: &[f32], outside: f32) -> Vec<f32> {
        self.placement
            .restore(planes, self.canvas, self.native.grid.dims, outside)
    }
}
