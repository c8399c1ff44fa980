//! From the coordinator's TOML to checked settings. Unknown keys are refused by name.

use super::buffered::BufferedToml;
use super::evaluation::EvaluationToml;
use super::general::{DropOutToml, default_outlier_factor};
use super::input::InputToml;
use super::model::ModelToml;
use super::sites::SitesToml;
use super::training::TrainingToml;
use super::{Aggregation, Buffered, Evaluation, Federation, Precision, ServerOptimiser};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Not TOML, an unknown key, or a value of the wrong type; the text names line and key.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot work.
    #[error("{key} is {found}; expected {expected}")]
    Value {
        /// With its table: `training.batch`.
        key: &'static str,
        found: String,
        expected: &'static str,
    },
}

/// The settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsFile {
    name: String,
    #[serde(default = "default_seed")]
    seed: u64,
    rounds: u32,
    input: InputToml,
    #[serde(default)]
    model: ModelToml,
    #[serde(default)]
    dropout: DropOutToml,
    #[serde(default)]
    training: TrainingToml,
    #[serde(default = "default_aggregation")]
    aggregation: Aggregation,
    #[serde(default)]
    server_optimiser: Option<ServerOptimiser>,
    #[serde(default)]
    updates: Precision,
    #[serde(default = "default_outlier_factor")]
    outlier_factor: f64,
    #[serde(default, deserialize_with = "EvaluationToml::deserialize")]
    evaluation: Evaluation,
    #[serde(default)]
    sites: SitesToml,
    #[serde(default, deserialize_with = "BufferedToml::optional")]
    buffered: Option<Buffered>,
    /// Tables of the coordinator's commands may be in the same file; they are not part of the
    /// federation's settings.
    #[serde(default, rename = "serve")]
    _serve: Option<IgnoredAny>,
    #[serde(default, rename = "simulate")]
    _simulate: Option<IgnoredAny>,
    #[serde(default, rename = "experiment")]
    _experiment: Option<IgnoredAny>,
}

fn default_seed() -> u64 {
    1
}

fn default_aggregation() -> Aggregation {
    Aggregation::SequenceAware
}

impl Federation {
    /// Reads and checks settings.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or out of range.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        match toml::from_str::<SettingsFile>(text) {
            Ok(file) => file.resolve()?.check(),
            Err(error) => Err(SettingsError::Syntax(crate::text::explain(&error, text))),
        }
    }
}

