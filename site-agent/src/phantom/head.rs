//! The healthy head: which tissues are at a point of a patient.

use super::draw::{Point, along, length, minus, rotation, turned, uniform};
use super::field::Field;
use super::tissue::{Mixture, Tissue};
use rand_chacha::ChaCha8Rng;

/// One patient's head, placed in the scanner. All lengths are of an average adult, in millimetres.
pub(super) struct Head {
    centre: Point,
    scale: Point,
    turn: [Point; 3],
    bend: [Field; 3],
    bend_mm: f32,
    folds: Field,
    ventricles: f32,
}

/// The tissues at a point.
pub(super) struct Sample {
    /// Shares of the tissues; they sum to the share of the voxel that is head.
    pub(super) mixture: Mixture,
    /// Share that is brain, with its sulci and ventricles.
    pub(super) brain: f32,
}

impl Head {
    /// Draws a patient: size, posture, asymmetric bending, folds and ventricle size.
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            centre: [
                uniform(rng, -4.0, 4.0),
                uniform(rng, -4.0, 4.0),
                uniform(rng, -4.0, 4.0),
            ],
            scale: std::array::from_fn(|_| uniform(rng, 0.94, 1.03)),
            turn: {
                let tilt = uniform(rng, 0.0, 0.16);
                rotation(rng, tilt)
            },
            bend: std::array::from_fn(|_| Field::draw(rng, 48.0)),
            bend_mm: uniform(rng, 2.0, 5.0),
            folds: Field::draw(rng, 15.0),
            ventricles: uniform(rng, 0.75, 1.5),
        }
    }

    /// From the average head's millimetres to the scanner's, without the bending.
    pub(super) fn placed(&self, p: Point) -> Point {
        let scaled = std::array::from_fn(|i| p[i] * self.scale[i]);
        let columns = std::array::from_fn(|i| std::array::from_fn(|j| self.turn[j][i]));
        along(self.centre, turned(&columns, scaled), 1.0)
    }

    /// The tissues about a point of the scanner; boundaries are `edge_mm` wide.
    pub(super) fn at(&self, world: Point, edge_mm: f32) -> Sample {
        let posed = turned(&self.turn, minus(world, self.centre));
        let straight: Point = std::array::from_fn(|i| posed[i] / self.scale[i]);
        if skin(straight) > edge_mm + 2.0 * self.bend_mm {
            return Sample {
                mixture: Mixture::EMPTY,
                brain: 0.0,
            };
        }
        let p = std::array::from_fn(|i| straight[i] + self.bend_mm * self.bend[i].at(straight));
        let edge = Edge { width_mm: edge_mm };
        let skin = skin(p);
        let brain = brain(p);
        let mut mixture = Mixture::of(Tissue::Muscle, edge.share(skin));
        mixture.lay(Tissue::Fat, 1.0 - edge.share(skin + 5.0));
        mixture.lay(
            Tissue::Bone,
            edge.share(brain - 8.5) * edge.share(skin + 2.5),
        );
        mixture.lay(Tissue::Fluid, edge.share(brain - 2.5));
        if brain < edge_mm {
            self.lay_brain(&mut mixture, p, brain, edge);
        }
        Sample {
            mixture,
            brain: edge.share(brain).min(edge.share(skin)),
        }
    }

    /// Lays the tissues of the brain. `brain` is the signed distance to its hull.
    fn lay_brain(&self, mixture: &mut Mixture, p: Point, brain: f32, edge: Edge) {
        let depth = -brain;
        // Sulci: the zero sheets of a random field and the fissure between the hemispheres, closing
        // with depth.
        let sheet = (self.folds.at(turned(&ASKEW, p)).abs() * 9.0 + (depth - 14.0).max(0.0))
            .min(p[0].abs() + (16.0 - p[2]).max(0.0) + (depth - 40.0).max(0.0));
        let gap = (1.5 - depth * 0.1).max(0.3);
        mixture.lay(Tissue::Grey, edge.share(brain));
        mixture.lay(
            Tissue::White,
            edge.share((4.0 - depth).max(gap + 3.2 - sheet)),
        );
        mixture.lay(Tissue::Fluid, edge.share(brain) * edge.share(sheet - gap));
        let mirrored = [p[0].abs(), p[1], p[2]];
        let thalamus = ellipsoid(mirrored, [11.0, -12.0, 3.0], [8.0, 13.0, 8.0]);
        let putamen = ellipsoid(mirrored, [27.0, 4.0, 2.0], [6.0, 17.0, 9.0]);
        mixture.lay(Tissue::Grey, edge.share(thalamus.min(putamen)));
        let wide = self.ventricles;
        let lateral = ellipsoid(
            [mirrored[0] + 0.006 * p[1] * p[1], p[1], p[2]],
            [11.0, -2.0, 14.0],
            [5.0 * wide, 32.0, 8.0 * wide],
        );
        let third = ellipsoid(p, [0.0, -8.0, 0.0], [2.2 * wide, 13.0, 9.0]);
        let fourth = ellipsoid(p, [0.0, -38.0, -36.0], [6.0, 5.0 * wide, 7.0]);
        mixture.lay(Tissue::Fluid, edge.share(lateral.min(third).min(fourth)));
    }
}

