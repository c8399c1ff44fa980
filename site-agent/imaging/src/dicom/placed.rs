//! Lesions in the patient, and lesions on the slices of a series.

use super::series::Series;
use crate::nifti::Affine;

/// Marked voxels with their place in the patient.
#[derive(Clone, Debug)]
pub struct PlacedMask<'a> {
    /// The number of each voxel's lesion, 0 outside; the first index of `dims` varies slowest.
    pub labels: &'a [u32],
    /// Depth, height, width.
    pub dims: [usize; 3],
    /// From width, height and depth indices to the patient.
    pub affine: Affine,
}

/// A mask on the slices of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceMasks {
    /// One for each slice of the series in its order, rows x columns: the number of each pixel's
    /// lesion, 0 outside.
    pub slices: Vec<Vec<u32>>,
    /// The marked volume in the patient, before and after.
    pub mm3_before: f64,
    pub mm3_after: f64,
    /// The marked volume that is outside the series.
    pub mm3_outside: f64,
}

/// Why a mask has no place on a series.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlaceError {
    #[error("the mask's affine cannot be inverted")]
    Affine,
    #[error("a mask of {dims:?} voxels came with {found} values")]
    Values { dims: [usize; 3], found: usize },
    #[error(
        "{outside:.0} of {marked:.0} mm3 that are marked are outside the series: it shows \
         another part of the body, or the images were moved before they were segmented"
    )]
    Outside { marked: f64, outside: f64 },
}

/// The largest share of the marked volume that may be outside the series: rounding at its edge.
const OUTSIDE: f64 = 0.02;

impl PlacedMask<'_> {
    /// The mask on a series' own pixels: each pixel takes the voxel that its centre is in.
    ///
    /// On the grid that the series was converted to this gives back every voxel.
    ///
    /// # Errors
    /// See [`PlaceError`]: nothing that is marked is lost in silence.
    pub fn on(&self, series: &Series) -> Result<SliceMasks, PlaceError> {
        if self.labels.len() != self.dims.iter().product::<usize>() {
            return Err(PlaceError::Values {
                dims: self.dims,
                found: self.labels.len(),
            });
        }
        let inverse = self.affine.inverse().ok_or(PlaceError::Affine)?;
        let voxel_mm3 = self.affine.determinant().abs();
        let marked = self.labels.iter().filter(|&&label| label != 0).count();
        let mut outside = 0_usize;
        for place in self.marked() {
            if !series.contains(to_dicom(self.affine.apply(place))) {
                outside += 1;
            }
        }
        let mm3_before = marked as f64 * voxel_mm3;
        let mm3_outside = outside as f64 * voxel_mm3;
        if mm3_outside > OUTSIDE * mm3_before {
            return Err(PlaceError::Outside {
                marked: mm3_before,
                outside: mm3_outside,
            });
        }
        let mut slices = Vec::with_capacity(series.slices.len());
        let mut pixels = 0_usize;
        for slice in 0..series.slices.len() {
            let mut mask = vec![0; series.rows * series.columns];
            for row in 0..series.rows {
                for column in 0..series.columns {
                    let place = to_nifti(series.place(slice, row as f64, column as f64));
                    let label = self.label(inverse.apply(place));
                    mask[row * series.columns + column] = label;
                    pixels += usize::from(label != 0);
                }
            }
            slices.push(mask);
        }
        Ok(SliceMasks {
            slices,
            mm3_before,
            mm3_after: pixels as f64 * series.pixel_mm3(),
            mm3_outside,
        })
    }

    /// Width, height and depth indices of all marked voxels.
    fn marked(&self) -> impl Iterator<Item = [f64; 3]> + '_ {
        let [_, height, width] = self.dims;
        let numbered = self.labels.iter().enumerate();
        numbered
            .filter(|(_, label)| **label != 0)
            .map(move |(index, _)| {
                let x = index % width;
                let y = index / width % height;
                let z = index / width / height;
                [x as f64, y as f64, z as f64]
            })
    }

    /// The label of the voxel that holds a place between voxels; 0 outside.
    fn label(&self, index: [f64; 3]) -> u32 {
        let [depth, height, width] = self.dims;
        let mut rounded = [0_usize; 3];
        for (axis, side) in [width, height, depth].into_iter().enumerate() {
            let at = index[axis].round();
            if at < 0.0 || at >= side as f64 {
                return 0;
            }
            rounded[axis] = at as usize;
        }
        self.labels[(rounded[2] * height + rounded[1]) * width + rounded[0]]
    }
}

/// DICOM's patient axes run to the left and the back where NIfTI's run to the right and the front.
fn to_dicom([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-x, -y, z]
}

fn to_nifti(place: [f64; 3]) -> [f64; 3] {
    to_dicom(place)
}