impl SettingsFile {
    fn resolve(self) -> Result<Federation, SettingsError> {
        let plane = self.model.preset().plane;
        Ok(Federation {
            name: self.name,
            seed: self.seed,
            rounds: self.rounds,
            dropout: self.dropout.resolve(&self.input.sequences)?,
            input: self.input.resolve(plane),
            model: self.model.resolve(),
            training: self.training.resolve()?,
            aggregation: self.aggregation,
            server_optimiser: self.server_optimiser,
            updates: self.updates,
            outlier_factor: self.outlier_factor,
            evaluation: self.evaluation,
            sites: self.sites.resolve()?,
            buffered: self.buffered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dropout::DropOut;
    use crate::settings::{Input, Layout};

    const LEAST: &str =
        "name = 'demo'\nrounds = 3\n[input]\nsequences = ['bravo', 't1_pre', 't1_post', 'flair']\n";

    #[test]
    fn the_least_file_means_the_papers_network() {
        let federation = Federation::from_toml(LEAST).unwrap();
        assert_eq!(federation.input.channels(), 20);
        assert_eq!(federation.input.plane, 256);
        assert_eq!(federation.model.layout, Layout::ResNet50);
        assert_eq!(federation.aggregation, Aggregation::SequenceAware);
        assert_eq!(federation.dropout, DropOut::Uniform);
        assert!(federation.evaluation.subsets);
    }

    #[test]
    fn the_whole_range_clips_nothing_and_is_what_settings_without_the_key_meant() {
        let clip = |line: &str| {
            Federation::from_toml(&format!("{LEAST}{line}"))
                .unwrap()
                .input
                .clip_percentiles
        };
        assert_eq!(clip(""), Some([1.0, 99.0]));
        assert_eq!(clip("clip_percentiles = [0.5, 99.5]\n"), Some([0.5, 99.5]));
        assert_eq!(clip("clip_percentiles = [0, 100]\n"), None);
        let old = r#"{"sequences": ["flair"], "slices": 5, "plane": 256, "spacing_mm": null}"#;
        assert_eq!(
            serde_json::from_str::<Input>(old).unwrap().clip_percentiles,
            None
        );
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = Federation::from_toml(&format!("{LEAST}plain = 64\n")).unwrap_err();
        assert!(error.to_string().contains("plain"), "{error}");
    }

    #[test]
    fn a_fixed_subset_is_written_by_name() {
        let text = LEAST.replace(
            "[input]",
            "dropout = { fixed = ['bravo', 'flair'] }\n[input]",
        );
        let federation = Federation::from_toml(&text).unwrap();
        assert_eq!(
            federation.dropout,
            DropOut::Fixed([0, 3].into_iter().collect())
        );
        let typo = Federation::from_toml(&text.replace("'flair'] }", "'flare'] }")).unwrap_err();
        assert!(typo.to_string().contains("flare"), "{typo}");
    }

    #[test]
    fn a_rule_that_too_few_updates_would_break_names_the_fewest() {
        let refused = |rule: &str, minimum: usize| {
            let text = format!("aggregation = {rule}\n{LEAST}[sites]\nminimum = {minimum}\n");
            let error = Federation::from_toml(&text).err()?.to_string();
            assert!(error.starts_with("aggregation is "), "{error}");
            assert!(
                error.contains(&format!("{minimum}; expected rounds of enough")),
                "{error}"
            );
            Some(error)
        };
        for (rule, fewest) in [
            ("'median'", 3),
            ("'geometric-median'", 3),
            ("{ trimmed-mean = { faulty = 2 } }", 5),
            ("{ krum = { faulty = 1 } }", 5),
            ("{ krum = { faulty = 2 } }", 7),
            ("{ multi-krum = { faulty = 1, chosen = 2 } }", 5),
        ] {
            assert!(refused(rule, fewest - 1).is_some(), "{rule}");
            assert_eq!(refused(rule, fewest), None, "{rule}");
        }
        let chosen = "{ multi-krum = { faulty = 1, chosen = 3 } }";
        assert!(refused(chosen, 5).is_some());
        assert_eq!(refused(chosen, 6), None);
        let huge = "{ krum = { faulty = 9223372036854775807 } }";
        assert!(refused(huge, 5).is_some());
    }

    #[test]
    fn a_rule_or_optimiser_that_ignores_stale_updates_is_refused_in_a_buffer_by_its_own_key() {
        let buffered = |line: &str| {
            let text = format!("{line}\n{LEAST}[sites]\nminimum = 9\n[buffered]\nsize = 9\n");
            Federation::from_toml(&text).map_err(|error| error.to_string())
        };
        assert!(buffered("aggregation = 'fed-avg'").is_ok());
        for rule in [
            "'median'",
            "'geometric-median'",
            "{ trimmed-mean = { faulty = 1 } }",
            "{ krum = { faulty = 1 } }",
            "{ multi-krum = { faulty = 1, chosen = 2 } }",
        ] {
            let error = buffered(&format!("aggregation = {rule}")).unwrap_err();
            let named = error.starts_with("aggregation is ") && error.contains("with [buffered];");
            assert!(named, "{error}");
        }
        let error = buffered("server_optimiser = { momentum = {} }").unwrap_err();
        let named = error.starts_with("server_optimiser is ") && error.contains("with [buffered];");
        assert!(named, "{error}");
    }

    #[test]
    fn an_optimisers_values_are_those_of_the_publication_and_a_typo_is_refused() {
        let optimiser = |text: &str| {
            Federation::from_toml(&format!("server_optimiser = {text}\n{LEAST}"))
                .map(|federation| federation.server_optimiser)
        };
        let adam = ServerOptimiser::Adam {
            rate: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            tau: 1e-3,
        };
        assert_eq!(optimiser("{ adam = { rate = 0.01 } }"), Ok(Some(adam)));
        let adagrad = ServerOptimiser::Adagrad {
            rate: 0.01,
            beta1: 0.0,
            tau: 1e-3,
        };
        assert_eq!(
            optimiser("{ adagrad = { rate = 0.01 } }"),
            Ok(Some(adagrad))
        );
        let typo = optimiser("{ adam = { rate = 0.01, beta3 = 0.9 } }").unwrap_err();
        assert!(typo.to_string().contains("beta3"), "{typo}");
        let missing = optimiser("{ yogi = {} }").unwrap_err();
        assert!(missing.to_string().contains("rate"), "{missing}");
    }

    #[test]
    fn values_that_cannot_work_name_their_key() {
        for (addition, key) in [
            ("slices = 4\n", "input.slices"),
            ("clip_percentiles = [30, 99]\n", "input.clip_percentiles"),
            ("clip_percentiles = [99, 1]\n", "input.clip_percentiles"),
            ("[model]\noutput_stride = 7\n", "model.output_stride"),
            (
                "[training]\nlearning_rate = nan\n",
                "training.learning_rate",
            ),
            ("[training]\nbatch = 0\n", "training.batch"),
            ("[training]\nsteps = 1\nepochs = 1\n", "training.steps"),
            ("[training]\nepochs = 0\n", "training.epochs"),
            ("[training]\nshift = 500\n", "training.shift"),
            ("[training]\nintensity = 1.5\n", "training.intensity"),
            (
                "[training]\nschedule = { cosine = { last = nan } }\n",
                "training.schedule",
            ),
            (
                "[training]\nschedule = { step = { every = 0, factor = 0.5 } }\n",
                "training.schedule",
            ),
            (
                "[evaluation]\nheld_out_every = 0\n",
                "evaluation.held_out_every",
            ),
            ("[sites]\nexpected = ['n/rth']\n", "sites.expected is n/rth"),
            ("[sites]\nminimum = 0\n", "sites.minimum"),
            ("[sites]\nminimum = 2\nper_round = 1\n", "sites.per_round"),
            ("[sites]\nconcurrent = 0\n", "sites.concurrent"),
            ("[sites]\npatience_s = 0\n", "sites.patience_s"),
            ("[sites]\ndeadline_s = 0\n", "sites.deadline_s"),
            ("[training]\nround_seconds = 0\n", "training.round_seconds"),
            (
                "[buffered]\nsize = 1\n[sites]\nminimum = 2\n",
                "buffered.size",
            ),
            ("[buffered]\nsize = 2\nrate = 0.0\n", "buffered.rate"),
            (
                "[buffered]\nsize = 2\n[sites]\ndeadline_s = 60\n",
                "buffered",
            ),
            ("[buffered]\nsize = 2\n[sites]\nper_round = 2\n", "buffered"),
            (
                "[buffered]\nsize = 2\n[evaluation]\nheld_out_every = 2\n",
                "buffered",
            ),
        ] {
            let error = Federation::from_toml(&format!("{LEAST}{addition}")).unwrap_err();
            assert!(error.to_string().starts_with(key), "{addition}: {error}");
        }
        for (first, key) in [
            ("outlier_factor = 1.9", "outlier_factor is 1.9"),
            ("outlier_factor = inf", "outlier_factor is inf"),
            ("outlier_factor = nan", "outlier_factor is NaN"),
            (
                "aggregation = { trimmed-mean = { faulty = 0 } }",
                "aggregation",
            ),
            (
                "server_optimiser = { momentum = { rate = 0 } }",
                "server_optimiser",
            ),
            (
                "server_optimiser = { adam = { rate = 0.1, beta2 = 1.0 } }",
                "server_optimiser",
            ),
            (
                "server_optimiser = { yogi = { rate = 0.1, tau = 0.0 } }",
                "server_optimiser",
            ),
            (
                "server_optimiser = { adagrad = { rate = nan } }",
                "server_optimiser",
            ),
        ] {
            let error = Federation::from_toml(&format!("{first}\n{LEAST}")).unwrap_err();
            assert!(error.to_string().starts_with(key), "{first}: {error}");
        }
    }
}
