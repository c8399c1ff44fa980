//! Which settings can work: every value's range, one rule for each key.

use super::{Buffered, Federation, LocalWork, SettingsError};
use crate::dropout::DropOut;
use metrics::sequence::MAX_SEQUENCES;
use std::collections::BTreeSet;
use std::fmt::Display;

/// What a name may consist of.
const PLAIN_NAME: &str = "letters, digits, '-', '_' and '.', 64 at most, the first no '.'";

/// Looks at one key after the other and remembers the first whose value cannot work.
#[derive(Default)]
struct Rules {
    broken: Option<SettingsError>,
}

impl Rules {
    /// `works` says whether the key's value can work, `found` how it reads, `expected` what would
    /// work.
    fn key(&mut self, key: &'static str, works: bool, found: impl Display, expected: &'static str) {
        if !works && self.broken.is_none() {
            self.broken = Some(SettingsError::Value {
                key,
                found: found.to_string(),
                expected,
            });
        }
    }

    /// A key that may be left out, and works then.
    fn optional<T: Display>(
        &mut self,
        key: &'static str,
        value: Option<T>,
        works: impl Fn(&T) -> bool,
        expected: &'static str,
    ) {
        if let Some(value) = value {
            self.key(key, works(&value), &value, expected);
        }
    }
}

