//! The registry of settings: for every key its type, default, meaning and rule. The checks,
//! `coordinator config` and the printed settings read it; each TOML table's part is in that table's
//! own file, next to its struct.

use super::{Federation, SettingsError};
use super::{buffered, evaluation, general, input, model, sites, training};
use serde::Serialize;
use std::fmt::Debug;

/// All tables, in the order in which they are checked and shown.
pub static TABLES: [Table; 7] = [
    general::TABLE,
    input::TABLE,
    model::TABLE,
    training::TABLE,
    evaluation::TABLE,
    sites::TABLE,
    buffered::TABLE,
];

/// One table of the settings file.
pub struct Table {
    /// Empty for the keys that come before the first table.
    pub name: &'static str,
    pub meaning: &'static str,
    pub settings: &'static [Setting],
}

/// One key of the settings file.
pub struct Setting {
    /// With its table: `training.batch`.
    pub key: &'static str,
    /// The type of the value, with its unit.
    pub kind: &'static str,
    pub default: DefaultValue,
    pub rule: Rule,
    pub meaning: &'static str,
    /// The value as TOML writes it; `None` where the key is not set.
    pub(super) value: fn(&Federation) -> Option<String>,
}

/// What it means to leave a key out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// The key must be given.
    Required,
    /// This value, as TOML writes it.
    Value(&'static str),
    /// Nothing is set, which means this.
    Unset(&'static str),
    /// The value of `model.preset`: of `paper`, `small` and `tiny`.
    Preset([&'static str; 3]),
}

/// Which values can work. The text ends a sentence that begins with "expected".
#[derive(Clone, Copy)]
pub enum Rule {
    /// Every value of the type.
    Any,
    /// Every value of the type too, which can only hold what the text says.
    Type(&'static str),
    /// Values for which the function returns `true`.
    Value(&'static str, fn(&Federation) -> bool),
    /// Values without a wrong part. The function returns the first wrong part, to be shown in place
    /// of the whole value.
    Parts(&'static str, fn(&Federation) -> Option<String>),
}

impl Rule {
    /// What is expected; `None` where the type alone decides.
    #[must_use]
    pub fn expected(&self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Type(expected) | Self::Value(expected, _) | Self::Parts(expected, _) => {
                Some(expected)
            }
        }
    }
}

impl Setting {
    /// The key's value in these settings, as TOML writes it; `None` where it is not set.
    #[must_use]
    pub fn value(&self, settings: &Federation) -> Option<String> {
        (self.value)(settings)
    }

    /// The key without its table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.key.split_once('.') {
            Some((_, name)) => name,
            None => self.key,
        }
    }

    /// # Errors
    /// The value cannot work.
    pub(super) fn check(&self, settings: &Federation) -> Result<(), SettingsError> {
        let wrong = match self.rule {
            Rule::Any | Rule::Type(_) => None,
            Rule::Value(_, works) if works(settings) => None,
            Rule::Value(expected, _) => {
                let found = self.value(settings).unwrap_or_else(|| "not set".into());
                Some((found, expected))
            }
            Rule::Parts(expected, wrong_part) => {
                wrong_part(settings).map(|found| (found, expected))
            }
        };
        match wrong {
            Some((found, expected)) => Err(SettingsError::Value {
                key: self.key,
                found,
                expected,
            }),
            None => Ok(()),
        }
    }
}

impl Federation {
    /// Checks every value: settings that came over the network are trusted no more than those that
    /// were typed.
    ///
    /// # Errors
    /// Names the first key whose value cannot work.
    pub fn check(self) -> Result<Self, SettingsError> {
        for table in &TABLES {
            for setting in table.settings {
                setting.check(&self)?;
            }
        }
        Ok(self)
    }

    /// Every setting as a TOML file that [`Federation::from_toml`] reads as the same settings.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for table in &TABLES {
            let mut lines = String::new();
            for setting in table.settings {
                // A setting named as its table only holds the table's rule.
                if setting.key == table.name {
                    continue;
                }
                if let Some(value) = setting.value(self) {
                    lines.push_str(&format!("{} = {value}\n", setting.name()));
                }
            }
            if lines.is_empty() {
                continue;
            }
            if !table.name.is_empty() {
                text.push_str(&format!("\n[{}]\n", table.name));
            }
            text.push_str(&lines);
        }
        text
    }
}

/// The TOML of a number, a text, or a list of these. `Debug` writes them as TOML does.
pub(super) fn plain(value: impl Debug) -> Option<String> {
    Some(format!("{value:?}"))
}

/// The same of a value that may not be set.
pub(super) fn optional(value: Option<impl Debug>) -> Option<String> {
    plain(value?)
}

/// The TOML of a choice between names.
pub(super) fn choice(value: &impl Serialize) -> Option<String> {
    match toml::Value::try_from(value) {
        Ok(value) => Some(value.to_string()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::toml_file::SettingsFile;
    use super::*;
    use serde::de::value::Error;
    use serde::de::{Deserializer, Error as _, Visitor};
    use serde::{Deserialize, forward_to_deserialize_any};

    const LEAST: &str = "name = 'x'\nrounds = 1\n[input]\nsequences = ['bravo', 'flair']\n";

    fn all() -> impl Iterator<Item = &'static Setting> {
        TABLES.iter().flat_map(|table| table.settings)
    }

    fn read(text: &str) -> Federation {
        Federation::from_toml(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A deserializer that only records the field names of the struct that asks for them.
    struct FieldNames(Vec<String>);

    impl<'de> Deserializer<'de> for &mut FieldNames {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0 = fields.iter().map(|field| (*field).to_owned()).collect();
            Err(Error::custom("only the names are wanted"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// The keys that the TOML file may have in a table.
    fn keys_of(table: &str) -> Vec<String> {
        let mut names = FieldNames(Vec::new());
        let ended = match table {
            "" => SettingsFile::deserialize(&mut names).map(drop),
            "input" => input::InputToml::deserialize(&mut names).map(drop),
            "model" => model::ModelToml::deserialize(&mut names).map(drop),
            "training" => training::TrainingToml::deserialize(&mut names).map(drop),
            "evaluation" => evaluation::EvaluationToml::deserialize(&mut names).map(drop),
            "sites" => sites::SitesToml::deserialize(&mut names).map(drop),
            "buffered" => buffered::BufferedToml::deserialize(&mut names).map(drop),
            other => panic!("no struct is known for the table {other}"),
        };
        assert!(ended.is_err());
        names.0
    }

    #[test]
    fn every_key_of_the_toml_structs_is_registered_and_no_other() {
        const OF_COMMANDS: [&str; 3] = ["serve", "simulate", "experiment"];
        for table in &TABLES {
            let mut read = keys_of(table.name);
            if table.name.is_empty() {
                let tables = TABLES.iter().map(|table| table.name);
                for inner in tables.filter(|name| !name.is_empty()).chain(OF_COMMANDS) {
                    assert!(read.contains(&inner.to_owned()), "{inner}");
                    read.retain(|key| key != inner);
                }
            }
            read.sort();
            let settings = table.settings.iter();
            let mut registered: Vec<&str> = settings
                .filter(|setting| setting.key != table.name)
                .map(Setting::name)
                .collect();
            registered.sort_unstable();
            assert_eq!(read, registered, "[{}]", table.name);
        }
    }

    #[test]
    fn every_key_begins_with_its_table_and_says_what_it_means() {
        for table in &TABLES {
            for setting in table.settings {
                let key = setting.key;
                let inside = key == table.name || table.name.is_empty();
                assert!(
                    inside || key.starts_with(&format!("{}.", table.name)),
                    "{key}"
                );
                assert!(setting.meaning.ends_with('.'), "{key}");
                assert!(!setting.kind.is_empty(), "{key}");
            }
        }
    }

    #[test]
    fn every_default_is_what_a_file_without_the_key_means() {
        let least = read(LEAST);
        let presets = ["paper", "small", "tiny"]
            .map(|preset| read(&format!("{LEAST}[model]\npreset = '{preset}'\n")));
        let buffered = read(&format!("{LEAST}[buffered]\nsize = 2\n"));
        for setting in all() {
            let of_buffered = setting.key.starts_with("buffered.");
            let settings = if of_buffered { &buffered } else { &least };
            let value = setting.value(settings);
            match setting.default {
                DefaultValue::Required => assert!(value.is_some(), "{}", setting.key),
                // The preset is not kept: what it means is.
                DefaultValue::Value(_) if setting.key == "model.preset" => {}
                DefaultValue::Value(default) => {
                    assert_eq!(value.as_deref(), Some(default), "{}", setting.key);
                }
                DefaultValue::Unset(_) => assert_eq!(value, None, "{}", setting.key),
                DefaultValue::Preset(defaults) => {
                    for (settings, default) in presets.iter().zip(defaults) {
                        let value = setting.value(settings);
                        assert_eq!(value.as_deref(), Some(default), "{}", setting.key);
                    }
                }
            }
        }
    }

    #[test]
    fn printed_settings_are_read_as_the_same_settings() {
        let everything = "name = 'x'\nseed = 3\nrounds = 9\naggregation = 'fed-avg'\nupdates = \
                          'int8'\ndropout = { fixed = ['flair'] }\n[input]\nsequences = \
                          ['bravo', 'flair']\nslices = 3\nplane = 100\nspacing_mm = \
                          0.94\nclip_percentiles = [0, 100]\n[model]\npreset = 'small'\nnorm = \
                          'batch-local'\nhead_dropout = 0.25\n[training]\nsteps = \
                          7\nround_seconds = 60\noptimiser = 'sgd'\nlearning_rate = \
                          1e-9\nschedule = { step = { every = 2, factor = 0.5 } }\nclip_norm = \
                          0\nproximal = 0.01\ncompute = 'bf16'\n[evaluation]\nvalidation_share = \
                          0.3\nheld_out_every = 2\nsubsets = false\nsplit_seed = \
                          5\n[sites]\nexpected = ['a', 'b']\nminimum = 2\nper_round = \
                          2\nconcurrent = 1\ndeadline_s = 5\n";
        let bernoulli =
            format!("dropout = {{ bernoulli = 0.5 }}\n{LEAST}[buffered]\nsize = 2\nrate = 0.7\n");
        let robust = format!(
            "aggregation = {{ multi-krum = {{ faulty = 1, chosen = 2 }} }}\nserver_optimiser = \
             {{ yogi = {{ rate = 0.01, tau = 1e-9 }} }}\noutlier_factor = 12\n{LEAST}[sites]\n\
             minimum = 5\n"
        );
        for text in [LEAST, everything, &bernoulli, &robust] {
            let settings = read(text);
            let printed = settings.to_toml();
            assert_eq!(read(&printed), settings, "{printed}");
        }
    }
}
