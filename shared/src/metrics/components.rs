//! Connected components of a mask.
//!
//! Works on runs of voxels along the width instead of voxels (He, Chao & Suzuki 2008): the first pass finds the runs
//! and joins each with the runs it touches in earlier rows by union-find, the second writes the labels.

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
    /// The earlier rows that a row touches, as steps in depth and height, and how far beyond a run's ends its
    /// neighbours there may lie.
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
    assert_eq!(mask.len(), dims.iter().product::<usize>(), "the mask has other dimensions");
    let [depth, height, width] = dims;
    let mut runs = Runs::default();
    for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
        let row = z * height + y;
        runs.scan(&mask[row * width..(row + 1) * width], row * width);
        for &(dz, dy, reach) in connectivity.earlier_rows() {
            if let (Some(z), Some(y)) = (z.checked_sub(dz), y.checked_add_signed(dy).filter(|&y| y < height)) {
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
        while let Some(start) = row[x..].iter().position(|&voxel| voxel != 0).map(|skip| x + skip) {
            let end = row[start..].iter().position(|&voxel| voxel == 0).map_or(row.len(), |length| start + length);
            self.parents.push(self.runs.len() as u32);
            self.runs.push(offset + start..offset + end);
            x = end;
        }
        self.rows.push(first..self.runs.len());
    }

    /// Joins the runs of a row with those of an earlier one that lie within `reach` of touching along the width.
    fn join(&mut self, row: usize, earlier: usize, width: usize, reach: usize) {
        let (here, there) = (self.rows[row].clone(), self.rows[earlier].clone());
        let shift = (row - earlier) * width;
        let (mut a, mut b) = (here.start, there.start);
        while a < here.end && b < there.end {
            let (left, right) = (self.runs[a].clone(), self.runs[b].start + shift..self.runs[b].end + shift);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Connectivity; 3] = [Connectivity::Six, Connectivity::Eighteen, Connectivity::TwentySix];

    /// Floods from every unlabelled voxel, looking at each of its neighbours: slow and plain.
    fn flood(mask: &[u8], dims: [usize; 3], connectivity: Connectivity) -> Vec<u32> {
        let limit = match connectivity {
            Connectivity::Six => 1,
            Connectivity::Eighteen => 2,
            Connectivity::TwentySix => 3,
        };
        let place = |i: usize| [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
        let near = |a: usize, b: usize| {
            let (a, b) = (place(a), place(b));
            let steps = [0, 1, 2].map(|axis| a[axis].abs_diff(b[axis]));
            steps.iter().all(|&step| step <= 1) && steps.iter().sum::<usize>() <= limit
        };
        let mut labels = vec![0; mask.len()];
        let mut count = 0;
        for start in 0..mask.len() {
            if mask[start] == 0 || labels[start] != 0 {
                continue;
            }
            count += 1;
            labels[start] = count;
            let mut open = vec![start];
            while let Some(from) = open.pop() {
                for to in 0..mask.len() {
                    if mask[to] != 0 && labels[to] == 0 && near(from, to) {
                        labels[to] = count;
                        open.push(to);
                    }
                }
            }
        }
        labels
    }

    fn masks() -> impl Strategy<Value = (Vec<u8>, [usize; 3])> {
        (1usize..5, 1usize..6, 1usize..7).prop_flat_map(|(z, y, x)| {
            let voxel = prop::sample::select(vec![0u8, 0, 1, 4]);
            (prop::collection::vec(voxel, z * y * x), Just([z, y, x]))
        })
    }

    #[test]
    fn two_voxels_that_share_a_corner_or_an_edge() {
        let corner = [1, 0, 0, 0, 0, 0, 0, 1];
        let edge = [1, 0, 0, 0, 0, 0, 1, 0];
        let counts = |mask: &[u8]| ALL.map(|connectivity| components(mask, [2, 2, 2], connectivity).count());
        assert_eq!(counts(&corner), [2, 2, 1]);
        assert_eq!(counts(&edge), [2, 1, 1]);
    }

    #[test]
    fn an_empty_mask_or_a_grid_without_voxels_has_no_component() {
        for dims in [[0, 0, 0], [3, 0, 2], [1, 2, 2]] {
            let empty = components(&vec![0; dims.iter().product()], dims, Connectivity::TwentySix);
            assert_eq!(empty.sizes, Vec::<u64>::new());
        }
    }

    proptest! {
        #[test]
        fn labels_are_those_of_flooding_every_voxel((mask, dims) in masks()) {
            for connectivity in ALL {
                let found = components(&mask, dims, connectivity);
                prop_assert_eq!(&found.labels, &flood(&mask, dims, connectivity));
                for (i, &size) in found.sizes.iter().enumerate() {
                    let voxels = found.labels.iter().filter(|&&label| label as usize == i + 1).count();
                    prop_assert_eq!(size, voxels as u64);
                }
            }
        }

        #[test]
        fn the_sizes_do_not_change_when_space_is_turned_around((mask, dims) in masks()) {
            let mut mirrored = mask.clone();
            mirrored.chunks_mut(dims[2]).for_each(|row| row.reverse());
            let backwards: Vec<u8> = mask.iter().rev().copied().collect();
            for connectivity in ALL {
                let sizes = |mask: &[u8]| {
                    let mut sizes = components(mask, dims, connectivity).sizes;
                    sizes.sort_unstable();
                    sizes
                };
                prop_assert_eq!(sizes(&mask), sizes(&mirrored));
                prop_assert_eq!(sizes(&mask), sizes(&backwards));
            }
        }

        #[test]
        fn more_neighbours_never_make_more_components((mask, dims) in masks()) {
            let [six, eighteen, twenty_six] = ALL.map(|connectivity| components(&mask, dims, connectivity).count());
            prop_assert!(six >= eighteen && eighteen >= twenty_six);
        }
    }
}
