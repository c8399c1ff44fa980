//! What is in a patient's head besides healthy tissue: vessels, lesions, and mimics of lesions.

use super::draw::{Point, along, chance, count, direction, length, log_normal, minus, uniform};
use super::field::Field;
use super::head::Head;
use super::settings::Disease;
use super::shape::{Blob, Shape, world};
use super::tissue::{self, Signal, Tissue, blend};
use super::vessels;
use protocol::case::Grid;
use rand_chacha::ChaCha8Rng;

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Artery or vein.
    Vessel,
    /// Vein that stays bright in the black-blood spin echo.
    SlowVein,
    /// Choroid plexus.
    Plexus,
    /// White-matter spot.
    Spot,
    /// Oedema; stays in white matter.
    Oedema,
    /// Capillary telangiectasia.
    Telangiectasia,
    /// Old blood.
    Blood,
    /// Metastasis. The label covers it and its core.
    Lesion,
    /// Necrotic core of a lesion.
    Necrosis,
}

/// One thing with a shape and a look.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) shape: Shape,
    pub(super) signal: Signal,
}

/// A patient: head and findings in the order they are painted.
pub(super) struct Patient {
    pub(super) head: Head,
    pub(super) findings: Vec<Finding>,
    /// The surface pattern of every blob.
    pub(super) lumps: Field,
}

/// Finds room for blobs.
struct Room<'a> {
    head: &'a Head,
    grid: &'a Grid,
    taken: Vec<Ball>,
}

/// Space that something takes.
struct Ball {
    centre: Point,
    radius: f32,
}

impl Patient {
    /// Draws a patient whose blobs are within the grid. `enhancement` scales the effect of
    /// gadolinium.
    pub(super) fn draw(
        rng: &mut ChaCha8Rng,
        grid: &Grid,
        disease: &Disease,
        enhancement: f32,
    ) -> Self {
        let head = Head::draw(rng);
        let lumps = Field::draw(rng, 0.7);
        let mut findings = vessels::draw(rng, &head, disease.mimics);
        let mut room = Room {
            head: &head,
            grid,
            taken: plexus(rng, &head, &mut findings),
        };
        lesions(rng, &mut room, disease, enhancement, &mut findings);
        mimics(rng, &mut room, disease, enhancement, &mut findings);
        findings.sort_by_key(|finding| finding.kind);
        Self {
            head,
            findings,
            lumps,
        }
    }
}

/// Draws the choroid plexus on both sides, and gives the space that it takes.
fn plexus(rng: &mut ChaCha8Rng, head: &Head, findings: &mut Vec<Finding>) -> Vec<Ball> {
    let mut taken = Vec::new();
    for side in [-1.0, 1.0] {
        let centre = head.placed([side * 11.0, uniform(rng, -24.0, -16.0), 12.0]);
        let radius = uniform(rng, 2.5, 4.5);
        findings.push(Finding {
            kind: Kind::Plexus,
            shape: Shape::Blob(Blob::draw(rng, centre, radius, 0.25)),
            signal: tissue::PLEXUS,
        });
        taken.push(Ball { centre, radius });
    }
    taken
}

fn lesions(
    rng: &mut ChaCha8Rng,
    room: &mut Room,
    disease: &Disease,
    enhancement: f32,
    findings: &mut Vec<Finding>,
) {
    let [fewest, median, most] = disease.lesions;
    for _ in 0..count(rng, median as f32, 0.9, fewest, most) {
        let across = diameter(rng, disease);
        let Some(blob) = room.blob(rng, across) else {
            continue;
        };
        let across = 2.0 * blob.radius;
        if chance(rng, (0.25 + across / 25.0).min(0.95)) {
            findings.push(oedema(rng, &blob));
        }
        if across > 8.0 && chance(rng, 0.45) {
            let core = Shape::Blob(blob.scaled(uniform(rng, 0.45, 0.7)));
            findings.push(Finding {
                kind: Kind::Necrosis,
                shape: core,
                signal: tissue::NECROSIS,
            });
        }
        let taken_up = uniform(rng, 0.6, 1.0) * enhancement;
        let signal = blend(tissue::LESION_PLAIN, tissue::LESION_ENHANCED, taken_up);
        findings.push(Finding {
            kind: Kind::Lesion,
            shape: Shape::Blob(blob),
            signal,
        });
    }
}

fn mimics(
    rng: &mut ChaCha8Rng,
    room: &mut Room,
    disease: &Disease,
    enhancement: f32,
    findings: &mut Vec<Finding>,
) {
    old_blood(rng, room, disease, findings);
    telangiectasias(rng, room, disease, enhancement, findings);
    spots(rng, room, disease, findings);
}

/// How often a mimic is drawn: `low` to `high` times with the usual number of mimics.
fn times(rng: &mut ChaCha8Rng, disease: &Disease, low: f32, high: f32) -> usize {
    (uniform(rng, low, high) * disease.mimics).round() as usize
}

