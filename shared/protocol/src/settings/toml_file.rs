//! From the coordinator's TOML to checked settings. Unknown keys are refused by name.

use super::*;

/// Why settings are refused: which key, what it said, what would do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Not TOML, an unknown key, or a value of the wrong type; the text names line and key.
    #[error("{0}")]
    Syntax(String),
    /// A value that cannot work.
    #[error("{key} is {found}: {expected}")]
    Value {
        /// Where: `training.batch`.
        key: &'static str,
        /// What it says.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    name: String,
    #[serde(default = "defaults::seed")]
    seed: u64,
    rounds: u32,
    input: InputText,
    #[serde(default)]
    model: ModelText,
    #[serde(default)]
    dropout: DropOutText,
    #[serde(default)]
    training: TrainingText,
    #[serde(default = "defaults::aggregation")]
    aggregation: Aggregation,
    #[serde(default)]
    updates: Precision,
    #[serde(default)]
    evaluation: EvaluationText,
    #[serde(default)]
    sites: SitesText,
    buffered: Option<BufferedText>,
    /// Tables of the coordinator's commands may stand in the same file; they are not the
    /// federation's.
    #[serde(default, rename = "serve")]
    _serve: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "simulate")]
    _simulate: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "experiment")]
    _experiment: Option<serde::de::IgnoredAny>,
}

