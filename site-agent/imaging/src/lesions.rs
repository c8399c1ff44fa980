//! Lesions as a table: where each one is, how large, and how sure the network was.

use crate::nifti::Affine;
use crate::vector::{Vector, cross, difference, dot, length};
use metrics::components::Components;
use serde::{Deserialize, Serialize};

/// The least longest diameter of a measurable lesion, millimetres (RANO-BM: Lin et al. 2015, Lancet
/// Oncology 16, e270).
const MEASURABLE_MM: f64 = 10.0;
/// The least diameter at a right angle to it (the same).
const MEASURABLE_ACROSS_MM: f64 = 5.0;
/// The largest distance between slices at which a lesion can be measured (the same).
const MEASURABLE_SPACING_MM: f64 = 5.0;

/// One connected region of a mask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesion {
    /// Counted from 1, the largest first.
    pub number: usize,
    /// The label of its voxels among the regions that the table was made from.
    #[serde(skip)]
    pub label: u32,
    /// Centre of mass in millimetres towards the patient's right, front and top, as NIfTI has it.
    pub centre_mm: [f64; 3],
    pub voxels: u64,
    pub volume_mm3: f64,
    /// Axial slices that show it.
    pub slices: usize,
    /// The longest diameter within one axial slice, from edge to edge, millimetres.
    pub longest_mm: f64,
    /// How wide the lesion is across that diameter, in the same slice.
    pub across_mm: f64,
    pub mean_probability: f64,
    pub max_probability: f64,
    /// Large enough to be measured by RANO-BM: 10 mm, 5 mm across, on two slices no more than 5 mm
    /// apart.
    pub measurable: bool,
}

/// The regions of a mask, the largest first.
///
/// `probability` has a value for each voxel of the mask. `affine` maps width, height and depth
/// indices to millimetres; slices of equal depth are the axial ones.
#[must_use]
pub fn table(
    regions: &Components,
    probability: &[f32],
    dims: [usize; 3],
    affine: &Affine,
) -> Vec<Lesion> {
    let mut found: Vec<Region> = vec![Region::default(); regions.count()];
    let [_, height, width] = dims;
    for (index, (&label, &probability)) in regions.labels.iter().zip(probability).enumerate() {
        if label == 0 {
            continue;
        }
        let place = [
            index % width,
            index / width % height,
            index / width / height,
        ];
        found[label as usize - 1].add(place, f64::from(probability));
    }
    let mut lesions: Vec<Lesion> = (1..)
        .zip(&found)
        .map(|(label, region)| region.measure(label, affine))
        .collect();
    // Equal ones stay in the order of their first voxel.
    lesions.sort_by_key(|lesion| std::cmp::Reverse(lesion.voxels));
    for (number, lesion) in (1..).zip(&mut lesions) {
        lesion.number = number;
    }
    lesions
}

/// The voxels of a region, as far as its measures need them.
#[derive(Clone, Default)]
struct Region {
    voxels: u64,
    sum: [f64; 3],
    probability: f64,
    highest: f64,
    /// Depth, row, first and last column: the ends of its rows in order.
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    depth: usize,
    row: usize,
    first: usize,
    last: usize,
}

impl Region {
    fn add(&mut self, [column, row, depth]: [usize; 3], probability: f64) {
        self.voxels += 1;
        for (sum, at) in self.sum.iter_mut().zip([column, row, depth]) {
            *sum += at as f64;
        }
        self.probability += probability;
        self.highest = self.highest.max(probability);
        match self.rows.last_mut() {
            Some(last) if last.depth == depth && last.row == row => last.last = column,
            _ => self.rows.push(Row {
                depth,
                row,
                first: column,
                last: column,
            }),
        }
    }

    fn measure(&self, label: u32, affine: &Affine) -> Lesion {
        let count = self.voxels.max(1) as f64;
        let mut slices = 0;
        let (mut longest_mm, mut across_mm) = (0.0, 0.0);
        for slice in self.rows.chunk_by(|a, b| a.depth == b.depth) {
            slices += 1;
            let (longest, across) = diameters(slice, affine);
            if longest > longest_mm {
                (longest_mm, across_mm) = (longest, across);
            }
        }
        Lesion {
            number: 0,
            label,
            centre_mm: affine.apply(self.sum.map(|sum| sum / count)),
            voxels: self.voxels,
            volume_mm3: self.voxels as f64 * affine.determinant().abs(),
            slices,
            longest_mm,
            across_mm,
            mean_probability: self.probability / count,
            max_probability: self.highest,
            measurable: longest_mm >= MEASURABLE_MM
                && across_mm >= MEASURABLE_ACROSS_MM
                && slices >= 2
                && slice_spacing(affine) <= MEASURABLE_SPACING_MM,
        }
    }
}

