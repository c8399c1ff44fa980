//! A synthetic head as a function of the patient's space.

use super::Rigid;
use crate::nifti::{Form, Source, Volume};
use protocol::case::Grid;
use std::path::Path;

/// What tissue looks like.
#[derive(Clone, Copy, Debug)]
pub(in crate::register) enum Contrast {
    T1,
    Flair,
}

/// Ellipsoids with a soft edge: centre, radii, brightness on T1 and FLAIR. Later ones lie over
/// earlier ones.
pub(in crate::register) struct Head {
    parts: Vec<Part>,
}

type Part = ([f64; 3], [f64; 3], f64, f64);

/// What tests/fixtures/registration/make.py writes.
#[derive(serde::Deserialize)]
pub(super) struct Known {
    parts: Vec<Part>,
    pub(super) pairs: Vec<Pair>,
}

/// A known move, and what another program finds of it.
#[derive(serde::Deserialize)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) degrees: [f64; 3],
    pub(super) shift: [f64; 3],
    pub(super) simpleitk: Found,
}

#[derive(serde::Deserialize)]
pub(super) struct Found {
    pub(super) turn: [[f64; 3]; 3],
    pub(super) shift: [f64; 3],
}

impl Known {
    pub(super) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/registration/known.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }
}

impl Default for Head {
    fn default() -> Self {
        Self {
            parts: Known::read().parts,
        }
    }
}

impl Head {
    /// The brightness at a place.
    fn at(&self, place: [f64; 3], contrast: Contrast) -> f64 {
        let mut value = 0.0;
        for (centre, radii, t1, flair) in &self.parts {
            let mut square = 0.0;
            let mut smallest = f64::INFINITY;
            for axis in 0..3 {
                let share = (place[axis] - centre[axis]) / radii[axis];
                square += share * share;
                smallest = smallest.min(radii[axis]);
            }
            // The edge is about 2 mm wide.
            let outside = (square.sqrt() - 1.0) * smallest / 0.7;
            if outside > 30.0 {
                continue;
            }
            let inside = 1.0 / (1.0 + outside.exp());
            let own = match contrast {
                Contrast::T1 => t1,
                Contrast::Flair => flair,
            };
            value += inside * (own - value);
        }
        value
    }

    /// The head on a grid around the origin, shown at each place as it is at `from(place)`.
    pub(in crate::register) fn volume(
        &self,
        grid: &Grid,
        from: &Rigid,
        contrast: Contrast,
    ) -> Volume {
        let source = Source::new(grid, "LPS", Form::Sform).unwrap();
        let affine = source.canonical_affine();
        let [depth, height, width] = grid.dims;
        let mut values = Vec::with_capacity(grid.voxels());
        for z in 0..depth {
            for y in 0..height {
                for x in 0..width {
                    let place = affine.apply([x as f64, y as f64, z as f64]);
                    values.push(self.at(from.apply(place), contrast) as f32);
                }
            }
        }
        Volume {
            grid: *grid,
            values,
            source,
            warnings: Vec::new(),
        }
    }
}
