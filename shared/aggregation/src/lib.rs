//! Checked updates become the next global model: in site order, range by range, never holding whole
//! models.
//!
//! Sums run in `f64` over the sites in the order of their names, so neither the order of arrival
//! nor the size of the ranges changes a bit of the result.

mod buffered;
mod pipeline;

pub use buffered::Versions;
use pipeline::{Block, Shared, blocks, in_order, shared};
use protocol::codec::transfer::Arrived;
use protocol::coordinator::Contribution;
use protocol::parameters::LEAST_VARIANCE;
use protocol::parameters::{Kind, Manifest, ParametersError, ParametersId, STEM, to_bytes};
use protocol::settings::{Aggregation, Input};
use std::ops::Range;

/// Values handled at a time: with its sums and what is read for it, a block stays in a core's
/// cache.
pub const BLOCK: usize = 1 << 14;

/// Where a stored parameter vector is read from, range by range.
pub trait Source: Send {
    /// Why reading failed.
    type Error: Send;

    /// Fills `out` with the values from index `start` on.
    ///
    /// # Errors
    /// Whatever the storage says.
    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error>;
}

impl Source for &[f32] {
    type Error = std::convert::Infallible;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self[start..start + out.len()]);
        Ok(())
    }
}

/// A stored update whose every value was looked at: as long as the manifest says, finite, and
/// hashing to its name. It comes from [`Checked::arrived`], where that was seen on the way, or from
/// [`Checked::decoded`] and [`Checked::check`], which read it; nothing else is ever averaged.
#[derive(Debug)]
pub struct Checked<S> {
    parameters: ParametersId,
    source: S,
}

/// Why an update is refused, or no average can be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum AggregateError<E> {
    /// A value that is no number.
    #[error(transparent)]
    Parameters(ParametersError),
    /// The bytes are not what was announced.
    #[error("the values hash to {found}, not to {expected}")]
    Hash {
        /// What was announced.
        expected: ParametersId,
        /// What the values hash to.
        found: ParametersId,
    },
    /// The update is absurdly far from the model that it started from.
    #[error(
        "it is {distance:.3e} away from the model that it started from, more than {MOST_TIMES} times that model's size, {size:.3e}"
    )]
    Far {
        /// The euclidean norm of the difference.
        distance: f64,
        /// The euclidean norm of the model.
        size: f64,
    },
    /// A site's update from one model was given twice, or under another site's summary.
    #[error("the update of {0} does not fit its summary, or stands twice")]
    Mismatch(String),
    /// A model that an update started from is not there.
    #[error("the model of round {0}, from which an update started, is not there")]
    Base(u32),
    /// No update has any weight.
    #[error("no update has any weight")]
    Empty,
    /// Reading or writing failed.
    #[error("{0}")]
    Storage(E),
}

/// How many times its own size a model may be changed by one training, taken for 1 where it is
/// smaller. A sound training stays far below.
const MOST_TIMES: f64 = 1000.0;

impl<S: Source> Checked<S> {
    /// How far the update went from `start`, the model that its site started from: the euclidean
    /// norm of the difference.
    ///
    /// # Errors
    /// [`AggregateError::Parameters`] for a running variance below zero, [`AggregateError::Far`]
    /// for a distance that no training goes, [`AggregateError::Storage`].
    pub fn measure(
        &mut self,
        start: &mut S,
        manifest: &Manifest,
    ) -> Result<f64, AggregateError<S::Error>> {
        let length = BLOCK.min(manifest.len());
        let (mut learnt, mut base) = (vec![0.0f32; length], vec![0.0f32; length]);
        let (mut difference, mut size) = (0.0f64, 0.0f64);
        for range in blocks(0..manifest.len()) {
            let (learnt, base) = (&mut learnt[..range.len()], &mut base[..range.len()]);
            self.source
                .read(range.start, learnt)
                .map_err(AggregateError::Storage)?;
            start
                .read(range.start, base)
                .map_err(AggregateError::Storage)?;
            for (value, before) in learnt.iter().zip(&*base) {
                let (value, before) = (f64::from(*value), f64::from(*before));
                difference += (value - before) * (value - before);
                size += before * before;
            }
        }
        self.check_variances(manifest)?;
        let (distance, size) = (difference.sqrt(), size.sqrt());
        if distance > MOST_TIMES * size.max(1.0) {
            return Err(AggregateError::Far { distance, size });
        }
        Ok(distance)
    }

