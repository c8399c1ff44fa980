//! Updates that were looked at: nothing else is ever averaged.

use crate::pipeline::blocks;
use crate::{BLOCK, Source};
use protocol::codec::transfer::Arrived;
use protocol::coordinator::UpdateRejection;
use protocol::parameters::{LEAST_VARIANCE, Manifest, ParametersError, ParametersId, to_bytes};

/// A stored update whose every value was looked at: as long as the manifest says, finite, and
/// hashing to its name. It comes from [`Checked::arrived`], where that was seen on the way, or from
/// [`Checked::decoded`] and [`Checked::check`], which read it.
#[derive(Debug)]
pub struct Checked<S> {
    pub(crate) parameters: ParametersId,
    pub(crate) source: S,
}

/// Why an update was not taken.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CheckError<E> {
    /// The update is no update.
    #[error(transparent)]
    Rejected(UpdateRejection),
    /// Reading failed.
    #[error("{0}")]
    Storage(E),
}

/// How many times its own size a model may be changed by one training, taken for 1 where it is
/// smaller. A sound training stays far below. When all updates of a round are in, they are compared
/// with one another: `outlier_factor` in the settings.
const MOST_TIMES_MODEL: f64 = 1000.0;

impl<S: Source> Checked<S> {
    /// How far the update went from `start`, the model that its site started from: the euclidean
    /// norm of the difference.
    ///
    /// # Errors
    /// [`UpdateRejection::Values`] for a running variance below zero, [`UpdateRejection::Far`] for
    /// a distance that no training goes, [`CheckError::Storage`].
    pub fn measure(
        &mut self,
        start: &mut S,
        manifest: &Manifest,
    ) -> Result<f64, CheckError<S::Error>> {
        let length = BLOCK.min(manifest.len());
        let (mut learnt, mut base) = (vec![0.0f32; length], vec![0.0f32; length]);
        let (mut difference, mut size) = (0.0f64, 0.0f64);
        for range in blocks(0..manifest.len()) {
            let (learnt, base) = (&mut learnt[..range.len()], &mut base[..range.len()]);
            self.source
                .read(range.start, learnt)
                .map_err(CheckError::Storage)?;
            start.read(range.start, base).map_err(CheckError::Storage)?;
            for (value, before) in learnt.iter().zip(&*base) {
                let (value, before) = (f64::from(*value), f64::from(*before));
                difference += (value - before) * (value - before);
                size += before * before;
            }
        }
        self.check_variances(manifest)?;
        let (distance, size) = (difference.sqrt(), size.sqrt());
        if distance > MOST_TIMES_MODEL * size.max(1.0) {
            return Err(CheckError::Rejected(UpdateRejection::Far {
                distance,
                size,
                most_times: MOST_TIMES_MODEL,
            }));
        }
        Ok(distance)
    }

    /// Refuses running variances below zero.
    fn check_variances(&mut self, manifest: &Manifest) -> Result<(), CheckError<S::Error>> {
        for (spec, range) in manifest.ranges().filter(|(spec, _)| spec.is_variance()) {
            let mut values = vec![0.0f32; range.len()];
            self.source
                .read(range.start, &mut values)
                .map_err(CheckError::Storage)?;
            if let Some(index) = values.iter().position(|value| *value < LEAST_VARIANCE) {
                let (tensor, value) = (spec.name.clone(), values[index]);
                return Err(rejected(ParametersError::Variance {
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
    /// [`UpdateRejection::Values`].
    pub fn arrived(
        source: S,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<Self, CheckError<S::Error>> {
        match arrived.not_finite() {
            Some(at) => Err(rejected(not_finite(manifest, at as usize))),
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
    /// [`UpdateRejection::Values`] or [`CheckError::Storage`].
    pub fn decoded(
        mut source: S,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<Self, CheckError<S::Error>> {
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
    /// [`UpdateRejection::Values`], [`UpdateRejection::Hash`] or [`CheckError::Storage`].
    pub fn check(
        mut source: S,
        manifest: &Manifest,
        parameters: ParametersId,
    ) -> Result<Self, CheckError<S::Error>> {
        let mut hasher = blake3::Hasher::new();
        look_at(&mut source, manifest, |block| {
            hasher.update(&to_bytes(block));
        })?;
        let found = ParametersId(*hasher.finalize().as_bytes());
        if found != parameters {
            return Err(CheckError::Rejected(UpdateRejection::Hash {
                expected: parameters,
                found,
            }));
        }
        Ok(Self { parameters, source })
    }
}

/// Reads all values, block after block, and refuses those that are not finite.
fn look_at<S: Source>(
    source: &mut S,
    manifest: &Manifest,
    mut see: impl FnMut(&[f32]),
) -> Result<(), CheckError<S::Error>> {
    let mut values = vec![0.0f32; BLOCK.min(manifest.len())];
    for range in blocks(0..manifest.len()) {
        let block = &mut values[..range.len()];
        source
            .read(range.start, block)
            .map_err(CheckError::Storage)?;
        if let Some(bad) = block.iter().position(|value| !value.is_finite()) {
            return Err(rejected(not_finite(manifest, range.start + bad)));
        }
        see(block);
    }
    Ok(())
}

fn rejected<E>(error: ParametersError) -> CheckError<E> {
    CheckError::Rejected(UpdateRejection::Values(error))
}

fn not_finite(manifest: &Manifest, at: usize) -> ParametersError {
    let found = manifest.ranges().find(|(_, range)| range.contains(&at));
    let (tensor, index) = found.map_or((String::new(), at), |(spec, range)| {
        (spec.name.clone(), at - range.start)
    });
    ParametersError::NotFinite { tensor, index }
}
