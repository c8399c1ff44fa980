//! `[input]`: what the model sees.

use super::Federation;
use super::registry::{DefaultValue, Rule, Setting, Table, optional, plain};
use crate::identity::is_valid_name;
use metrics::sequence::{MAX_SEQUENCES, SequenceSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the model sees: the channels are `sequences * slices`, a sequence's slices contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Sequence names in channel order.
    pub sequences: Vec<String>,
    /// Contiguous axial slices of each sequence, an odd number; the centre one is segmented.
    pub slices: usize,
    /// Height and width in pixels.
    pub plane: usize,
    /// In-plane millimetres per pixel to resample to; `None` keeps each case's own and only crops
    /// or pads.
    pub spacing_mm: Option<f32>,
    /// Two percentiles of each image's values in the brain. Values beyond them by more than three
    /// times the distance between them are clipped there before the z-score. `None` clips nothing;
    /// settings and models from before this key have `None`.
    #[serde(default)]
    pub clip_percentiles: Option<[f32; 2]>,
}

impl Input {
    /// The default: images of nothing but tissue are not changed by it.
    pub const CLIP_PERCENTILES: [f32; 2] = [1.0, 99.0];
    /// How the file writes that nothing is clipped.
    const CLIPS_NOTHING: [f32; 2] = [0.0, 100.0];

    /// How many channels the stem has.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.sequences.len() * self.slices
    }

    /// The set of all sequences.
    #[must_use]
    pub fn all(&self) -> SequenceSet {
        SequenceSet::full(self.sequences.len())
    }
}

/// [`Input`] as the file writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputToml {
    pub(super) sequences: Vec<String>,
    #[serde(default = "default_slices")]
    slices: usize,
    plane: Option<usize>,
    spacing_mm: Option<f32>,
    #[serde(default = "default_clip_percentiles")]
    clip_percentiles: [f32; 2],
}

fn default_slices() -> usize {
    5
}

fn default_clip_percentiles() -> [f32; 2] {
    Input::CLIP_PERCENTILES
}

impl InputToml {
    pub(super) fn resolve(self, preset_plane: usize) -> Input {
        let clip_percentiles = if self.clip_percentiles == Input::CLIPS_NOTHING {
            None
        } else {
            Some(self.clip_percentiles)
        };
        Input {
            sequences: self.sequences,
            slices: self.slices,
            plane: self.plane.unwrap_or(preset_plane),
            spacing_mm: self.spacing_mm,
            clip_percentiles,
        }
    }
}

fn sequences_work(settings: &Federation) -> bool {
    let names = &settings.input.sequences;
    let different: BTreeSet<&String> = names.iter().collect();
    (1..=MAX_SEQUENCES).contains(&names.len())
        && different.len() == names.len()
        && names.iter().all(|name| is_valid_name(name))
}

fn clip_percentiles_work(settings: &Federation) -> bool {
    match settings.input.clip_percentiles {
        None => true,
        Some([low, high]) => (0.0..=25.0).contains(&low) && (75.0..=100.0).contains(&high),
    }
}

pub(super) const TABLE: Table = Table {
    name: "input",
    meaning: "What the model sees",
    settings: &[
        Setting {
            key: "input.sequences",
            kind: "list of names",
            default: DefaultValue::Required,
            rule: Rule::Value(
                "one to eight different names of letters, digits, '-', '_' and '.'",
                sequences_work,
            ),
            meaning: "The MRI sequences, in channel order.",
            value: |settings| plain(&settings.input.sequences),
        },
        Setting {
            key: "input.slices",
            kind: "integer, slices",
            default: DefaultValue::Value("5"),
            rule: Rule::Value(
                "an odd number up to 31, so that there is a centre slice",
                |settings| settings.input.slices % 2 == 1 && settings.input.slices <= 31,
            ),
            meaning: "Contiguous axial slices of each sequence; the centre one is segmented.",
            value: |settings| plain(settings.input.slices),
        },
        Setting {
            key: "input.plane",
            kind: "integer, pixels",
            default: DefaultValue::Preset(["256", "128", "64"]),
            rule: Rule::Value("pixels between 16 and 1024", |settings| {
                (16..=1024).contains(&settings.input.plane)
            }),
            meaning: "Height and width of what the model sees at once.",
            value: |settings| plain(settings.input.plane),
        },
        Setting {
            key: "input.spacing_mm",
            kind: "number, mm per pixel",
            default: DefaultValue::Unset("each case keeps its own"),
            rule: Rule::Value("between 0.1 and 20", |settings| {
                settings
                    .input
                    .spacing_mm
                    .is_none_or(|mm| (0.1..=20.0).contains(&mm))
            }),
            meaning: "In-plane spacing that every case is resampled to.",
            value: |settings| optional(settings.input.spacing_mm),
        },
        Setting {
            key: "input.clip_percentiles",
            kind: "list of two numbers, percentiles",
            default: DefaultValue::Value("[1.0, 99.0]"),
            rule: Rule::Value(
                "two percentiles, the first from 0 to 25, the second from 75 to 100; [0, 100] \
                 clips nothing",
                clip_percentiles_work,
            ),
            meaning: "Values in the brain beyond these percentiles, by more than three times the \
                distance between them, are clipped.",
            value: |settings| {
                plain(
                    settings
                        .input
                        .clip_percentiles
                        .unwrap_or(Input::CLIPS_NOTHING),
                )
            },
        },
    ],
};
