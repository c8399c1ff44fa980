//! The model that a federation starts from: random weights, or those of a file that `--start`
//! names.

use super::ServeError;
use crate::store::{Place, Store, StoreError};
use protocol::coordinator::Checkpoint;
use protocol::model_file::{ModelCard, import_state_dict};
use protocol::operating::OperatingPoints;
use protocol::parameters::{Manifest, Parameters, ParametersId};
use protocol::settings::Federation;
use protocol::settings::registry::TABLES;
use std::path::Path;
use std::sync::Arc;

/// A federation's initial model.
pub(super) struct StartModel {
    pub(super) parameters: Parameters,
    /// Its own thresholds, as far as its file has some.
    pub(super) points: OperatingPoints,
}

/// Reads the weights of a model file or of a torchvision state dict. Warns where the file's model
/// was trained on other input than the federation's: the weights are usable and may need some
/// rounds to adapt.
///
/// # Errors
/// The file cannot be read, or its model is not of the federation's network.
pub(super) fn read_model(file: &Path, federation: &Federation) -> Result<StartModel, ServeError> {
    let bytes = std::fs::read(file).map_err(|error| ServeError::Unreadable {
        path: file.into(),
        error,
    })?;
    let imported =
        import_state_dict(&bytes, &federation.model, &federation.input).map_err(|error| {
            ServeError::Weights {
                path: file.into(),
                error,
            }
        })?;
    if !imported.hashed {
        tracing::warn!(
            file = %file.display(),
            "the weights to start from carry no hash: damage to the file would not be noticed"
        );
    }
    let mut points = OperatingPoints::default();
    if let Some(card) = imported.card {
        for difference in differences(&card, federation) {
            tracing::warn!(file = %file.display(), "{difference}");
        }
        points = card.operating_points;
    }
    Ok(StartModel {
        parameters: imported.parameters,
        points,
    })
}

/// How the input that a model was trained on differs from the federation's, in sentences.
/// Differences that make the weights meaningless (other sequences or slices, another network) are
/// refused before.
fn differences(card: &ModelCard, federation: &Federation) -> Vec<String> {
    let Ok(trained) = card.federation() else {
        // A card that was read has been checked.
        return Vec::new();
    };
    let mut found = Vec::new();
    for table in &TABLES {
        if table.name != "input" {
            continue;
        }
        for setting in table.settings {
            let before = setting.value(&trained);
            let now = setting.value(federation);
            if before != now {
                let before = before.as_deref().unwrap_or("unset");
                let now = now.as_deref().unwrap_or("unset");
                found.push(format!(
                    "the weights to start from were trained with {} = {before}; this federation \
                     has {now}",
                    setting.key
                ));
            }
        }
    }
    found
}

/// Stores the initial model and returns its hash. In a run that is resumed, checks instead that the
/// initial model is the same, and that the models it continues from are in the run folder.
pub(super) fn prepare(
    store: &Store,
    start: Parameters,
    manifest: &Arc<Manifest>,
    checkpoint: Option<&Checkpoint>,
) -> Result<ParametersId, StoreError> {
    let id = start.id();
    let Some(checkpoint) = checkpoint else {
        store.put_model(Place::INITIAL, &start)?;
        return Ok(id);
    };
    store.same_start(Place::INITIAL, manifest, id)?;
    for run in &checkpoint.runs {
        let mut models = Vec::new();
        // A model that is discarded may already be replaced on the disk.
        if let Some(id) = run.model
            && run.discarded.is_none()
        {
            models.push((run.newest(), id));
        }
        if let Some(best) = run.best {
            models.push((best.version, best.parameters));
        }
        if let Some(buffer) = &run.buffer {
            for (version, id) in &buffer.models {
                if !version.is_initial() {
                    models.push((*version, *id));
                }
            }
        }
        for (version, id) in models {
            let place = Place {
                run: &run.outcome.name,
                version,
            };
            store.verify(place, manifest, id)?;
        }
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use program::{Class, Explain};
    use protocol::architecture::{initial, manifest};
    use protocol::model_file::encode;

    const SETTINGS: &str = "name = 'x'\nrounds = 1\n[model]\npreset = 'tiny'\nwidth = 4\n\
        [input]\nsequences = ['t1', 'flair']\nspacing_mm = 0.94\nplane = 64\n";

    fn federation(from: &str, to: &str) -> Federation {
        Federation::from_toml(&SETTINGS.replace(from, to)).unwrap()
    }

    fn card(federation: &Federation) -> ModelCard {
        ModelCard {
            name: "earlier".into(),
            input: federation.input.clone(),
            model: federation.model.clone(),
            round: 3,
            operating_points: OperatingPoints::default(),
        }
    }

    #[test]
    fn input_that_merely_differs_is_a_warning_that_names_both_values() {
        let trained = card(&federation("", ""));
        assert_eq!(
            differences(&trained, &federation("", "")),
            Vec::<String>::new()
        );
        for (from, to, warning) in [
            (
                "spacing_mm = 0.94",
                "spacing_mm = 0.5",
                "input.spacing_mm = 0.94; this federation has 0.5",
            ),
            (
                "spacing_mm = 0.94\n",
                "",
                "input.spacing_mm = 0.94; this federation has unset",
            ),
            (
                "plane = 64",
                "plane = 96",
                "input.plane = 64; this federation has 96",
            ),
            (
                "plane = 64",
                "plane = 64\nclip_percentiles = [0, 100]",
                "input.clip_percentiles = [1.0, 99.0]; this federation has [0.0, 100.0]",
            ),
        ] {
            let found = differences(&trained, &federation(from, to));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].ends_with(warning), "{}", found[0]);
        }
    }

    #[test]
    fn weights_of_another_network_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("earlier.safetensors");
        let earlier = federation("", "");
        let manifest = Arc::new(manifest(&earlier.model, &earlier.input));
        let weights = initial(&manifest, 5);
        std::fs::write(&file, encode(&weights, &card(&earlier)).unwrap()).unwrap();
        assert_eq!(read_model(&file, &earlier).unwrap().parameters, weights);
        // What merely differs is read.
        let other = federation("spacing_mm = 0.94", "spacing_mm = 1.5");
        assert_eq!(read_model(&file, &other).unwrap().parameters, weights);
        for (from, to, remedy) in [
            (
                "['t1', 'flair']",
                "['flair', 't1']",
                "set input.sequences = [\"t1\", \"flair\"]",
            ),
            (
                "preset = 'tiny'",
                "preset = 'tiny'\noutput_stride = 16",
                "set model.output_stride = 8",
            ),
            (
                "preset = 'tiny'",
                "preset = 'tiny'\nrates = [1, 2, 3]",
                "set model.rates = [2, 4, 6]",
            ),
            ("width = 4", "width = 8", "[model] and [input]"),
        ] {
            let error = read_model(&file, &federation(from, to)).err().unwrap();
            assert_eq!(error.class(), Class::Configuration, "{error}");
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(remedy), "{error}: {hint}");
        }
    }
}
