//! Mutual information of two images under a rigid move, and its derivative.
//!
//! After Mattes and others, IEEE Transactions on Medical Imaging 22(1), 2003, and Thévenaz and Unser,
//! IEEE Transactions on Image Processing 9(12), 2000: a joint histogram of samples of the fixed
//! image, with cubic B-spline windows on the moving intensities and boxes on the fixed ones.

use super::field::{Field, Foreground, window, window_slope};
use super::rigid::{HEAD, Rigid};
use crate::nifti::Volume;
use crate::parallel::in_parallel;
use crate::vector::{Vector, cross, difference, dot};

/// Bins of each image. The cubic windows need two of them empty at both ends.
const BINS: usize = 32;
const PADDING: f64 = 2.0;

/// Samples that one thread works on at a time. Sums are made in the order of blocks, so threads
/// change no bit.
const BLOCK: usize = 4096;

/// How far around the foreground samples are taken, millimetres: the outline counts.
const MARGIN: f64 = 10.0;

/// The share of samples that must lie in the moving image for a move to count at all.
const LEAST_INSIDE: f64 = 0.2;

/// One sample of the fixed image.
#[derive(Clone, Copy, Debug)]
struct Point {
    place: Vector,
    bin: usize,
    is_foreground: bool,
}

/// Two images at one scale.
pub(super) struct Pair<'a> {
    points: Vec<Point>,
    moving: &'a Field,
    low: f64,
    /// Bins per unit of the moving image.
    scale: f64,
    threads: usize,
}

/// What a move comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    /// Mutual information, nats.
    pub(super) information: f64,
    /// Its derivative by [`Rigid::stepped`]'s steps.
    pub(super) gradient: [f64; 6],
    /// The smaller of the images' own entropies, nats: what the information could be at most.
    pub(super) most: f64,
    /// Share of all samples inside of the moving image.
    pub(super) inside: f64,
    /// Share of the samples of foreground inside of the moving image.
    pub(super) covered: f64,
}

/// A sample inside of the moving image.
struct Term {
    fixed: usize,
    /// The first of four bins of the moving image.
    first: usize,
    slopes: [f64; 4],
    /// How the moving bin changes with each step.
    change: [f64; 6],
}

/// The part of a histogram that one block gives.
struct Part {
    histogram: Vec<f64>,
    terms: Vec<Term>,
    foreground: usize,
    covered: usize,
}

impl<'a> Pair<'a> {
    /// Takes `count` samples of the fixed image, always at the same places.
    pub(super) fn new(
        volume: &Volume,
        fixed: &Field,
        seen: &Foreground,
        moving: &'a Field,
        moving_seen: &Foreground,
        count: usize,
        threads: usize,
    ) -> Self {
        let affine = volume.source.canonical_affine();
        let [depth, height, width] = volume.grid.dims;
        let spacing = volume.grid.spacing_mm;
        let spacing = [spacing[2], spacing[1], spacing[0]].map(f64::from);
        let (mut first, mut span) = ([0.0; 3], [0.0; 3]);
        for (axis, side) in [width, height, depth].into_iter().enumerate() {
            let margin = MARGIN / spacing[axis];
            first[axis] = (seen.first[axis] - margin).max(0.0);
            span[axis] = (seen.last[axis] + margin).min(side as f64 - 1.0) - first[axis];
        }
        let fixed_scale = BINS as f64 / (seen.high - seen.low);
        let mut points = Vec::with_capacity(count);
        for number in 0..count {
            let share = spread(number);
            let mut at = first;
            for axis in 0..3 {
                at[axis] += share[axis] * span[axis];
            }
            let place = affine.apply(at);
            let Some(sample) = fixed.at(place) else {
                continue;
            };
            // Also the first bin for what is below the range: the cast saturates.
            let bin = ((sample.value - seen.low) * fixed_scale) as usize;
            points.push(Point {
                place,
                bin: bin.min(BINS - 1),
                is_foreground: sample.value > seen.threshold,
            });
        }
        Self {
            points,
            moving,
            low: moving_seen.low,
            scale: (BINS as f64 - 2.0 * PADDING - 0.01) / (moving_seen.high - moving_seen.low),
            threads,
        }
    }

