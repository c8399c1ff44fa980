//! Which settings can work: every value's range, key by key.

use super::{Federation, Input, Model, SettingsError, Training};
use crate::dropout::DropOut;
use crate::federation::Effort;
use crate::sequence::MAX_SEQUENCES;

/// The key, whether its value works, what it says, and what would work.
type Rule = (&'static str, bool, String, &'static str);

impl Federation {
    /// Checks every value's range: what came over the network is trusted no more than what was typed.
    ///
    /// # Errors
    /// Names the first key that cannot work.
    pub fn check(self) -> Result<Self, SettingsError> {
        let rules = self.own_rules().into_iter();
        let rules = rules.chain(input_rules(&self.input)).chain(model_rules(&self.model));
        let rules = rules.chain([self.dropout_rule()]).chain(training_rules(&self.training, self.input.plane));
        let broken = rules.chain(self.company_rules()).chain(self.buffer_rules()).find(|rule| !rule.1);
        match broken {
            Some((key, _, found, expected)) => Err(SettingsError::Value { key, found, expected }),
            None => Ok(self),
        }
    }

    fn own_rules(&self) -> [Rule; 2] {
        [
            ("name", plain(&self.name), self.name.clone(), "letters, digits, '-', '_' and '.', 64 at most"),
            ("rounds", (1..=100_000).contains(&self.rounds), self.rounds.to_string(), "between 1 and 100000"),
        ]
    }

    fn dropout_rule(&self) -> Rule {
        let works = match self.dropout {
            DropOut::Uniform | DropOut::All => true,
            DropOut::Bernoulli(keep) => keep > 0.0 && keep <= 1.0,
            DropOut::Fixed(subset) => !subset.is_empty() && subset.is_subset(self.input.all()),
        };
        ("dropout", works, format!("{:?}", self.dropout), "a probability, or named sequences")
    }

    /// What can be said of versions that wait for nobody.
    fn buffer_rules(&self) -> Vec<Rule> {
        let Some(buffered) = self.buffered else { return Vec::new() };
        let (minimum, held_out) = (self.sites.minimum, self.evaluation.held_out_every);
        vec![
            (
                "buffered.size",
                buffered.size >= minimum && buffered.size <= 100_000,
                buffered.size.to_string(),
                "at least sites.minimum",
            ),
            (
                "buffered.rate",
                buffered.rate > 0.0 && buffered.rate <= 10.0,
                buffered.rate.to_string(),
                "above 0 and at most 10",
            ),
            (
                "buffered.max_staleness",
                buffered.max_staleness <= 1000,
                buffered.max_staleness.to_string(),
                "at most 1000 versions",
            ),
            (
                "buffered",
                self.sites.per_round.is_none() && self.sites.deadline_s.is_none() && held_out.is_none(),
                "given beside sites.per_round, sites.deadline_s or evaluation.held_out_every".into(),
                "without them: every site takes part, nobody is waited for, and only the last model is scored",
            ),
        ]
    }

    /// Who takes part, and who judges.
    fn company_rules(&self) -> [Rule; 2] {
        [
            (
                "evaluation.validation_share",
                (0.0..=0.9).contains(&self.evaluation.validation_share),
                self.evaluation.validation_share.to_string(),
                "between 0 and 0.9",
            ),
            (
                "sites",
                self.sites.minimum >= 1
                    && self.sites.per_round.is_none_or(|n| n >= self.sites.minimum)
                    && self.sites.concurrent.is_none_or(|n| n >= 1)
                    && self.sites.patience_s >= 1
                    && self.sites.deadline_s.is_none_or(|n| n >= 1)
                    && self.sites.expected.iter().all(|name| plain(name))
                    && self.evaluation.held_out_every.is_none_or(|n| n >= 1),
                format!("{:?}", self.sites),
                "minimum, concurrent, patience_s and deadline_s of at least 1, per_round of at least minimum, plain site names",
            ),
        ]
    }
}

