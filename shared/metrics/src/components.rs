//! Connected components of a mask.
//!
//! Works on runs of voxels along the width instead of voxels (He, Chao & Suzuki 2008): the first
//! pass finds the runs and joins each with the runs it touches in earlier rows by union-find, the
//! second writes the labels.

use super::window::Window;
use std::ops::Range;

/// Which neighbours belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// Across a face.
    Six,
    /// Across a face or an edge.
    Eighteen,
    /// Across a face, an edge or a corner: what lesions are counted by.
    #[default]
    TwentySix,
}

impl Connectivity {
    /// In how many axes neighbours may differ.
    pub(super) fn steps(self) -> usize {
        match self {
            Self::Six => 1,
            Self::Eighteen => 2,
            Self::TwentySix => 3,
        }
    }

    /// The earlier rows that a row touches, as steps in depth and height, and how far beyond a
    /// run's ends its neighbours there may lie.
    fn earlier_rows(self) -> &'static [(usize, isize, usize)] {
        match self {
            Self::Six => &[(0, -1, 0), (1, 0, 0)],
            Self::Eighteen => &[(0, -1, 1), (1, -1, 0), (1, 0, 1), (1, 1, 0)],
            Self::TwentySix => &[(0, -1, 1), (1, -1, 1), (1, 0, 1), (1, 1, 1)],
        }
    }
}

/// A mask's components, numbered from 1 in the order of their first voxel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// The component of each voxel, 0 outside.
    pub labels: Vec<u32>,
    /// Voxels of component `i + 1`.
    pub sizes: Vec<u64>,
}

impl Components {
    /// How many components there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Voxels of the component with a label, none for label 0.
    #[must_use]
    pub fn size(&self, label: u32) -> u64 {
        (label as usize)
            .checked_sub(1)
            .and_then(|i| self.sizes.get(i))
            .copied()
            .unwrap_or(0)
    }

    /// The same components, less their voxels where `mask` is zero. Labels stay as they are.
    #[must_use]
    pub fn restricted(&self, mask: &[u8]) -> Self {
        let labels: Vec<u32> = self
            .labels
            .iter()
            .zip(mask)
            .map(|(&label, &voxel)| if voxel == 0 { 0 } else { label })
            .collect();
        let mut sizes = vec![0; self.sizes.len() + 1];
        labels.iter().for_each(|&label| sizes[label as usize] += 1);
        Self {
            labels,
            sizes: sizes.split_off(1),
        }
    }

    /// The smallest window around each component on its grid of `dims`; `None` for one without
    /// voxels.
    #[must_use]
    pub fn windows(&self, dims: [usize; 3]) -> Vec<Option<Window>> {
        let mut windows = vec![None::<Window>; self.sizes.len()];
        for (i, &label) in self
            .labels
            .iter()
            .enumerate()
            .filter(|&(_, &label)| label != 0)
        {
            let origin = [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
            let here = Window {
                origin,
                dims: [1; 3],
            };
            let window = &mut windows[label as usize - 1];
            *window = Some(window.map_or(here, |window| window.joined(&here)));
        }
        windows
    }

    /// Which components hold a voxel where `mask` is nonzero.
    #[must_use]
    pub fn touched(&self, mask: &[u8]) -> Vec<bool> {
        let mut touched = vec![false; self.sizes.len() + 1];
        for (&label, &voxel) in self.labels.iter().zip(mask) {
            if voxel != 0 {
                touched[label as usize] = true;
            }
        }
        touched.split_off(1)
    }
}

/// The connected components of the nonzero voxels of `mask`, which has `dims` (width fastest).
///
/// # Panics
/// If `mask` does not have as many voxels as `dims`.
#[must_use]
pub fn components(mask: &[u8], dims: [usize; 3], connectivity: Connectivity) -> Components {
    assert_eq!(
        mask.len(),
        dims.iter().product::<usize>(),
        "the mask has other dimensions"
    );
    let [depth, height, width] = dims;
    let mut runs = Runs::default();
    for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
        let row = z * height + y;
        runs.scan(&mask[row * width..(row + 1) * width], row * width);
        for &(dz, dy, reach) in connectivity.earlier_rows() {
            if let (Some(z), Some(y)) = (
                z.checked_sub(dz),
                y.checked_add_signed(dy).filter(|&y| y < height),
            ) {
                runs.join(row, z * height + y, width, reach);
            }
        }
    }
    runs.label(mask.len())
}

/// The runs of a mask, as ranges of voxel indices, in rows.
#[derive(Default)]
struct Runs {
    runs: Vec<Range<usize>>,
    /// The runs of each row scanned so far.
    rows: Vec<Range<usize>>,
    /// Union-find: the parent of each run, never a later one.
    parents: Vec<u32>,
}

impl Runs {
    /// Finds the runs of the next row, whose first voxel is number `offset`.
    fn scan(&mut self, row: &[u8], offset: usize) {
        let first = self.runs.len();
        let mut x = 0;
        while let Some(start) = row[x..]
            .iter()
            .position(|&voxel| voxel != 0)
            .map(|skip| x + skip)
        {
            let end = row[start..]
                .iter()
                .position(|&voxel| voxel == 0)
                .map_or(row.len(), |length| start + length);
            self.parents.push(self.runs.len() as u32);
            self.runs.push(offset + start..offset + end);
            x = end;
        }
        self.rows.push(first..self.runs.len());
    }

    /// Joins the runs of a row with those of an earlier one that lie within `reach` of touching
    /// along the width.
    fn join(&mut self, row: usize, earlier: usize, width: usize, reach: usize) {
        let (here, there) = (self.rows[row].clone(), self.rows[earlier].clone());
        let shift = (row - earlier) * width;
        let (mut a, mut b) = (here.start, there.start);
        while a < here.end && b < there.end {
            let (left, right) = (
                self.runs[a].clone(),
                self.runs[b].start + shift..self.runs[b].end + shift,
            );
            if left.start < right.end + reach && right.start < left.end + reach {
                self.union(a as u32, b as u32);
            }
            if left.end < right.end { a += 1 } else { b += 1 }
        }
    }

    fn root(&mut self, mut run: u32) -> u32 {
        while self.parents[run as usize] != run {
            let grandparent = self.parents[self.parents[run as usize] as usize];
            self.parents[run as usize] = grandparent;
            run = grandparent;
        }
        run
    }

    fn union(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    /// Writes each run's component over its voxels.
    fn label(mut self, voxels: usize) -> Components {
        let mut labels = vec![0; voxels];
        let mut sizes = Vec::new();
        let mut label_of_root = vec![0u32; self.runs.len()];
        for run in 0..self.runs.len() {
            let root = self.root(run as u32) as usize;
            if label_of_root[root] == 0 {
                sizes.push(0);
                label_of_root[root] = sizes.len() as u32;
            }
            let label = label_of_root[root];
            sizes[label as usize - 1] += self.runs[run].len() as u64;
            labels[self.runs[run].clone()].fill(label);
        }
        Components { labels, sizes }
    }
}

#[cfg(test)]
mod tests;
