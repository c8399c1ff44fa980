//! Arteries and veins: chains of tubes along the courses of the larger ones, and small ones at
//! random.

use super::draw::{Point, along, chance, direction, length, uniform};
use super::findings::{Finding, Kind, wobbled};
use super::head::Head;
use super::shape::Shape;
use super::tissue;
use rand_chacha::ChaCha8Rng;

/// A course of an average head: where it starts and heads to, its steps and radii.
struct Course {
    start: Point,
    heading: Point,
    steps: usize,
    step_mm: f32,
    radii: [f32; 2],
    wobble: f32,
    on_surface: bool,
}

/// Draws the vessels of one patient; `slow` scales how often a surface vein is too slow to be
/// nulled.
pub(super) fn draw(rng: &mut ChaCha8Rng, head: &Head, slow: f32) -> Vec<Finding> {
    let mut findings = Vec::new();
    for course in large(rng) {
        lay(
            &points(rng, &course),
            course.radii,
            head,
            0..0,
            &mut findings,
        );
    }
    lay(&sinus(), [2.0, 4.0], head, 0..0, &mut findings);
    for _ in 0..uniform(rng, 12.0, 20.0) as usize {
        let course = surface_vein(rng);
        let run = if chance(rng, 0.12 * slow) { 2..5 } else { 0..0 };
        lay(
            &points(rng, &course),
            course.radii,
            head,
            run,
            &mut findings,
        );
    }
    for _ in 0..uniform(rng, 6.0, 14.0) as usize {
        let course = deep_vein(rng);
        lay(
            &points(rng, &course),
            course.radii,
            head,
            0..0,
            &mut findings,
        );
    }
    findings
}

/// Carotid to middle cerebral, anterior cerebral, basilar, vein of Galen.
fn large(rng: &mut ChaCha8Rng) -> Vec<Course> {
    let mut course = |start: Point, heading: Point, steps, radii| Course {
        start: along(start, direction(rng), 2.0),
        heading,
        steps,
        step_mm: 6.0,
        radii,
        wobble: 0.45,
        on_surface: false,
    };
    let mut courses = Vec::new();
    for side in [-1.0, 1.0] {
        courses.push(course(
            [side * 9.0, 10.0, -27.0],
            [side, 0.0, 0.15],
            8,
            [2.2, 1.0],
        ));
        courses.push(course(
            [side * 2.5, 16.0, -24.0],
            [0.0, 0.6, 0.8],
            10,
            [1.6, 0.9],
        ));
    }
    courses.push(course([0.0, -6.0, -58.0], [0.0, 0.0, 1.0], 4, [2.0, 1.8]));
    courses.push(course([0.0, -30.0, 4.0], [0.0, -0.8, 0.6], 4, [2.0, 2.6]));
    courses
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

const CENTRE_Z: f32 = 8.0;

/// The point in a bearing from the cerebrum's middle, at a share of the way to its surface.
fn hull(bearing: Point, share: f32) -> Point {
    let radii = [66.0, 85.0, 60.0];
    let reach = share / length(std::array::from_fn(|i| bearing[i] / radii[i])).max(1e-6);
    along([0.0, 0.0, CENTRE_Z], bearing, reach)
}

fn lay(
    points: &[Point],
    radii: [f32; 2],
    head: &Head,
    slow: std::ops::Range<usize>,
    findings: &mut Vec<Finding>,
) {
    let last = points.len().max(2) - 1;
    let radius = |n: usize| radii[0] + (radii[1] - radii[0]) * n as f32 / last as f32;
    for (n, pair) in points.windows(2).enumerate() {
        let shape = Shape::Tube {
            ends: [head.placed(pair[0]), head.placed(pair[1])],
            radii: [radius(n), radius(n + 1)],
        };
        let (kind, signal) = if slow.contains(&n) {
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