mod defaults {
    pub(super) fn seed() -> u64 {
        1
    }
    pub(super) fn aggregation() -> super::Aggregation {
        super::Aggregation::SequenceAware
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputText {
    sequences: Vec<String>,
    #[serde(default = "InputText::slices")]
    slices: usize,
    plane: Option<usize>,
    spacing_mm: Option<f32>,
    #[serde(default = "InputText::clip_percentiles")]
    clip_percentiles: [f32; 2],
}

impl InputText {
    fn clip_percentiles() -> [f32; 2] {
        Input::CLIP_PERCENTILES
    }

    fn slices() -> usize {
        5
    }
}

/// Named networks: `paper` is the publication's, `tiny` trains on a laptop's processor.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Preset {
    #[default]
    Paper,
    Small,
    Tiny,
}

impl Preset {
    fn model(self) -> (Model, usize) {
        let paper = Model {
            layout: Layout::ResNet50,
            width: 64,
            output_stride: 8,
            rates: [12, 24, 36],
            norm: Norm::Batch,
            head_dropout: 0.5,
        };
        match self {
            Self::Paper => (paper, 256),
            Self::Small => (
                Model {
                    layout: Layout::ResNet18,
                    rates: [6, 12, 18],
                    head_dropout: 0.1,
                    ..paper
                },
                128,
            ),
            Self::Tiny => {
                let tiny = Model {
                    layout: Layout::ResNet18,
                    width: 16,
                    rates: [2, 4, 6],
                    head_dropout: 0.0,
                    ..paper
                };
                (tiny, 64)
            }
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ModelText {
    #[serde(default)]
    preset: Preset,
    layout: Option<Layout>,
    width: Option<usize>,
    output_stride: Option<usize>,
    rates: Option<[usize; 3]>,
    norm: Option<Norm>,
    head_dropout: Option<f32>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum DropOutText {
    #[default]
    Uniform,
    Bernoulli(f32),
    Fixed(Vec<String>),
    All,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TrainingText {
    steps: Option<u32>,
    epochs: Option<u32>,
    round_seconds: Option<u32>,
    batch: usize,
    optimiser: Optimiser,
    learning_rate: f64,
    schedule: Schedule,
    weight_decay: f64,
    clip_norm: f32,
    proximal: f64,
    positive_weight: f32,
    dice_weight: f32,
    lesion_oversampling: f32,
    flips: bool,
    turns: bool,
    shift: usize,
    intensity: f32,
    compute: Compute,
}

impl Default for TrainingText {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            round_seconds: None,
            batch: 8,
            optimiser: Optimiser::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine { last: 0.05 },
            weight_decay: 0.0,
            clip_norm: 10.0,
            proximal: 0.0,
            positive_weight: 3.0,
            dice_weight: 1.0,
            lesion_oversampling: 10.0,
            flips: true,
            turns: false,
            shift: 4,
            intensity: 0.1,
            compute: Compute::F32,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EvaluationText {
    validation_share: f32,
    held_out_every: Option<u32>,
    subsets: bool,
    split_seed: Option<u64>,
}

impl Default for EvaluationText {
    fn default() -> Self {
        Self {
            validation_share: 0.2,
            held_out_every: None,
            subsets: true,
            split_seed: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SitesText {
    expected: Vec<String>,
    minimum: usize,
    per_round: Option<usize>,
    concurrent: Option<usize>,
    patience_s: u32,
    deadline_s: Option<u32>,
}

impl Default for SitesText {
    fn default() -> Self {
        Self {
            expected: Vec::new(),
            minimum: 1,
            per_round: None,
            concurrent: None,
            patience_s: 600,
            deadline_s: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BufferedText {
    size: usize,
    #[serde(default = "BufferedText::rate")]
    rate: f64,
    #[serde(default = "BufferedText::max_staleness")]
    max_staleness: u32,
}

impl BufferedText {
    fn rate() -> f64 {
        1.0
    }

    fn max_staleness() -> u32 {
        8
    }
}

impl Federation {
    /// Reads and checks settings.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or out of range.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let wrong = |error| SettingsError::Syntax(crate::text::explain(&error, text));
        toml::from_str::<Text>(text)
            .map_err(wrong)?
            .resolve()?
            .check()
    }
}

impl Text {
    fn resolve(self) -> Result<Federation, SettingsError> {
        let (preset, plane) = self.model.preset.model();
        let dropout = self.dropout.resolve(&self.input.sequences)?;
        let training = self.training.resolve()?;
        Ok(Federation {
            name: self.name,
            seed: self.seed,
            rounds: self.rounds,
            input: Input {
                sequences: self.input.sequences,
                slices: self.input.slices,
                plane: self.input.plane.unwrap_or(plane),
                spacing_mm: self.input.spacing_mm,
                clip_percentiles: Some(self.input.clip_percentiles)
                    .filter(|percentiles| *percentiles != [0.0, 100.0]),
            },
            model: Model {
                layout: self.model.layout.unwrap_or(preset.layout),
                width: self.model.width.unwrap_or(preset.width),
                output_stride: self.model.output_stride.unwrap_or(preset.output_stride),
                rates: self.model.rates.unwrap_or(preset.rates),
                norm: self.model.norm.unwrap_or(preset.norm),
                head_dropout: self.model.head_dropout.unwrap_or(preset.head_dropout),
            },
            dropout,
            training,
            aggregation: self.aggregation,
            updates: self.updates,
            evaluation: Evaluation {
                validation_share: self.evaluation.validation_share,
                held_out_every: self.evaluation.held_out_every,
                subsets: self.evaluation.subsets,
                split_seed: self.evaluation.split_seed,
            },
            sites: Sites {
                expected: self.sites.expected,
                minimum: self.sites.minimum,
                per_round: self.sites.per_round,
                concurrent: self.sites.concurrent,
                patience_s: self.sites.patience_s,
                deadline_s: self.sites.deadline_s,
            },
            buffered: self.buffered.map(
                |BufferedText {
                     size,
                     rate,
                     max_staleness,
                 }| Buffered {
                    size,
                    rate,
                    max_staleness,
                },
            ),
        })
    }
}

impl DropOutText {
    fn resolve(self, names: &[String]) -> Result<DropOut, SettingsError> {
        let fixed = match self {
            Self::Uniform => return Ok(DropOut::Uniform),
            Self::Bernoulli(keep) => return Ok(DropOut::Bernoulli(keep)),
            Self::All => return Ok(DropOut::All),
            Self::Fixed(fixed) => fixed,
        };
        let index = |wanted: &String| {
            names
                .iter()
                .position(|name| name == wanted)
                .ok_or_else(|| SettingsError::Value {
                    key: "dropout.fixed",
                    found: wanted.clone(),
                    expected: "names that stand in input.sequences",
                })
        };
        let set = fixed
            .iter()
            .map(index)
            .collect::<Result<SequenceSet, _>>()?;
        Ok(DropOut::Fixed(set))
    }
}

impl TrainingText {
    fn resolve(self) -> Result<Training, SettingsError> {
        let effort = match (self.steps, self.epochs) {
            (Some(steps), None) => LocalWork::Steps(steps),
            (None, Some(epochs)) => LocalWork::Epochs(epochs),
            (None, None) => LocalWork::Epochs(1),
            (Some(_), Some(_)) => {
                return Err(SettingsError::Value {
                    key: "training.steps",
                    found: "given beside training.epochs".into(),
                    expected: "one of the two",
                });
            }
        };
        Ok(Training {
            effort,
            round_seconds: self.round_seconds,
            batch: self.batch,
            optimiser: self.optimiser,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            clip_norm: (self.clip_norm != 0.0).then_some(self.clip_norm),
            proximal: self.proximal,
            positive_weight: self.positive_weight,
            dice_weight: self.dice_weight,
            lesion_oversampling: self.lesion_oversampling,
            augmentation: Augmentation {
                flips: self.flips,
                turns: self.turns,
                shift: self.shift,
                intensity: self.intensity,
            },
            compute: self.compute,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn the_cosine_ends_at_its_last_factor() {
        let schedule = Schedule::Cosine { last: 0.1 };
        assert!((schedule.factor(1, 5) - 1.0).abs() < 1e-12);
        assert!((schedule.factor(5, 5) - 0.1).abs() < 1e-12);
        assert!(
            (Schedule::Step {
                every: 2,
                factor: 0.5
            }
            .factor(5, 9)
                - 0.25)
                .abs()
                < 1e-12
        );
    }
}