/// The width over which one tissue becomes another.
#[derive(Clone, Copy)]
struct Edge {
    width_mm: f32,
}

impl Edge {
    /// The share of a voxel inside a surface, by the signed distance to it.
    fn share(self, distance: f32) -> f32 {
        (0.5 - distance / self.width_mm).clamp(0.0, 1.0)
    }
}

/// A rotation that keeps the folds from following the head's axes.
const ASKEW: [Point; 3] = [
    [2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0],
    [-2.0 / 3.0, 1.0 / 3.0, 2.0 / 3.0],
    [1.0 / 3.0, -2.0 / 3.0, 2.0 / 3.0],
];

/// Signed distance to the skin.
fn skin(p: Point) -> f32 {
    ellipsoid(p, [0.0, 0.0, -14.0], [77.0, 97.0, 93.0])
}

/// Signed distance to the brain's hull: cerebrum with a flat base, cerebellum, brain stem.
fn brain(p: Point) -> f32 {
    let cerebrum =
        ellipsoid(p, [0.0, 0.0, 8.0], [66.0, 85.0, 60.0]).max(-30.0 - 0.15 * p[1] - p[2]);
    let cerebellum = ellipsoid(p, [0.0, -48.0, -38.0], [50.0, 32.0, 25.0]);
    let stem = ellipsoid(p, [0.0, -20.0, -50.0], [13.0, 15.0, 45.0]);
    cerebrum.min(cerebellum).min(stem)
}

/// About the signed distance to an ellipsoid: exact in the limit at its surface, negative inside.
fn ellipsoid(p: Point, centre: Point, radii: Point) -> f32 {
    let unit: Point = std::array::from_fn(|i| (p[i] - centre[i]) / radii[i]);
    let reach = length(unit);
    let slope = length(std::array::from_fn(|i| unit[i] / radii[i]));
    if slope > 0.0 {
        reach * (reach - 1.0) / slope
    } else {
        -radii[0].min(radii[1]).min(radii[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, stream};

    #[test]
    fn an_ellipsoid_is_zero_at_its_surface_and_grows_by_millimetres() {
        let radii = [66.0, 85.0, 60.0];
        assert!(ellipsoid([66.0, 0.0, 0.0], [0.0; 3], radii).abs() < 1e-4);
        assert!((ellipsoid([0.0, 87.0, 0.0], [0.0; 3], radii) - 2.0).abs() < 0.1);
        assert_eq!(ellipsoid([0.0; 3], [0.0; 3], radii), -60.0);
    }

    #[test]
    fn from_the_air_inwards_come_skin_bone_fluid_and_brain() {
        for seed in 0..10 {
            let head = Head::draw(&mut stream(seed, 0, "head", Purpose::Phantom));
            let walk: Vec<Sample> = (0..220)
                .map(|mm| head.at(head.placed([110.0 - mm as f32, -5.0, 30.0]), 0.5))
                .collect();
            let first = |tissue| walk.iter().position(|s| s.mixture.share(tissue) > 0.5);
            assert!(walk[0].mixture.total() == 0.0);
            let order = [
                Tissue::Fat,
                Tissue::Bone,
                Tissue::Fluid,
                Tissue::Grey,
                Tissue::White,
            ]
            .map(first);
            assert!(
                order.iter().all(Option::is_some) && order.is_sorted(),
                "{order:?}"
            );
            let share = walk.iter().filter(|s| s.brain > 0.5).count();
            assert!((105..145).contains(&share), "{share} mm of brain");
        }
    }
}