    /// The information under a move from the fixed to the moving image, by the first `count`
    /// samples; `None` if too few lie in the moving image.
    pub(super) fn value(&self, rigid: &Rigid, count: usize) -> Option<Value> {
        let points = &self.points[..count.min(self.points.len())];
        let blocks: Vec<&[Point]> = points.chunks(BLOCK).collect();
        let parts = in_parallel(
            &blocks,
            self.threads,
            &|block| self.part(rigid, block),
            &mut |_, _| (),
        );
        let mut joint = vec![0.0; BINS * BINS];
        let (mut inside, mut foreground, mut covered) = (0, 0, 0);
        for part in &parts {
            for (sum, count) in joint.iter_mut().zip(&part.histogram) {
                *sum += count;
            }
            inside += part.terms.len();
            foreground += part.foreground;
            covered += part.covered;
        }
        let share = inside as f64 / points.len().max(1) as f64;
        if share < LEAST_INSIDE || inside < 200 {
            return None;
        }
        let (mut of_fixed, mut of_moving) = ([0.0; BINS], [0.0; BINS]);
        for (place, count) in joint.iter_mut().enumerate() {
            *count /= inside as f64;
            of_fixed[place / BINS] += *count;
            of_moving[place % BINS] += *count;
        }
        let mut information = 0.0;
        // The logarithm of what is left of the derivative: the fixed image's own bins do not
        // change.
        let mut logarithms = vec![0.0; BINS * BINS];
        for (place, probability) in joint.iter().enumerate() {
            let alone = of_moving[place % BINS];
            if *probability > 1e-16 && alone > 1e-16 {
                logarithms[place] = (probability / alone).ln();
                information += probability * (logarithms[place] - of_fixed[place / BINS].ln());
            }
        }
        let logarithms = &logarithms;
        let gradients = in_parallel(
            &parts,
            self.threads,
            &|part| {
                let mut gradient = [0.0; 6];
                for term in &part.terms {
                    let from = term.fixed * BINS + term.first;
                    let mut sum = 0.0;
                    for (tap, slope) in term.slopes.iter().enumerate() {
                        sum += slope * logarithms[from + tap];
                    }
                    for (total, change) in gradient.iter_mut().zip(term.change) {
                        *total += sum * change;
                    }
                }
                gradient
            },
            &mut |_, _| (),
        );
        let mut gradient = [0.0; 6];
        for part in gradients {
            for (total, value) in gradient.iter_mut().zip(part) {
                *total += value / inside as f64;
            }
        }
        Some(Value {
            information,
            gradient,
            most: entropy(&of_fixed).min(entropy(&of_moving)),
            inside: share,
            covered: covered as f64 / foreground.max(1) as f64,
        })
    }

    fn part(&self, rigid: &Rigid, points: &[Point]) -> Part {
        let mut part = Part {
            histogram: vec![0.0; BINS * BINS],
            terms: Vec::with_capacity(points.len()),
            foreground: 0,
            covered: 0,
        };
        let highest = BINS as f64 - PADDING - 0.01;
        for point in points {
            part.foreground += usize::from(point.is_foreground);
            let turned = rigid.turned(difference(point.place, rigid.centre));
            let mut place = [0.0; 3];
            for axis in 0..3 {
                place[axis] = turned[axis] + rigid.centre[axis] + rigid.shift[axis];
            }
            let Some(sample) = self.moving.at(place) else {
                continue;
            };
            part.covered += usize::from(point.is_foreground);
            let free = PADDING + (sample.value - self.low) * self.scale;
            let bin = free.clamp(PADDING, highest);
            let whole = bin.floor();
            let first = whole as usize - 1;
            let weights = window(bin - whole);
            for (tap, weight) in weights.into_iter().enumerate() {
                part.histogram[point.bin * BINS + first + tap] += weight;
            }
            let mut term = Term {
                fixed: point.bin,
                first,
                slopes: window_slope(bin - whole),
                change: [0.0; 6],
            };
            // What lies beyond the range stays at its end.
            if free == bin {
                let slope = sample.gradient.map(|value| value * self.scale);
                for axis in 0..3 {
                    let mut unit = [0.0; 3];
                    unit[axis] = 1.0 / HEAD;
                    term.change[axis] = dot(slope, cross(unit, turned));
                    term.change[3 + axis] = slope[axis];
                }
            }
            part.terms.push(term);
        }
        part
    }
}

fn entropy(probabilities: &[f64; BINS]) -> f64 {
    let mut sum = 0.0;
    for probability in probabilities {
        if *probability > 0.0 {
            sum -= probability * probability.ln();
        }
    }
    sum
}

/// The places of samples in a unit cube: evenly spread for any count, and on no lattice that could
/// meet the voxels' own (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).
fn spread(number: usize) -> Vector {
    // The real root of x^4 = x + 1.
    const ROOT: f64 = 1.220_744_084_605_759_5;
    let mut power = 1.0;
    [0, 1, 2].map(|_| {
        power /= ROOT;
        (0.5 + power * (number + 1) as f64).fract()
    })
}
