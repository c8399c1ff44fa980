//! From a cohort's settings to the volumes of one case.

use super::draw::Point;
use super::findings::{Finding, Kind, Patient};
use super::head::Sample;
use super::scanner::{Acquisition, Scanner};
use super::settings::Cohort;
use super::shape::{Patch, Shape, world};
use super::tissue::{SEQUENCES, Signal, Tissue};
use protocol::case::Grid;
use random::{Purpose, stream};
use rayon::prelude::*;

/// One synthetic case, in canonical axial order.
#[derive(Clone, Debug, PartialEq)]
pub struct Phantom {
    /// The case's name.
    pub case: String,
    /// The grid of all its volumes.
    pub grid: Grid,
    /// The order of voxels in its files, as three letters.
    pub orientation: &'static str,
    /// Each of [`SEQUENCES`], in whole numbers as a scanner stores them.
    pub volumes: [Vec<f32>; SEQUENCES.len()],
    /// Brain 1, other 0.
    pub brain: Vec<u8>,
    /// Lesion 1, other 0.
    pub lesion: Vec<u8>,
    /// The diameters of the lesions in millimetres, of the ball of the same volume.
    pub diameters_mm: Vec<f32>,
}

/// The volumes while they are painted: relative signals and shares.
struct Canvas {
    grid: Grid,
    signal: Vec<Signal>,
    brain: Vec<f32>,
    white: Vec<f32>,
    lesion: Vec<u8>,
}

/// Makes case `index` of a cohort. The same settings, site and index give the same bits, alone or
/// among others, on any number of threads.
#[must_use]
pub fn examine(cohort: &Cohort, index: usize) -> Phantom {
    let scanner = Scanner::of(&cohort.scanner, cohort.seed, &cohort.site);
    let grid = cohort.grid(scanner.stretch);
    let case = format!("{}-{:04}", cohort.site, index + 1);
    let mut rng = stream(
        cohort.seed,
        0,
        &format!("{}/{case}", cohort.site),
        Purpose::Phantom,
    );
    let patient = Patient::draw(&mut rng, &grid, &cohort.disease, scanner.enhancement);
    let mut canvas = Canvas::of(&patient, &scanner, grid);
    for (finding, patch) in rasterised(&patient, &grid) {
        canvas.paint(finding, &patch);
    }
    if cohort.brain_extracted {
        for (signal, &brain) in canvas.signal.iter_mut().zip(&canvas.brain) {
            if brain < 0.5 {
                *signal = [0.0; 4];
            }
        }
    }
    let acquisitions: [Acquisition; 4] =
        std::array::from_fn(|s| Acquisition::draw(&mut rng, &scanner, s));
    let plane = grid.dims[1] * grid.dims[2];
    let volumes = std::array::from_fn(|s| {
        let mut volume: Vec<f32> = canvas.signal.par_iter().map(|signal| signal[s]).collect();
        volume
            .par_chunks_mut(plane)
            .enumerate()
            .for_each(|(z, slice)| {
                // Each slice of each sequence has its own numbers, so threads cannot reorder them.
                let mut noise = rng.clone();
                noise.set_stream((1 + s * grid.dims[0] + z) as u64);
                noise.set_word_pos(0);
                acquisitions[s].take(slice, |i| place(&grid, z, i), &mut noise);
                if cohort.brain_extracted {
                    for (value, &brain) in slice.iter_mut().zip(&canvas.brain[z * plane..]) {
                        if brain < 0.5 {
                            *value = 0.0;
                        }
                    }
                }
            });
        volume
    });
    let brain = canvas
        .brain
        .iter()
        .map(|&share| u8::from(share >= 0.5))
        .collect();
    let diameters_mm = diameters(&patient);
    Phantom {
        case,
        grid,
        orientation: scanner.orientation,
        volumes,
        brain,
        lesion: canvas.lesion,
        diameters_mm,
    }
}

/// Every finding with the voxels it fills, in painting order.
fn rasterised<'a>(patient: &'a Patient, grid: &Grid) -> Vec<(&'a Finding, Patch)> {
    patient
        .findings
        .par_iter()
        .map(|finding| (finding, Patch::of(&finding.shape, grid, &patient.lumps)))
        .collect()
}

fn diameters(patient: &Patient) -> Vec<f32> {
    let mut diameters = Vec::new();
    for finding in &patient.findings {
        if finding.kind == Kind::Lesion
            && let Shape::Blob(blob) = &finding.shape
        {
            diameters.push(2.0 * blob.radius);
        }
    }
    diameters
}

fn place(grid: &Grid, z: usize, index: usize) -> Point {
    world(
        grid,
        [z, index / grid.dims[2], index % grid.dims[2]].map(|v| v as f32),
    )
}

impl Canvas {
    /// The healthy head.
    fn of(patient: &Patient, scanner: &Scanner, grid: Grid) -> Self {
        let plane = grid.dims[1] * grid.dims[2];
        let edge_mm = grid.spacing_mm[1].max(grid.spacing_mm[0] * 0.5);
        let samples: Vec<Sample> = (0..grid.voxels())
            .into_par_iter()
            .map(|v| patient.head.at(place(&grid, v / plane, v % plane), edge_mm))
            .collect();
        let mut canvas = Self {
            grid,
            signal: Vec::with_capacity(samples.len()),
            brain: Vec::with_capacity(samples.len()),
            white: Vec::with_capacity(samples.len()),
            lesion: vec![0; samples.len()],
        };
        for sample in samples {
            canvas.signal.push(scanner.signal(&sample.mixture));
            canvas.brain.push(sample.brain);
            canvas.white.push(sample.mixture.share(Tissue::White));
        }
        canvas
    }

    /// Paints a finding over what is there. A lesion is labelled where it fills at least half of a
    /// voxel or, if it is too small for that, where it fills most.
    fn paint(&mut self, finding: &Finding, patch: &Patch) {
        let most = patch.filled.iter().copied().fold(0.0, f32::max).min(0.5);
        for (offset, &filled) in patch.filled.iter().enumerate() {
            if filled == 0.0 {
                continue;
            }
            let voxel = patch.voxel(offset, &self.grid);
            let share = filled
                * match finding.kind {
                    Kind::Vessel | Kind::SlowVein => 1.0,
                    Kind::Oedema | Kind::Spot => self.white[voxel],
                    _ => self.brain[voxel],
                };
            for (under, over) in self.signal[voxel].iter_mut().zip(finding.signal) {
                *under += (over - *under) * share;
            }
            if finding.kind == Kind::Lesion && filled >= most && self.brain[voxel] >= 0.5 {
                self.lesion[voxel] = 1;
            }
        }
    }
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
