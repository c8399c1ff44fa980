//! Arteries and veins: chains of tubes along the courses of the larger ones, and small ones at
//! random.

use super::draw::{Point, along, chance, direction, length, uniform};
use super::findings::{Finding, Kind, wobbled};
use super::head::Head;
use super::shape::Shape;
use super::tissue;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// The course of a vessel in an average head.
struct Course {
    start: Point,
    heading: Point,
    steps: usize,
    step_mm: f32,
    radii: [f32; 2],
    wobble: f32,
    on_surface: bool,
}

/// A vessel as a chain of tubes.
struct Vessel {
    /// The ends of the tubes, in an average head.
    points: Vec<Point>,
    /// The radius at the first and at the last point.
    radii: [f32; 2],
    /// The tubes, by number, in which the blood is too slow to be nulled.
    slow: Range<usize>,
}

/// Draws the vessels of one patient; `slow` scales how often a surface vein is too slow to be
/// nulled.
pub(super) fn draw(rng: &mut ChaCha8Rng, head: &Head, slow: f32) -> Vec<Finding> {
    let mut vessels = Vec::new();
    for course in large(rng) {
        vessels.push(Vessel::draw(rng, &course, 0..0));
    }
    vessels.push(Vessel {
        points: sinus(),
        radii: [2.0, 4.0],
        slow: 0..0,
    });
    for _ in 0..uniform(rng, 12.0, 20.0) as usize {
        let course = surface_vein(rng);
        let slow = if chance(rng, 0.12 * slow) { 2..5 } else { 0..0 };
        vessels.push(Vessel::draw(rng, &course, slow));
    }
    for _ in 0..uniform(rng, 6.0, 14.0) as usize {
        let course = deep_vein(rng);
        vessels.push(Vessel::draw(rng, &course, 0..0));
    }
    let mut findings = Vec::new();
    for vessel in &vessels {
        vessel.lay(head, &mut findings);
    }
    findings
}

/// Carotid to middle cerebral and anterior cerebral artery on both sides, basilar artery, vein of
/// Galen.
fn large(rng: &mut ChaCha8Rng) -> Vec<Course> {
    let mut courses = Vec::new();
    for side in [-1.0, 1.0] {
        courses.push(Course {
            start: around(rng, [side * 9.0, 10.0, -27.0]),
            heading: [side, 0.0, 0.15],
            steps: 8,
            radii: [2.2, 1.0],
            ..LARGE
        });
        courses.push(Course {
            start: around(rng, [side * 2.5, 16.0, -24.0]),
            heading: [0.0, 0.6, 0.8],
            steps: 10,
            radii: [1.6, 0.9],
            ..LARGE
        });
    }
    courses.push(Course {
        start: around(rng, [0.0, -6.0, -58.0]),
        heading: [0.0, 0.0, 1.0],
        steps: 4,
        radii: [2.0, 1.8],
        ..LARGE
    });
    courses.push(Course {
        start: around(rng, [0.0, -30.0, 4.0]),
        heading: [0.0, -0.8, 0.6],
        steps: 4,
        radii: [2.0, 2.6],
        ..LARGE
    });
    courses
}

/// What the courses of all large vessels share.
const LARGE: Course = Course {
    start: [0.0; 3],
    heading: [0.0; 3],
    steps: 0,
    step_mm: 6.0,
    radii: [0.0; 2],
    wobble: 0.45,
    on_surface: false,
};

/// A point 2 mm from another one.
fn around(rng: &mut ChaCha8Rng, point: Point) -> Point {
    along(point, direction(rng), 2.0)
}

/// The superior sagittal sinus.
fn sinus() -> Vec<Point> {
    let bearings = [
        [0.0, 1.0, 0.35],
        [0.0, 0.5, 1.0],
        [0.0, -0.5, 1.0],
        [0.0, -1.0, 0.0],
    ];
    let steps = 8;
    let mut points = Vec::new();
    for pair in bearings.windows(2) {
        for step in 0..=steps {
            let t = step as f32 / steps as f32;
            points.push(hull(
                std::array::from_fn(|i| pair[0][i] + (pair[1][i] - pair[0][i]) * t),
                1.02,
            ));
        }
    }
    points
}

fn surface_vein(rng: &mut ChaCha8Rng) -> Course {
    let mut bearing = direction(rng);
    bearing[2] = bearing[2].abs() * 0.8 + 0.1;
    Course {
        start: hull(bearing, 0.98),
        heading: direction(rng),
        steps: uniform(rng, 6.0, 13.0) as usize,
        step_mm: 6.0,
        radii: [uniform(rng, 1.2, 2.0), 0.8],
        wobble: 0.35,
        on_surface: true,
    }
}

fn deep_vein(rng: &mut ChaCha8Rng) -> Course {
    let reach: f32 = uniform(rng, 0.35, 0.85);
    Course {
        start: hull(direction(rng), reach),
        heading: direction(rng),
        steps: uniform(rng, 2.0, 6.0) as usize,
        step_mm: 5.0,
        radii: [uniform(rng, 0.9, 1.5), 0.7],
        wobble: 0.3,
        on_surface: false,
    }
}

fn points(rng: &mut ChaCha8Rng, course: &Course) -> Vec<Point> {
    let mut at = course.start;
    let mut heading = course.heading;
    let mut points = vec![at];
    for _ in 0..course.steps {
        heading = wobbled(rng, heading, course.wobble);
        at = along(at, heading, course.step_mm);
        if course.on_surface {
            at = hull([at[0], at[1], at[2] - CENTRE_Z], 0.98);
        }
        points.push(at);
    }
    points
}

/// The height of the cerebrum's middle, mm.
const CENTRE_Z: f32 = 8.0;

/// The point in a bearing from the cerebrum's middle, at a share of the way to its surface.
fn hull(bearing: Point, share: f32) -> Point {
    let radii = [66.0, 85.0, 60.0];
    let reach = share / length(std::array::from_fn(|i| bearing[i] / radii[i])).max(1e-6);
    along([0.0, 0.0, CENTRE_Z], bearing, reach)
}

impl Vessel {
    fn draw(rng: &mut ChaCha8Rng, course: &Course, slow: Range<usize>) -> Self {
        Self {
            points: points(rng, course),
            radii: course.radii,
            slow,
        }
    }

    /// Adds the vessel's tubes, as they are in `head`.
    fn lay(&self, head: &Head, findings: &mut Vec<Finding>) {
        for (n, pair) in self.points.windows(2).enumerate() {
            let shape = Shape::Tube {
                ends: [head.placed(pair[0]), head.placed(pair[1])],
                radii: [self.radius(n), self.radius(n + 1)],
            };
            let (kind, signal) = if self.slow.contains(&n) {
                (Kind::SlowVein, tissue::SLOW_VEIN)
            } else {
                (Kind::Vessel, tissue::VESSEL)
            };
            findings.push(Finding {
                kind,
                shape,
                signal,
            });
        }
    }

    /// The radius at a point.
    fn radius(&self, n: usize) -> f32 {
        let last = self.points.len().max(2) - 1;
        self.radii[0] + (self.radii[1] - self.radii[0]) * n as f32 / last as f32
    }
}
