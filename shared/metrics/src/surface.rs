//! Distances between the surfaces of two masks, with their areas.
//!
//! The surface lies between voxels: each corner that eight voxels share has a piece of surface
//! whose area follows from which of the eight are lesion (marching cubes). That is the definition
//! of Nikolov et al. (arXiv 1809.04430), which the BraTS evaluations use.

mod areas;
mod transform;

use super::window::Window;
use areas::Areas;
use transform::{Corners, nearest};

/// A piece of surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surfel {
    /// To the nearest corner with a piece of the other surface, mm.
    pub distance_mm: f64,
    /// Its area, mm².
    pub area_mm2: f64,
}

/// What lies between two surfaces, each list ascending in distance, then in area.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// The reference's surface, measured to the prediction's.
    pub of_reference: Vec<Surfel>,
    /// The prediction's surface, measured to the reference's.
    pub of_prediction: Vec<Surfel>,
}

impl SurfaceDistances {
    /// Measures two masks (nonzero is lesion) of `dims`, width fastest, whose voxels are
    /// `spacing_mm` apart along the same axes. `None` where one of them is empty: there is no
    /// distance to nothing.
    #[must_use]
    pub fn between(
        reference: &[u8],
        prediction: &[u8],
        dims: [usize; 3],
        spacing_mm: [f64; 3],
    ) -> Option<Self> {
        let either = Window::around(dims, |i| reference[i] != 0 || prediction[i] != 0)?;
        let areas = Areas::new(spacing_mm);
        let [reference, prediction] =
            [reference, prediction].map(|mask| Corners::of(mask, dims, &either));
        let measure = |of: &Corners, to: &Corners| {
            let mut surfels = nearest(of, to, spacing_mm, &areas);
            surfels.sort_unstable_by(|a, b| {
                a.distance_mm
                    .total_cmp(&b.distance_mm)
                    .then(a.area_mm2.total_cmp(&b.area_mm2))
            });
            (!surfels.is_empty()).then_some(surfels)
        };
        Some(Self {
            of_reference: measure(&reference, &prediction)?,
            of_prediction: measure(&prediction, &reference)?,
        })
    }

    /// The Hausdorff distance at `share` of the area, mm: 0.95 gives HD95. The larger of both
    /// directions' smallest distance within which that share of the surface lies.
    #[must_use]
    pub fn hausdorff(&self, share: f64) -> f64 {
        quantile(&self.of_reference, share).max(quantile(&self.of_prediction, share))
    }

    /// The share of both surfaces, by area, that lies within `tolerance_mm` of the other (surface
    /// Dice).
    #[must_use]
    pub fn dice(&self, tolerance_mm: f64) -> f64 {
        let both = || self.of_reference.iter().chain(&self.of_prediction);
        let area: f64 = both().map(|surfel| surfel.area_mm2).sum();
        both()
            .filter(|surfel| surfel.distance_mm <= tolerance_mm)
            .map(|surfel| surfel.area_mm2)
            .sum::<f64>()
            / area
    }
}

/// The distance at which the area summed so far reaches `share` of all.
fn quantile(surfels: &[Surfel], share: f64) -> f64 {
    let areas: Vec<f64> = surfels.iter().map(|surfel| surfel.area_mm2).collect();
    let all = pairwise_sum(&areas);
    let mut so_far = 0.0;
    let reached = areas.iter().position(|area| {
        so_far += area;
        so_far / all >= share
    });
    reached
        .or(surfels.len().checked_sub(1))
        .map_or(0.0, |i| surfels[i].distance_mm)
}

/// Sums as NumPy does, so that a share met exactly falls on the same piece of surface as in the
/// reference tools: halves of more than 128 values apart, eight running sums within.
fn pairwise_sum(values: &[f64]) -> f64 {
    if values.len() < 8 {
        return values.iter().sum();
    }
    if values.len() > 128 {
        let half = values.len() / 2 / 8 * 8;
        return pairwise_sum(&values[..half]) + pairwise_sum(&values[half..]);
    }
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter()
        .fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| {
            sum + value
        })
}

#[cfg(test)]
mod tests;