impl Federation {
    /// Checks every value's range: what came over the network is trusted no more than what was
    /// typed.
    ///
    /// # Errors
    /// Names the first key that cannot work.
    pub fn check(self) -> Result<Self, SettingsError> {
        let mut rules = Rules::default();
        rules.key("name", is_valid_name(&self.name), &self.name, PLAIN_NAME);
        rules.key(
            "rounds",
            (1..=100_000).contains(&self.rounds),
            self.rounds,
            "between 1 and 100000",
        );
        self.check_input(&mut rules);
        self.check_model(&mut rules);
        self.check_dropout(&mut rules);
        self.check_training(&mut rules);
        self.check_evaluation(&mut rules);
        self.check_sites(&mut rules);
        if let Some(buffered) = &self.buffered {
            self.check_buffered(buffered, &mut rules);
        }
        match rules.broken {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    fn check_input(&self, rules: &mut Rules) {
        let input = &self.input;
        let names = &input.sequences;
        let different: BTreeSet<&String> = names.iter().collect();
        let works = (1..=MAX_SEQUENCES).contains(&names.len())
            && different.len() == names.len()
            && names.iter().all(|name| is_valid_name(name));
        rules.key(
            "input.sequences",
            works,
            names.join(", "),
            "one to eight different plain names",
        );
        let odd = input.slices % 2 == 1 && input.slices <= 31;
        rules.key(
            "input.slices",
            odd,
            input.slices,
            "an odd number up to 31, so that there is a centre slice",
        );
        rules.key(
            "input.plane",
            (16..=1024).contains(&input.plane),
            input.plane,
            "pixels between 16 and 1024",
        );
        rules.optional(
            "input.spacing_mm",
            input.spacing_mm,
            |mm| (0.1..=20.0).contains(mm),
            "between 0.1 and 20",
        );
        if let Some([low, high]) = input.clip_percentiles {
            let works = (0.0..=25.0).contains(&low) && (75.0..=100.0).contains(&high);
            rules.key(
                "input.clip_percentiles",
                works,
                format!("{low}, {high}"),
                "two percentiles, the first from 0 to 25, the second from 75 to 100; [0, 100] clips nothing",
            );
        }
    }

    fn check_model(&self, rules: &mut Rules) {
        let model = &self.model;
        let width = model.width;
        rules.key(
            "model.width",
            (4..=256).contains(&width),
            width,
            "between 4 and 256 channels",
        );
        let stride = model.output_stride;
        rules.key(
            "model.output_stride",
            [4, 8, 16].contains(&stride),
            stride,
            "4, 8 or 16",
        );
        let dilations = model.rates.iter().all(|rate| (1..=64).contains(rate));
        rules.key(
            "model.rates",
            dilations,
            format!("{:?}", model.rates),
            "three dilations between 1 and 64",
        );
        let dropout = model.head_dropout;
        rules.key(
            "model.head_dropout",
            (0.0..1.0).contains(&dropout),
            dropout,
            "a probability below 1",
        );
    }

    fn check_dropout(&self, rules: &mut Rules) {
        let works = match self.dropout {
            DropOut::Uniform | DropOut::All => true,
            DropOut::Bernoulli(keep) => keep > 0.0 && keep <= 1.0,
            DropOut::Fixed(subset) => !subset.is_empty() && subset.is_subset(self.input.all()),
        };
        rules.key(
            "dropout",
            works,
            format!("{:?}", self.dropout),
            "a probability, or named sequences",
        );
    }

    fn check_training(&self, rules: &mut Rules) {
        let training = &self.training;
        let (key, length) = match training.effort {
            LocalWork::Steps(steps) => ("training.steps", steps),
            LocalWork::Epochs(epochs) => ("training.epochs", epochs),
        };
        rules.key(
            key,
            (1..=1_000_000).contains(&length),
            length,
            "between 1 and 1000000",
        );
        rules.optional(
            "training.round_seconds",
            training.round_seconds,
            |&seconds| seconds >= 1,
            "at least 1",
        );
        let batch = training.batch;
        rules.key(
            "training.batch",
            (1..=1024).contains(&batch),
            batch,
            "between 1 and 1024",
        );
        let rate = training.learning_rate;
        rules.key(
            "training.learning_rate",
            rate > 0.0 && rate <= 10.0,
            rate,
            "above 0 and at most 10",
        );
        let decay = training.weight_decay;
        rules.key(
            "training.weight_decay",
            (0.0..=1.0).contains(&decay),
            decay,
            "between 0 and 1",
        );
        rules.optional(
            "training.clip_norm",
            training.clip_norm,
            |&norm| norm > 0.0 && norm.is_finite(),
            "a positive norm, or 0 for no clipping",
        );
        let proximal = training.proximal;
        rules.key(
            "training.proximal",
            (0.0..=100.0).contains(&proximal),
            proximal,
            "between 0 (left out) and 100",
        );
        let positive = training.positive_weight;
        rules.key(
            "training.positive_weight",
            positive > 0.0 && positive <= 1e4,
            positive,
            "above 0 and at most 10000",
        );
        let dice = training.dice_weight;
        rules.key(
            "training.dice_weight",
            (0.0..=100.0).contains(&dice),
            dice,
            "between 0 and 100",
        );
        let oversampling = training.lesion_oversampling;
        rules.key(
            "training.lesion_oversampling",
            (1.0..=1e4).contains(&oversampling),
            oversampling,
            "between 1 and 10000",
        );
        let augmentation = &training.augmentation;
        rules.key(
            "training.shift",
            augmentation.shift < self.input.plane,
            augmentation.shift,
            "pixels, fewer than the plane has",
        );
        let intensity = augmentation.intensity;
        rules.key(
            "training.intensity",
            (0.0..1.0).contains(&intensity),
            intensity,
            "at least 0 and below 1",
        );
    }

    fn check_evaluation(&self, rules: &mut Rules) {
        let share = self.evaluation.validation_share;
        rules.key(
            "evaluation.validation_share",
            (0.0..=0.9).contains(&share),
            share,
            "between 0 and 0.9",
        );
        rules.optional(
            "evaluation.held_out_every",
            self.evaluation.held_out_every,
            |&rounds| rounds >= 1,
            "at least 1",
        );
    }

    fn check_sites(&self, rules: &mut Rules) {
        let sites = &self.sites;
        let minimum = sites.minimum;
        for name in &sites.expected {
            rules.key("sites.expected", is_valid_name(name), name, PLAIN_NAME);
        }
        rules.key("sites.minimum", minimum >= 1, minimum, "at least 1");
        rules.optional(
            "sites.per_round",
            sites.per_round,
            |&count| count >= minimum,
            "at least sites.minimum",
        );
        rules.optional(
            "sites.concurrent",
            sites.concurrent,
            |&count| count >= 1,
            "at least 1",
        );
        rules.key(
            "sites.patience_s",
            sites.patience_s >= 1,
            sites.patience_s,
            "at least 1 second",
        );
        rules.optional(
            "sites.deadline_s",
            sites.deadline_s,
            |&seconds| seconds >= 1,
            "at least 1 second",
        );
    }

    /// In buffered mode no round waits for sites, so settings of rounds have no meaning.
    fn check_buffered(&self, buffered: &Buffered, rules: &mut Rules) {
        let size = buffered.size;
        let enough = size >= self.sites.minimum && size <= 100_000;
        rules.key(
            "buffered.size",
            enough,
            size,
            "at least sites.minimum, and at most 100000",
        );
        let rate = buffered.rate;
        rules.key(
            "buffered.rate",
            rate > 0.0 && rate <= 10.0,
            rate,
            "above 0 and at most 10",
        );
        let staleness = buffered.max_staleness;
        rules.key(
            "buffered.max_staleness",
            staleness <= 1000,
            staleness,
            "at most 1000 versions",
        );
        let rounds = [
            ("sites.per_round", self.sites.per_round.is_some()),
            ("sites.deadline_s", self.sites.deadline_s.is_some()),
            (
                "evaluation.held_out_every",
                self.evaluation.held_out_every.is_some(),
            ),
        ];
        for (key, given) in rounds {
            rules.key(
                "buffered",
                !given,
                format!("given together with {key}"),
                "without it: every site takes part, no version waits for a site, and only the last model is \
                 scored on held-out sites",
            );
        }
    }
}

/// Names that are safe in a file name, a certificate and a log: ASCII letters, digits, `-`, `_` and
/// `.`, 64 at most.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.')
}
