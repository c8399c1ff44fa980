//! The search for the move with the most mutual information, from coarse to fine.

use super::error::RegisterError;
use super::field::{Field, Foreground};
use super::information::{Pair, Value};
use super::judge::{Evidence, Judgement};
use super::rigid::{HEAD, Rigid};
use crate::nifti::Volume;
use crate::parallel::in_parallel;
use crate::vector::{Vector, difference};

/// Voxels that an image must have along each axis.
const LEAST_SIDE: usize = 8;

/// One scale of the search.
struct Scale {
    /// The Gaussian that both images are smoothed with, millimetres.
    sigma: f64,
    samples: usize,
    /// Steps that are shorter end the search, millimetres.
    shortest: f64,
}

const SCALES: [Scale; 3] = [
    Scale {
        sigma: 4.0,
        samples: 16_000,
        shortest: 0.05,
    },
    Scale {
        sigma: 2.0,
        samples: 40_000,
        shortest: 0.01,
    },
    Scale {
        sigma: 1.0,
        samples: 120_000,
        shortest: 0.002,
    },
];

/// Samples by which starts are compared, and how many of the best are followed.
const STARTING_SAMPLES: usize = 4_000;
const STARTS: usize = 3;
/// Turns that are tried about each axis, degrees.
const STARTING_TURN: f64 = 15.0;
/// Moves that are further apart are different ones, millimetres.
const DIFFERENT: f64 = 8.0;
/// What another move must have of the best one's information to be as good.
const AS_GOOD: f64 = 0.98;
const MOST_STEPS: usize = 80;

/// A move, and what is to be thought of it.
#[derive(Clone, Debug)]
pub struct Registration {
    /// From the fixed image's space to the moving one's: where to look a value up.
    pub lookup: Rigid,
    pub judgement: Judgement,
}

/// Both images at one scale.
struct Fields {
    fixed: Field,
    moving: Field,
}

/// Where a search came to.
#[derive(Clone, Copy)]
struct End {
    rigid: Rigid,
    value: Value,
    has_converged: bool,
}

/// Finds the rigid move that brings the moving image onto the fixed one.
///
/// # Errors
/// Images that are too small or have one value only.
pub fn register(
    fixed: &Volume,
    moving: &Volume,
    threads: usize,
) -> Result<Registration, RegisterError> {
    for volume in [fixed, moving] {
        if volume.grid.dims.iter().any(|side| *side < LEAST_SIDE) {
            return Err(RegisterError::Small(volume.grid.dims));
        }
    }
    let seen = Foreground::of(fixed).ok_or(RegisterError::Constant)?;
    let moving_seen = Foreground::of(moving).ok_or(RegisterError::Constant)?;
    let mut ends: Vec<End> = Vec::new();
    let finest = coarsest_step(fixed, moving) / 2.0;
    for scale in &SCALES {
        let sigma = scale.sigma.max(finest);
        let fields = Fields::new(fixed, moving, sigma, threads)?;
        let pair = Pair::new(
            fixed,
            &fields.fixed,
            &seen,
            &fields.moving,
            &moving_seen,
            scale.samples,
            threads,
        );
        let mut starts = if ends.is_empty() {
            starts(&pair, fixed, moving, seen.centre, moving_seen.centre)
        } else {
            ends.iter().map(|end| end.rigid).collect()
        };
        // What is aligned must not get worse, not by the coarse scales either.
        let stored = Rigid::new([0.0; 3], [0.0; 3], seen.centre);
        if is_better(&pair, &stored, &starts) && !starts.contains(&stored) {
            starts.push(stored);
        }
        ends.clear();
        for start in starts {
            if let Some(end) = climb(&pair, start, scale) {
                ends.push(end);
            }
        }
        ends.sort_by(|a, b| score(&b.value).total_cmp(&score(&a.value)));
        let Some(best) = ends.first().copied() else {
            return Err(RegisterError::Apart);
        };
        // What ended where the best one did says nothing more.
        ends.retain(|end| {
            best.rigid.apart(&end.rigid) > DIFFERENT && score(&end.value) > 0.8 * score(&best.value)
        });
        ends.truncate(1);
        ends.insert(0, best);
        if scale.sigma == SCALES[SCALES.len() - 1].sigma {
            let judgement = judge(&pair, &ends, scale.samples);
            return Ok(Registration {
                lookup: best.rigid,
                judgement,
            });
        }
    }
    Err(RegisterError::Apart)
}

