//! What a model is, apart from its values, and the older form of that.

use super::ModelFileError;
use crate::operating::OperatingPoints;
use crate::settings::{Federation, Input, Model, SettingsError};
use serde::{Deserialize, Serialize};

/// The version that is written.
pub(super) const VERSION: &str = "2";
/// The version before: no hash in the file, and Youden's threshold alone.
const BEFORE: &str = "1";

/// What a model is, apart from its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// The federation's name.
    pub name: String,
    /// What the model sees.
    pub input: Input,
    /// The network.
    pub model: Model,
    /// The round that made it; 0 for an untrained one.
    pub round: u32,
    /// From which probability a voxel counts as lesion; empty where nothing was chosen yet, or was
    /// for another round's model.
    pub operating_points: OperatingPoints,
}

/// A card of the version before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    name: String,
    input: Input,
    model: Model,
    round: u32,
    threshold: Option<f32>,
}

impl From<Before> for ModelCard {
    fn from(old: Before) -> Self {
        let operating_points = OperatingPoints {
            youden: old.threshold,
            ..OperatingPoints::default()
        };
        Self {
            name: old.name,
            input: old.input,
            model: old.model,
            round: old.round,
            operating_points,
        }
    }
}

impl ModelCard {
    /// Reads a card of either version.
    pub(super) fn read(version: &str, text: &str) -> Result<Self, ModelFileError> {
        let wrong = |error: serde_json::Error| ModelFileError::Card(error.to_string());
        match version {
            VERSION => serde_json::from_str(text).map_err(wrong),
            BEFORE => serde_json::from_str::<Before>(text)
                .map(Into::into)
                .map_err(wrong),
            other => Err(ModelFileError::Card(format!("its version is {other:?}"))),
        }
    }

    /// A card is trusted no more than a federation's settings, and checked by the same rules.
    pub(super) fn check(self) -> Result<Self, ModelFileError> {
        self.operating_points
            .check()
            .map_err(|error| ModelFileError::Card(error.to_string()))?;
        let Federation {
            name, input, model, ..
        } = self.federation()?;
        Ok(Self {
            name,
            input,
            model,
            round: self.round,
            operating_points: self.operating_points,
        })
    }

    /// The settings of a federation with this network, all others as they are when nothing is said:
    /// for scoring.
    ///
    /// # Errors
    /// A network that cannot be.
    pub fn federation(&self) -> Result<Federation, SettingsError> {
        let least =
            Federation::from_toml("name = 'card'\nrounds = 1\n[input]\nsequences = ['any']\n")?;
        let (name, input, model) = (self.name.clone(), self.input.clone(), self.model.clone());
        Federation {
            name,
            input,
            model,
            ..least
        }
        .check()
    }

    /// Whether a model of this card is one of the given network that sees the same: tensors of
    /// equal shape can belong to another order of sequences, or to other dilations.
    pub(super) fn fits(&self, model: &Model, input: &Input) -> Result<(), ModelFileError> {
        let shown = |what: &dyn std::fmt::Debug| format!("{what:?}");
        let pairs = [
            (
                "input.sequences",
                shown(&self.input.sequences),
                shown(&input.sequences),
            ),
            (
                "input.slices",
                shown(&self.input.slices),
                shown(&input.slices),
            ),
            (
                "model.output_stride",
                shown(&self.model.output_stride),
                shown(&model.output_stride),
            ),
            ("model.rates", shown(&self.model.rates), shown(&model.rates)),
        ];
        match pairs
            .into_iter()
            .find(|(_, found, expected)| found != expected)
        {
            Some((key, found, expected)) => Err(ModelFileError::Network {
                key,
                found,
                expected,
            }),
            None => Ok(()),
        }
    }
}
