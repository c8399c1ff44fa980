//! Buffered asynchronous aggregation (FedBuff): updates that started from different versions of the
//! model.

use super::{AggregateError, Average, Block, Checked, Contribution, Segment, Shared, Source};
use super::{in_order, in_site_order, shared};
use std::collections::BTreeMap;

/// The models that the updates of a buffer started from, and the newest, which they become the next
/// one of.
#[derive(Debug)]
pub struct Versions<S> {
    /// The newest version.
    pub newest: u32,
    /// Stored models by version: the newest, and every one that an update started from.
    pub models: BTreeMap<u32, S>,
    /// How far to go the way that the updates went: the server's learning rate.
    pub rate: f64,
}

impl<S: Source> Versions<Shared<S>> {
    fn read(
        &self,
        version: u32,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), AggregateError<S::Error>> {
        self.models
            .get(&version)
            .ok_or(AggregateError::Base(version))?
            .read(start, out)
    }

    /// What an update of this staleness keeps of its weight: 1/sqrt(1 + staleness), as in FedBuff.
    fn freshness(&self, contribution: &Contribution) -> f64 {
        (1.0 + f64::from(self.newest.saturating_sub(contribution.base)))
            .sqrt()
            .recip()
    }
}

impl Average<'_> {
    /// Moves the newest model the way that the updates went, and gives the next one to `write`,
    /// block after block:
    ///
    /// `next = newest + rate * sum_i(s_i n_i (u_i - b_i)) / sum_i(n_i)`
    ///
    /// with the update `u_i`, the version `b_i` that it started from, its slices `n_i` as its
    /// weight and `s_i = 1 / sqrt(1 + staleness)` (Nguyen et al. 2022, arXiv 2106.06639, with
    /// slices where it counts every update alike). The slices stand below without `s_i`: a buffer
    /// of old updates makes a smaller step. Where all updates started from the newest version and
    /// the rate is 1, this is [`Average::run`] up to rounding.
    ///
    /// Running statistics are drawn towards the updates' own, `u_i - newest` in place of `u_i -
    /// b_i`, and at a rate of 1 at most: a sum of differences could make a variance negative.
    ///
    /// # Errors
    /// As [`Average::run`]; [`AggregateError::Base`] for a version that is not among `versions`.
    pub fn run_buffered<S: Source>(
        &self,
        Versions {
            newest,
            models,
            rate,
        }: Versions<S>,
        updates: Vec<(Contribution, Checked<S>)>,
        write: impl FnMut(&[f32]) -> Result<(), S::Error> + Send,
    ) -> Result<(), AggregateError<S::Error>> {
        let models = models
            .into_iter()
            .map(|(version, model)| (version, Shared::new(model)));
        let versions = Versions {
            newest,
            models: models.collect(),
            rate,
        };
        let updates = shared(in_site_order(updates)?);
        let make = |Block {
                        segment,
                        start,
                        values: model,
                        sums,
                        update: values,
                        base,
                    }: &mut Block<'_>| {
            let taught = || {
                updates
                    .iter()
                    .filter(|(contribution, _)| segment.teaches(contribution))
            };
            let weight: f64 = taught()
                .map(|(contribution, _)| contribution.slices as f64)
                .sum();
            versions.read(newest, *start, model)?;
            for (contribution, update) in taught() {
                update.read(*start, values)?;
                if segment.statistic {
                    base.copy_from_slice(model);
                } else {
                    versions.read(contribution.base, *start, base)?;
                }
                let factor = versions.freshness(contribution) * contribution.slices as f64;
                add(sums, factor, values, base);
            }
            if weight > 0.0 {
                go(model, sums, step(rate, segment) / weight);
            }
            Ok(())
        };
        in_order(&self.segments(true), make, write)
    }
}

fn step(rate: f64, segment: &Segment) -> f64 {
    if segment.statistic {
        rate.min(1.0)
    } else {
        rate
    }
}

fn add(sums: &mut [f64], factor: f64, values: &[f32], base: &[f32]) {
    let differences = values
        .iter()
        .zip(base)
        .map(|(value, base)| f64::from(*value) - f64::from(*base));
    sums.iter_mut()
        .zip(differences)
        .for_each(|(sum, difference)| *sum += factor * difference);
}

/// Differences of wild updates may add up to more than an `f32` holds; a model of infinite numbers
/// could not be sent.
fn go(model: &mut [f32], sums: &[f64], step: f64) {
    let (least, most) = (f64::from(f32::MIN), f64::from(f32::MAX));
    for (value, sum) in model.iter_mut().zip(sums) {
        *value = (f64::from(*value) + step * sum).clamp(least, most) as f32;
    }
}