fn old_blood(
    rng: &mut ChaCha8Rng,
    room: &mut Room,
    disease: &Disease,
    findings: &mut Vec<Finding>,
) {
    for _ in 0..times(rng, disease, 0.0, 4.0) {
        let across = diameter(rng, disease);
        let Some(blob) = room.blob(rng, across) else {
            continue;
        };
        if chance(rng, 0.5) {
            findings.push(oedema(rng, &blob));
        }
        let signal = blend(tissue::LESION_PLAIN, tissue::BLOOD, uniform(rng, 0.65, 1.0));
        findings.push(Finding {
            kind: Kind::Blood,
            shape: Shape::Blob(blob),
            signal,
        });
    }
}

fn telangiectasias(
    rng: &mut ChaCha8Rng,
    room: &mut Room,
    disease: &Disease,
    enhancement: f32,
    findings: &mut Vec<Finding>,
) {
    for _ in 0..times(rng, disease, 0.0, 2.5) {
        let across = diameter(rng, disease).min(2.0 * disease.diameter_mm[1]) * 0.8;
        let Some(blob) = room.blob(rng, across) else {
            continue;
        };
        let plain = [
            0.9,
            tissue::TELANGIECTASIA[1],
            0.84,
            tissue::TELANGIECTASIA[3],
        ];
        let taken_up = uniform(rng, 0.6, 1.0) * enhancement;
        let signal = blend(plain, tissue::TELANGIECTASIA, taken_up);
        findings.push(Finding {
            kind: Kind::Telangiectasia,
            shape: Shape::Blob(blob),
            signal,
        });
    }
}

/// Spots of white matter. Those that would be elsewhere are left out, but take their room.
fn spots(rng: &mut ChaCha8Rng, room: &mut Room, disease: &Disease, findings: &mut Vec<Finding>) {
    for _ in 0..times(rng, disease, 4.0, 20.0) {
        let across = log_normal(rng, 5.0, 0.4, 2.5, 12.0);
        let Some(blob) = room.blob(rng, across) else {
            continue;
        };
        if !room.is_white(blob.centre) {
            continue;
        }
        findings.push(Finding {
            kind: Kind::Spot,
            shape: Shape::Blob(blob),
            signal: tissue::SPOT,
        });
    }
}

fn diameter(rng: &mut ChaCha8Rng, disease: &Disease) -> f32 {
    let [smallest, median, largest] = disease.diameter_mm;
    log_normal(rng, median, 0.5, smallest, largest)
}

fn oedema(rng: &mut ChaCha8Rng, about: &Blob) -> Finding {
    let reach = about.radius * uniform(rng, 1.3, 1.8) + uniform(rng, 2.0, 7.0);
    Finding {
        kind: Kind::Oedema,
        shape: Shape::Blob(Blob::draw(rng, about.centre, reach, 0.3)),
        signal: blend(
            [0.95, 0.86, 0.87, 0.66],
            tissue::OEDEMA,
            uniform(rng, 0.6, 1.0),
        ),
    }
}

impl Room<'_> {
    /// A blob inside the brain, clear of the others and of the ventricles. It is smaller than asked
    /// if there is no room, and `None` if there is still none.
    fn blob(&mut self, rng: &mut ChaCha8Rng, diameter_mm: f32) -> Option<Blob> {
        let mut radius = diameter_mm * 0.5;
        for attempt in 0..240 {
            let x = uniform(rng, -62.0, 62.0);
            let y = uniform(rng, -80.0, 80.0);
            let z = uniform(rng, -62.0, 62.0);
            let centre = self.head.placed([x, y, z]);
            if self.has(centre, radius) {
                self.taken.push(Ball { centre, radius });
                return Some(Blob::draw(rng, centre, radius, 0.18));
            }
            if attempt % 60 == 59 {
                radius *= 0.8;
            }
        }
        None
    }

    fn is_white(&self, p: Point) -> bool {
        self.head.at(p, 2.0).mixture.share(Tissue::White) > 0.9
    }

    /// Whether there is room for a ball: in the grid, clear of what is there, and in the brain.
    fn has(&self, centre: Point, radius: f32) -> bool {
        let corner = world(self.grid, [0.0; 3]);
        for i in 0..3 {
            if centre[i].abs() + radius > -corner[i] {
                return false;
            }
        }
        for other in &self.taken {
            if length(minus(centre, other.centre)) <= radius + other.radius + 2.0 {
                return false;
            }
        }
        if !self.is_brain(centre) || self.is_fluid(centre) {
            return false;
        }
        for axis in AXES {
            if !self.is_brain(along(centre, axis, 0.8 * radius)) {
                return false;
            }
        }
        true
    }

    fn is_brain(&self, p: Point) -> bool {
        self.head.at(p, 1.0).brain > 0.5
    }

    fn is_fluid(&self, p: Point) -> bool {
        self.head.at(p, 2.0).mixture.share(Tissue::Fluid) >= 0.3
    }
}

/// The six directions along the axes.
const AXES: [Point; 6] = [
    [1.0, 0.0, 0.0],
    [-1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, -1.0, 0.0],
    [0.0, 0.0, 1.0],
    [0.0, 0.0, -1.0],
];

/// A small change of a direction.
pub(super) fn wobbled(rng: &mut ChaCha8Rng, heading: Point, amount: f32) -> Point {
    let new = along(heading, direction(rng), amount);
    let size = length(new).max(1e-3);
    new.map(|c| c / size)
}