fn input_rules(input: &Input) -> [Rule; 5] {
    let names = &input.sequences;
    let distinct = names.iter().collect::<std::collections::BTreeSet<_>>().len() == names.len();
    [
        (
            "input.sequences",
            (1..=MAX_SEQUENCES).contains(&names.len()) && distinct && names.iter().all(|name| plain(name)),
            format!("{names:?}"),
            "one to eight different plain names",
        ),
        (
            "input.slices",
            input.slices % 2 == 1 && input.slices <= 31,
            input.slices.to_string(),
            "an odd number up to 31, so that there is a centre slice",
        ),
        ("input.plane", (16..=1024).contains(&input.plane), input.plane.to_string(), "pixels between 16 and 1024"),
        (
            "input.spacing_mm",
            input.spacing_mm.is_none_or(|mm| (0.1..=20.0).contains(&mm)),
            format!("{:?}", input.spacing_mm),
            "between 0.1 and 20",
        ),
        (
            "input.clip_percentiles",
            input
                .clip_percentiles
                .is_none_or(|[low, high]| (0.0..=25.0).contains(&low) && (75.0..=100.0).contains(&high)),
            format!("{:?}", input.clip_percentiles.unwrap_or_default()),
            "two percentiles, the first from 0 to 25, the second from 75 to 100; [0, 100] clips nothing",
        ),
    ]
}

fn model_rules(model: &Model) -> [Rule; 4] {
    [
        ("model.width", (4..=256).contains(&model.width), model.width.to_string(), "between 4 and 256 channels"),
        (
            "model.output_stride",
            [4, 8, 16].contains(&model.output_stride),
            model.output_stride.to_string(),
            "4, 8 or 16",
        ),
        (
            "model.rates",
            model.rates.iter().all(|rate| (1..=64).contains(rate)),
            format!("{:?}", model.rates),
            "three dilations between 1 and 64",
        ),
        (
            "model.head_dropout",
            (0.0..1.0).contains(&model.head_dropout),
            model.head_dropout.to_string(),
            "a probability below 1",
        ),
    ]
}

fn training_rules(training: &Training, plane: usize) -> [Rule; 11] {
    [
        (
            "training.steps",
            matches!(training.effort, Effort::Steps(n) | Effort::Epochs(n) if (1..=1_000_000).contains(&n)),
            format!("{:?}", training.effort),
            "between 1 and 1000000",
        ),
        (
            "training.round_seconds",
            training.round_seconds.is_none_or(|seconds| seconds >= 1),
            format!("{:?}", training.round_seconds),
            "at least 1",
        ),
        ("training.batch", (1..=1024).contains(&training.batch), training.batch.to_string(), "between 1 and 1024"),
        (
            "training.learning_rate",
            training.learning_rate > 0.0 && training.learning_rate <= 10.0,
            training.learning_rate.to_string(),
            "above 0 and at most 10",
        ),
        (
            "training.weight_decay",
            (0.0..=1.0).contains(&training.weight_decay),
            training.weight_decay.to_string(),
            "between 0 and 1",
        ),
        (
            "training.clip_norm",
            training.clip_norm.is_none_or(|norm| norm > 0.0 && norm.is_finite()),
            format!("{:?}", training.clip_norm),
            "a positive norm, or 0 for no clipping",
        ),
        (
            "training.proximal",
            (0.0..=100.0).contains(&training.proximal),
            training.proximal.to_string(),
            "between 0 (left out) and 100",
        ),
        (
            "training.positive_weight",
            training.positive_weight > 0.0 && training.positive_weight <= 1e4,
            training.positive_weight.to_string(),
            "above 0 and at most 10000",
        ),
        (
            "training.dice_weight",
            (0.0..=100.0).contains(&training.dice_weight),
            training.dice_weight.to_string(),
            "between 0 and 100",
        ),
        (
            "training.lesion_oversampling",
            (1.0..=1e4).contains(&training.lesion_oversampling),
            training.lesion_oversampling.to_string(),
            "between 1 and 10000",
        ),
        (
            "training.shift",
            training.augmentation.shift < plane && (0.0..1.0).contains(&training.augmentation.intensity),
            format!("{} (intensity {})", training.augmentation.shift, training.augmentation.intensity),
            "a shift smaller than the plane, and an intensity below 1",
        ),
    ]
}

/// Names that are safe in a file name, a certificate and a log: ASCII letters, digits, `-`, `_` and `.`, 64 at most.
#[must_use]
pub fn plain(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.')
}