/// The longest distance between corners of a slice's pixels, and how wide the slice is across it.
fn diameters(slice: &[Row], affine: &Affine) -> (f64, f64) {
    // Only the ends of rows can be the ends of a diameter.
    let mut corners = Vec::with_capacity(4 * slice.len());
    for row in slice {
        for edge in [row.row as f64 - 0.5, row.row as f64 + 0.5] {
            for end in [row.first as f64 - 0.5, row.last as f64 + 0.5] {
                corners.push((end, edge));
            }
        }
    }
    let hull: Vec<Vector> = convex_hull(corners)
        .into_iter()
        .map(|(column, row)| affine.apply([column, row, 0.0]))
        .collect();
    let mut longest = (0.0, [0.0; 3]);
    for (index, &from) in hull.iter().enumerate() {
        for &to in &hull[index + 1..] {
            let between = difference(to, from);
            if length(between) > longest.0 {
                longest = (length(between), between);
            }
        }
    }
    let [along_width, along_height, _] = affine.steps();
    let normal = cross(along_width, along_height);
    let across = cross(normal, longest.1);
    let mut least = f64::INFINITY;
    let mut most = f64::NEG_INFINITY;
    for &corner in &hull {
        let along = dot(corner, across) / length(across);
        least = least.min(along);
        most = most.max(along);
    }
    (longest.0, most - least)
}

/// Between slices, at a right angle to them, millimetres.
fn slice_spacing(affine: &Affine) -> f64 {
    let [along_width, along_height, along_depth] = affine.steps();
    let normal = cross(along_width, along_height);
    dot(normal, along_depth).abs() / length(normal)
}

/// The corners of the smallest convex outline of points (Andrew's monotone chain).
fn convex_hull(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for backwards in [false, true] {
        let start = hull.len();
        let ordered: Vec<(f64, f64)> = if backwards {
            points.iter().rev().copied().collect()
        } else {
            points.clone()
        };
        for point in ordered {
            while hull.len() >= start + 2
                && !turns_left(hull[hull.len() - 2], hull[hull.len() - 1], point)
            {
                hull.pop();
            }
            hull.push(point);
        }
        // The last point begins the other half.
        hull.pop();
    }
    hull
}

fn turns_left(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> bool {
    (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0) > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::components::Connectivity;
    use metrics::lesion::components;

    const DIMS: [usize; 3] = [6, 20, 24];
    const AFFINE: Affine = Affine([
        [0.5, 0.0, 0.0, -10.0],
        [0.0, 1.0, 0.0, 20.0],
        [0.0, 0.0, 3.0, 5.0],
    ]);

    fn lesions(marked: impl Fn(usize, usize, usize) -> bool) -> Vec<Lesion> {
        let mut mask = vec![0; DIMS.iter().product()];
        let mut probability = vec![0.0; mask.len()];
        for (index, voxel) in mask.iter_mut().enumerate() {
            let (x, y, z) = (
                index % DIMS[2],
                index / DIMS[2] % DIMS[1],
                index / DIMS[2] / DIMS[1],
            );
            if marked(x, y, z) {
                *voxel = 1;
                probability[index] = if x == 4 { 0.9 } else { 0.6 };
            }
        }
        let regions = components(&mask, DIMS, Connectivity::TwentySix);
        table(&regions, &probability, DIMS, &AFFINE)
    }

    #[test]
    fn a_box_has_the_measures_of_a_box() {
        // 4 x 10 voxels of 0.5 x 1 mm on two slices.
        let found =
            lesions(|x, y, z| (4..8).contains(&x) && (5..15).contains(&y) && (2..4).contains(&z));
        assert_eq!(found.len(), 1);
        let lesion = &found[0];
        assert_eq!((lesion.number, lesion.voxels, lesion.slices), (1, 80, 2));
        assert!((lesion.volume_mm3 - 80.0 * 1.5).abs() < 1e-9);
        for (centre, expected) in lesion.centre_mm.iter().zip([-7.25, 29.5, 12.5]) {
            assert!((centre - expected).abs() < 1e-9, "{lesion:?}");
        }
        // The diagonal of 2 x 10 mm, and the box's width across it: 2 · 2 · 10 / diagonal.
        let diagonal = 104.0_f64.sqrt();
        assert!((lesion.longest_mm - diagonal).abs() < 1e-9, "{lesion:?}");
        assert!(
            (lesion.across_mm - 40.0 / diagonal).abs() < 1e-9,
            "{lesion:?}"
        );
        assert!((lesion.mean_probability - 0.675).abs() < 1e-6);
        assert!((lesion.max_probability - 0.9).abs() < 1e-6);
        assert!(!lesion.measurable, "less than 5 mm across");
    }

    #[test]
    fn a_lesion_is_measurable_only_where_all_conditions_hold() {
        let of = |columns: usize, rows: usize, slices: usize| {
            lesions(|x, y, z| x < columns && y < rows && z < slices)[0].measurable
        };
        assert!(of(12, 12, 2));
        assert!(!of(12, 12, 1), "one slice");
        assert!(!of(12, 6, 2), "less than 10 mm");
        assert!(!of(2, 12, 2), "less than 5 mm across");
    }

    #[test]
    fn the_largest_comes_first_and_regions_that_touch_at_a_corner_are_one() {
        let found = lesions(|x, y, z| {
            (x, y, z) == (0, 0, 0) || (x, y, z) == (5, 5, 1) || (x, y, z) == (6, 6, 2)
        });
        let voxels: Vec<u64> = found.iter().map(|lesion| lesion.voxels).collect();
        assert_eq!(voxels, [2, 1]);
        assert_eq!(found[1].number, 2);
        assert!((found[1].longest_mm - 1.25_f64.sqrt()).abs() < 1e-9);
        assert!(lesions(|_, _, _| false).is_empty());
    }
}