    /// Refuses running variances below zero.
    fn check_variances(&mut self, manifest: &Manifest) -> Result<(), AggregateError<S::Error>> {
        for (spec, range) in manifest.ranges().filter(|(spec, _)| spec.is_variance()) {
            let mut values = vec![0.0f32; range.len()];
            self.source
                .read(range.start, &mut values)
                .map_err(AggregateError::Storage)?;
            if let Some(index) = values.iter().position(|value| *value < LEAST_VARIANCE) {
                let (tensor, value) = (spec.name.clone(), values[index]);
                return Err(AggregateError::Parameters(ParametersError::Variance {
                    tensor,
                    index,
                    value,
                }));
            }
        }
        Ok(())
    }

    /// Takes an update that a transfer brought, checked while it arrived, unless a value is not
    /// finite. `source` reads what the transfer stored.
    ///
    /// # Errors
    /// [`AggregateError::Parameters`].
    pub fn arrived(
        source: S,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<Self, AggregateError<S::Error>> {
        match arrived.not_finite() {
            Some(at) => Err(AggregateError::Parameters(not_finite(
                manifest,
                at as usize,
            ))),
            None => Ok(Self {
                parameters: arrived.header().parameters,
                source,
            }),
        }
    }

    /// Takes an update that a transfer brought in another encoding, unless a decoded value is not
    /// finite. `source` decodes what the transfer stored.
    ///
    /// # Errors
    /// [`AggregateError::Parameters`] or [`AggregateError::Storage`].
    pub fn decoded(
        mut source: S,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<Self, AggregateError<S::Error>> {
        look_at(&mut source, manifest, |_| ())?;
        Ok(Self {
            parameters: arrived.header().parameters,
            source,
        })
    }

    /// Reads a stored update once and refuses it unless it is finite and hashes to `parameters`.
    /// Its length is `manifest`'s, or the source fails to give the values.
    ///
    /// # Errors
    /// [`AggregateError::Parameters`], [`AggregateError::Hash`] or [`AggregateError::Storage`].
    pub fn check(
        mut source: S,
        manifest: &Manifest,
        parameters: ParametersId,
    ) -> Result<Self, AggregateError<S::Error>> {
        let mut hasher = blake3::Hasher::new();
        look_at(&mut source, manifest, |block| {
            hasher.update(&to_bytes(block));
        })?;
        let found = ParametersId(*hasher.finalize().as_bytes());
        if found != parameters {
            return Err(AggregateError::Hash {
                expected: parameters,
                found,
            });
        }
        Ok(Self { parameters, source })
    }
}

/// Reads all values, block after block, and refuses those that are not finite.
fn look_at<S: Source>(
    source: &mut S,
    manifest: &Manifest,
    mut see: impl FnMut(&[f32]),
) -> Result<(), AggregateError<S::Error>> {
    let mut values = vec![0.0f32; BLOCK.min(manifest.len())];
    for range in blocks(0..manifest.len()) {
        let block = &mut values[..range.len()];
        source
            .read(range.start, block)
            .map_err(AggregateError::Storage)?;
        if let Some(bad) = block.iter().position(|value| !value.is_finite()) {
            return Err(AggregateError::Parameters(not_finite(
                manifest,
                range.start + bad,
            )));
        }
        see(block);
    }
    Ok(())
}

fn not_finite(manifest: &Manifest, at: usize) -> ParametersError {
    let found = manifest.ranges().find(|(_, range)| range.contains(&at));
    let (tensor, index) = found.map_or((String::new(), at), |(spec, range)| {
        (spec.name.clone(), at - range.start)
    });
    ParametersError::NotFinite { tensor, index }
}

/// A run of values that the same sites are averaged over.
struct Segment {
    range: Range<usize>,
    /// The sequence whose stem channels these are; `None` for everything that all sites teach.
    sequence: Option<usize>,
    /// These are statistics of normalisation layers.
    statistic: bool,
}

/// What is averaged: the same model, and by which rule.
#[derive(Clone, Copy, Debug)]
pub struct Average<'a> {
    /// The tensors.
    pub manifest: &'a Manifest,
    /// Which of the stem's channels belong to which sequence.
    pub input: &'a Input,
    /// The rule.
    pub rule: Aggregation,
}

impl Segment {
    /// Whether a site's update has anything to say here.
    fn teaches(&self, contribution: &Contribution) -> bool {
        self.sequence
            .is_none_or(|sequence| contribution.sequences.contains(sequence))
    }
}

impl Average<'_> {
    /// The model in runs of values; those of another kind apart where `by_kind`.
    fn segments(&self, by_kind: bool) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (spec, range) in self.manifest.ranges() {
            let statistic = by_kind && spec.kind == Kind::RunningStatistic;
            let stem = self.rule == Aggregation::SequenceAware && spec.name == STEM;
            match spec.shape.as_slice() {
                [out, channels, height, width] if stem && *channels == self.input.channels() => {
                    let (block, sequences) = (
                        self.input.slices * height * width,
                        self.input.sequences.len(),
                    );
                    segments.extend((0..out * sequences).map(|index| {
                        let start = range.start + index * block;
                        Segment {
                            range: start..start + block,
                            sequence: Some(index % sequences),
                            statistic,
                        }
                    }));
                }
                _ => match segments.last_mut() {
                    Some(last) if last.sequence.is_none() && last.statistic == statistic => {
                        last.range.end = range.end
                    }
                    _ => segments.push(Segment {
                        range,
                        sequence: None,
                        statistic,
                    }),
                },
            }
        }
        segments
    }

    /// Averages `updates`, weighted by slices, and gives the new model to `write`, block after
    /// block in order. Where nobody holds a sequence its stem channels stay as they are in `start`.
    ///
    /// The result of one update alone is that update, bit for bit.
    ///
    /// # Errors
    /// [`AggregateError::Mismatch`] for a site that stands twice or whose values are not those of
    /// its summary, [`AggregateError::Empty`] without weight, [`AggregateError::Storage`] from the
    /// sources or from `write`.
    pub fn run<S: Source>(
        &self,
        start: S,
        updates: Vec<(Contribution, Checked<S>)>,
        write: impl FnMut(&[f32]) -> Result<(), S::Error> + Send,
    ) -> Result<(), AggregateError<S::Error>> {
        let (start, updates) = (Shared::new(start), shared(in_site_order(updates)?));
        let make = |Block {
                        segment,
                        start: at,
                        values,
                        sums,
                        update: learnt,
                        ..
                    }: &mut Block<'_>| {
            let taught = || {
                updates
                    .iter()
                    .filter(|(contribution, _)| segment.teaches(contribution))
            };
            let weight: f64 = taught()
                .map(|(contribution, _)| contribution.slices as f64)
                .sum();
            if weight == 0.0 {
                return start.read(*at, values);
            }
            for (contribution, update) in taught() {
                update.read(*at, learnt)?;
                let slices = contribution.slices as f64;
                sums.iter_mut()
                    .zip(&*learnt)
                    .for_each(|(sum, value)| *sum += slices * f64::from(*value));
            }
            values
                .iter_mut()
                .zip(&*sums)
                .for_each(|(value, sum)| *value = (sum / weight) as f32);
            Ok(())
        };
        in_order(&self.segments(false), make, write)
    }
}

type Updates<S> = Vec<(Contribution, Checked<S>)>;

fn in_site_order<S: Source>(
    mut updates: Updates<S>,
) -> Result<Updates<S>, AggregateError<S::Error>> {
    fn name(contribution: &Contribution) -> (&str, u32) {
        (&contribution.site, contribution.base)
    }
    updates.sort_by(|(a, _), (b, _)| name(a).cmp(&name(b)));
    let twice = updates
        .windows(2)
        .find(|pair| name(&pair[0].0) == name(&pair[1].0))
        .map(|pair| &pair[0]);
    let foreign = updates
        .iter()
        .find(|(contribution, update)| contribution.parameters != update.parameters);
    if let Some((contribution, _)) = twice.or(foreign) {
        return Err(AggregateError::Mismatch(contribution.site.clone()));
    }
    if updates
        .iter()
        .all(|(contribution, _)| contribution.slices == 0)
    {
        return Err(AggregateError::Empty);
    }
    Ok(updates)
}

#[cfg(test)]
mod tests;