/// Judges a move that another program found.
///
/// # Errors
/// As [`register`].
pub(super) fn judged(
    fixed: &Volume,
    moving: &Volume,
    lookup: Rigid,
    threads: usize,
) -> Result<Registration, RegisterError> {
    let scale = &SCALES[SCALES.len() - 1];
    let seen = Foreground::of(fixed).ok_or(RegisterError::Constant)?;
    let moving_seen = Foreground::of(moving).ok_or(RegisterError::Constant)?;
    let sigma = scale.sigma.max(coarsest_step(fixed, moving) / 2.0);
    let fields = Fields::new(fixed, moving, sigma, threads)?;
    let pair = Pair::new(
        fixed,
        &fields.fixed,
        &seen,
        &fields.moving,
        &moving_seen,
        scale.samples,
        threads,
    );
    let value = pair
        .value(&lookup, usize::MAX)
        .ok_or(RegisterError::Apart)?;
    let end = End {
        rigid: lookup,
        value,
        has_converged: true,
    };
    Ok(Registration {
        lookup,
        judgement: judge(&pair, &[end], scale.samples),
    })
}

/// The longest step between voxels of two images. What is smoothed less than half of it is not
/// smooth between the voxels, and the search would be drawn to them.
fn coarsest_step(fixed: &Volume, moving: &Volume) -> f64 {
    let mut longest: f32 = 0.0;
    for volume in [fixed, moving] {
        for step in volume.grid.spacing_mm {
            longest = longest.max(step);
        }
    }
    f64::from(longest)
}

impl Fields {
    fn new(
        fixed: &Volume,
        moving: &Volume,
        sigma: f64,
        threads: usize,
    ) -> Result<Self, RegisterError> {
        let volumes = [fixed, moving];
        let mut both = in_parallel(
            &volumes,
            threads,
            &|volume| Field::new(volume, sigma),
            &mut |_, _| (),
        )
        .into_iter();
        match (both.next().flatten(), both.next().flatten()) {
            (Some(fixed), Some(moving)) => Ok(Self { fixed, moving }),
            _ => Err(RegisterError::Constant),
        }
    }
}

/// What moves are compared by: few samples can have much information by chance.
fn score(value: &Value) -> f64 {
    value.information * value.inside
}

