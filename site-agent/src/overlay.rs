//! Pictures of a site's representative cases: its best, its median and its worst by Dice, one axial
//! slice of each, with the model's probabilities on the left and what it found, missed and wrongly
//! called on the right.
//!
//! ```text
//! counts -> which cases -> one slice of each, asked of the model once more (slice) -> two panels (paint)
//!        -> PNG and an index in the work folder (folder), a JPEG that fits a frame for the coordinator (encode)
//! ```

mod encode;
mod folder;
mod lesions;
mod paint;
mod slice;

use crate::case::{CachedCase, CaseFileError, Prepared};
use crate::device::Device;
use crate::evaluate::shown;
use crate::model::ModelError;
use crate::predictor::{Predictor, PredictorError};
use folder::Entry;
pub(crate) use lesions::picture_of_lesions;
use metrics::score::AtThreshold;
use protocol::overlay::{Overlay, Representative, representative};
use protocol::parameters::Parameters;
use protocol::settings::Federation;
use serde::Deserialize;
use slice::Slice;
use std::io;
use std::path::Path;

/// What a site permits to be made of its representative cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlays {
    /// No pictures.
    Off,
    /// Pictures that stay in the work folder.
    #[default]
    Keep,
    /// The same, and the coordinator may show them in its report.
    Send,
}

/// Why pictures could not be made. The words hold no patient data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
    /// The parameters do not fit the network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prepared case could not be read back.
    #[error("case {case}: {error}")]
    Unreadable {
        /// The case's place in the list.
        case: u32,
        /// What went wrong.
        error: CaseFileError,
    },
    /// A case whose counts say lesion and that has none, or no image.
    #[error("case {case} shows no lesion to draw")]
    Nothing {
        /// The case's place in the list.
        case: u32,
    },
    /// The model could not look at the case.
    #[error(transparent)]
    Infer(#[from] PredictorError),
    /// A picture could not be encoded.
    #[error("a picture could not be encoded: {0}")]
    Encode(#[from] image::ImageError),
    /// A picture does not get small enough to be sent.
    #[error("the picture of case {case} does not fit a message")]
    Large {
        /// The case's place in the list.
        case: u32,
    },
    /// The work folder cannot be written.
    #[error("the folder overlays in the work folder: {0}")]
    Disk(#[from] io::Error),
}

/// What was scored: the pictures show the same.
pub(crate) struct Scene<'a> {
    /// The cases that were scored, in the site's order.
    pub(crate) cases: &'a [&'a CachedCase],
    pub(crate) federation: &'a Federation,
    /// The model, or those whose consensus was scored.
    pub(crate) models: &'a [Parameters],
    /// The probability from which a voxel is lesion.
    pub(crate) threshold: f32,
    pub(crate) device: &'a Device,
}

impl Scene<'_> {
    /// Draws the representative cases into the work folder, in place of what an earlier report left
    /// there, and gives what the site permits to send.
    ///
    /// `counted` has the place and the counts of each case that was scored.
    ///
    /// # Errors
    /// See [`OverlayError`]. What is in the folder may then be a part.
    pub(crate) fn draw(
        &self,
        counted: &[(u32, AtThreshold)],
        permitted: Overlays,
        work: &Path,
    ) -> Result<Vec<Overlay>, OverlayError> {
        let chosen = representative(counted.iter().copied());
        if permitted == Overlays::Off || chosen.is_empty() {
            return Ok(Vec::new());
        }
        let (model, input) = (&self.federation.model, &self.federation.input);
        let reader = Predictor::new(self.models, (model, input), 1, self.device)?;
        let folder = folder::clear(work)?;
        let (mut entries, mut overlays) = (Vec::new(), Vec::new());
        for one in chosen {
            let (id, slice) = self.slice(&reader, one)?;
            let file = folder::put(
                &folder,
                one.case,
                &encode::png(&paint::panels(&slice, paint::SIDE))?,
            )?;
            if permitted == Overlays::Send {
                overlays.push(Overlay {
                    case: one.case,
                    picture: encode::fitted(&slice, one.case)?,
                });
            }
            let background = input
                .sequences
                .get(slice.sequence)
                .cloned()
                .unwrap_or_default();
            entries.push(Entry {
                file,
                case: id,
                of: one,
                slice: slice.index,
                background,
            });
        }
        folder::put_index(&folder, self.threshold, permitted, &entries)?;
        Ok(overlays)
    }

    /// A case's name and its slice with most lesion, seen by the model.
    fn slice(
        &self,
        reader: &Predictor,
        one: Representative,
    ) -> Result<(String, Slice), OverlayError> {
        let nothing = || OverlayError::Nothing { case: one.case };
        let case = self.cases.get(one.case as usize).ok_or_else(nothing)?;
        let prepared = case.load().map_err(|error| OverlayError::Unreadable {
            case: one.case,
            error,
        })?;
        let index = slice::fullest(&prepared).ok_or_else(nothing)?;
        let logits = self.logits(reader, &prepared, index)?;
        let slice = Slice::of(&prepared, index, &logits, self.threshold).ok_or_else(nothing)?;
        Ok((prepared.id, slice))
    }

    /// One slice's logits on the patient's own grid: what scoring saw there, since the network
    /// looks at each slice for itself.
    fn logits(
        &self,
        reader: &Predictor,
        prepared: &Prepared,
        index: usize,
    ) -> Result<Vec<f32>, PredictorError> {
        let [_, height, width] = prepared.native.grid.dims;
        let kept = shown(self.federation).intersection(prepared.present());
        let logits = reader.logits(prepared, index..index + 1, kept, |_, _| {})?;
        Ok(logits[index * height * width..][..height * width].to_vec())
    }
}

#[cfg(test)]
mod tests;