/// The best places to start from.
fn starts(
    pair: &Pair<'_>,
    fixed: &Volume,
    moving: &Volume,
    centre: Vector,
    moving_centre: Vector,
) -> Vec<Rigid> {
    let shifts = [
        [0.0; 3],
        difference(moving_centre, centre),
        difference(middle(moving), middle(fixed)),
    ];
    let mut turns = vec![[0.0; 3]];
    for axis in 0..3 {
        for sign in [-1.0, 1.0] {
            let mut turn = [0.0; 3];
            turn[axis] = sign * STARTING_TURN.to_radians();
            turns.push(turn);
        }
    }
    let mut found: Vec<(f64, Rigid)> = Vec::new();
    for shift in shifts {
        for turn in &turns {
            let rigid = Rigid::new(*turn, shift, centre);
            if let Some(value) = pair.value(&rigid, STARTING_SAMPLES) {
                found.push((score(&value), rigid));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.truncate(STARTS);
    found.into_iter().map(|(_, rigid)| rigid).collect()
}

/// Whether a move has a higher score than all others.
fn is_better(pair: &Pair<'_>, rigid: &Rigid, others: &[Rigid]) -> bool {
    let Some(value) = pair.value(rigid, usize::MAX) else {
        return false;
    };
    for other in others {
        if let Some(there) = pair.value(other, usize::MAX)
            && score(&there) >= score(&value)
        {
            return false;
        }
    }
    true
}

/// The middle of an image's grid.
fn middle(volume: &Volume) -> Vector {
    let [depth, height, width] = volume.grid.dims;
    let half = [width, height, depth].map(|side| (side as f64 - 1.0) / 2.0);
    volume.source.canonical_affine().apply(half)
}

/// Climbs to the next maximum: quasi-Newton steps (BFGS; Nocedal and Wright, Numerical Optimization,
/// 2006, chapter 6) that are halved until they rise. Turns count in millimetres at the head's radius,
/// so all six steps are alike.
fn climb(pair: &Pair<'_>, start: Rigid, scale: &Scale) -> Option<End> {
    let mut rigid = start;
    let mut value = pair.value(&rigid, usize::MAX)?;
    let mut curvature = Curvature::unknown(&value.gradient, scale.sigma);
    let mut short_steps = 0;
    for _ in 0..MOST_STEPS {
        let mut step = curvature.times(&value.gradient);
        let mut rise = inner(&step, &value.gradient);
        if rise.is_nan() || rise <= 0.0 {
            curvature = Curvature::unknown(&value.gradient, scale.sigma);
            step = curvature.times(&value.gradient);
            rise = inner(&step, &value.gradient);
        }
        let size = inner(&step, &step).sqrt();
        // Also where the gradient is zero.
        if size.is_nan() || size == 0.0 {
            return Some(End {
                rigid,
                value,
                has_converged: true,
            });
        }
        let mut factor = (2.0 * scale.sigma / size).min(1.0);
        let mut taken = None;
        while factor * size > scale.shortest / 4.0 {
            let mut shorter = step;
            for part in &mut shorter {
                *part *= factor;
            }
            let to = rigid.stepped(&shorter);
            if let Some(there) = pair.value(&to, usize::MAX)
                && score(&there) > 0.8 * score(&value)
                && there.information > value.information + 1e-4 * factor * rise
            {
                taken = Some((to, there, shorter));
                break;
            }
            factor /= 2.0;
        }
        let Some((to, there, step)) = taken else {
            if curvature.is_fresh {
                return Some(End {
                    rigid,
                    value,
                    has_converged: true,
                });
            }
            curvature = Curvature::unknown(&value.gradient, scale.shortest * 4.0);
            continue;
        };
        curvature.learn(&step, &value.gradient, &there.gradient);
        (rigid, value) = (to, there);
        if inner(&step, &step).sqrt() < scale.shortest {
            short_steps += 1;
        } else {
            short_steps = 0;
        }
        if short_steps == 2 {
            return Some(End {
                rigid,
                value,
                has_converged: true,
            });
        }
    }
    Some(End {
        rigid,
        value,
        has_converged: false,
    })
}

fn inner(a: &[f64; 6], b: &[f64; 6]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The inverse of the second derivatives, its sign turned: from a gradient to a step.
struct Curvature {
    rows: [[f64; 6]; 6],
    is_fresh: bool,
}

impl Curvature {
    /// A first step along the gradient, `length` millimetres long.
    fn unknown(gradient: &[f64; 6], length: f64) -> Self {
        let steepness = inner(gradient, gradient).sqrt();
        let scale = if steepness > 0.0 {
            length / steepness
        } else {
            0.0
        };
        let mut rows = [[0.0; 6]; 6];
        for (place, row) in rows.iter_mut().enumerate() {
            row[place] = scale;
        }
        Self {
            rows,
            is_fresh: true,
        }
    }

    fn times(&self, gradient: &[f64; 6]) -> [f64; 6] {
        self.rows.map(|row| inner(&row, gradient))
    }

    /// Takes in how the gradient changed over a step.
    fn learn(&mut self, step: &[f64; 6], before: &[f64; 6], after: &[f64; 6]) {
        let mut change = [0.0; 6];
        for place in 0..6 {
            change[place] = before[place] - after[place];
        }
        let product = inner(step, &change);
        if product.is_nan() || product <= 1e-12 {
            return;
        }
        if self.is_fresh {
            // The first step's length was a guess; this is the usual better one.
            let scale = product / inner(&change, &change);
            for (place, row) in self.rows.iter_mut().enumerate() {
                row[place] = scale;
            }
        }
        self.is_fresh = false;
        let turned = self.times(&change);
        let factor = (1.0 + inner(&change, &turned) / product) / product;
        for row in 0..6 {
            for column in 0..6 {
                self.rows[row][column] += factor * step[row] * step[column]
                    - (turned[row] * step[column] + step[row] * turned[column]) / product;
            }
        }
    }
}

fn judge(pair: &Pair<'_>, ends: &[End], samples: usize) -> Judgement {
    let best = ends[0];
    let stored = Rigid::new([0.0; 3], [0.0; 3], best.rigid.centre);
    let before = pair.value(&stored, usize::MAX);
    let mut wrong: f64 = 0.0;
    for axis in 0..6 {
        for sign in [-1.0, 1.0] {
            let mut step = [0.0; 6];
            let size = if axis < 3 {
                10f64.to_radians() * HEAD
            } else {
                10.0
            };
            step[axis] = sign * size;
            if let Some(value) = pair.value(&best.rigid.stepped(&step), samples / 4) {
                wrong = wrong.max(value.information);
            }
        }
    }
    let mut other = None;
    if let Some(second) = ends.get(1)
        && score(&second.value) > AS_GOOD * score(&best.value)
    {
        other = Some(best.rigid.apart(&second.rigid));
    }
    let evidence = Evidence {
        before,
        after: best.value,
        wrong,
        has_converged: best.has_converged,
        other,
    };
    Judgement::of(&evidence, &best.rigid)
}
