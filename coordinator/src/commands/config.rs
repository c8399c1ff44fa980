//! The `config` subcommand: explains every key of a settings file, or checks a file and prints its
//! settings with every default filled in.

use super::{experiment, serve};
use crate::simulate::cores;
use crate::simulate::plan::Plan;
use program::{Class, Failure};
use protocol::settings::Federation;
use protocol::settings::registry::{DefaultValue, Setting, TABLES};
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Arguments of `config`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    task: Task,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Task {
    /// The settings file to check, such as configs/coordinator.toml.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Explain every key: type and unit, default, which values work, meaning.
    #[arg(long)]
    explain: bool,
}

/// Runs it.
///
/// # Errors
/// A file that cannot be read, or with settings that cannot work.
pub fn run(args: &Args) -> Result<(), Failure> {
    let text = match &args.task.file {
        Some(file) => {
            let federation = check(file)?;
            if args.json {
                pretty(&federation)?
            } else {
                let file = file.display();
                format!(
                    "# {file}, with every default filled in\n{}",
                    federation.to_toml()
                )
            }
        }
        None if args.json => pretty(&explanation_as_json())?,
        None => explanation(),
    };
    print(&text)
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Ok(text + "\n"),
        Err(error) => Err(Failure::new(Class::Internal, error)),
    }
}

/// Prints, and does not mind when the reader, such as `head`, has read enough.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let what = format!("cannot print: {error}");
            Err(Failure::new(Class::Disk, what))
        }
        _ => Ok(()),
    }
}

/// Checks a file with all its tables, as the commands do that read them.
fn check(file: &Path) -> Result<Federation, Failure> {
    let text = serve::read_text(file)?;
    let federation = Federation::from_toml(&text).map_err(|error| wrong(file, error))?;
    let tables: toml::Table = toml::from_str(&text).map_err(|error| wrong(file, error))?;
    if tables.contains_key("serve") {
        serve::check_table(file)?;
    }
    if tables.contains_key("simulate") {
        Plan::from_toml(&text, cores()).map_err(|error| wrong(file, error))?;
    }
    if tables.contains_key("experiment") {
        experiment::read(file)?;
    }
    Ok(federation)
}

fn wrong(file: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Class::Configuration, format!("{}: {error}", file.display()))
}

/// The column in which a key's explanation begins.
const INDENT: usize = 24;
/// The longest line.
const WIDTH: usize = 96;

fn explanation() -> String {
    let mut text = String::new();
    for table in &TABLES {
        if table.name.is_empty() {
            text.push_str(&format!("{}, before the first table\n", table.meaning));
        } else {
            text.push_str(&format!("\n[{}]  {}\n", table.name, table.meaning));
        }
        for setting in table.settings {
            let name = if setting.key == table.name {
                format!("  [{}]", setting.name())
            } else {
                format!("  {}", setting.name())
            };
            let mut default = default_in_words(setting);
            if let Some(expected) = setting.rule.expected() {
                default.push_str(&format!("; expected: {expected}"));
            }
            let mut lines = wrap(setting.kind);
            lines.extend(wrap(&default));
            lines.extend(wrap(setting.meaning));
            text.push('\n');
            for (index, line) in lines.iter().enumerate() {
                let left = if index == 0 { name.as_str() } else { "" };
                text.push_str(&format!("{left:INDENT$}{line}\n"));
            }
        }
    }
    text.push_str(
        "\nA file may also have tables for one command: [serve] (see configs/coordinator.toml), \
         [simulate]\n(configs/demo.toml) and [experiment] (configs/paper-small.toml).\n",
    );
    text
}

fn default_in_words(setting: &Setting) -> String {
    match setting.default {
        DefaultValue::Required => "must be given".into(),
        DefaultValue::Value(value) => format!("default: {value}"),
        DefaultValue::Unset(meaning) => format!("default: not set ({meaning})"),
        DefaultValue::Preset([paper, small, tiny]) => {
            format!("default, by model.preset: {paper} (paper), {small} (small), {tiny} (tiny)")
        }
    }
}

/// Breaks a text between words into lines that fit next to the keys.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && INDENT + longer > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

fn explanation_as_json() -> serde_json::Value {
    let mut all = Vec::new();
    for table in &TABLES {
        for setting in table.settings {
            let default = match setting.default {
                DefaultValue::Required => json!({"required": true}),
                DefaultValue::Value(value) => json!({"value": value}),
                DefaultValue::Unset(meaning) => json!({"unset": meaning}),
                DefaultValue::Preset([paper, small, tiny]) => {
                    json!({"preset": {"paper": paper, "small": small, "tiny": tiny}})
                }
            };
            all.push(json!({
                "key": setting.key,
                "table": table.name,
                "type": setting.kind,
                "default": default,
                "expected": setting.rule.expected(),
                "meaning": setting.meaning,
            }));
        }
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained_in_lines_that_fit() {
        let text = explanation();
        for table in &TABLES {
            for setting in table.settings {
                assert!(
                    text.contains(&format!("  {} ", setting.name())) || setting.key == table.name,
                    "{}",
                    setting.key
                );
            }
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let json = explanation_as_json();
        let settings = TABLES.iter().map(|table| table.settings.len());
        assert_eq!(json.as_array().unwrap().len(), settings.sum::<usize>());
    }

    #[test]
    fn every_example_of_the_coordinator_is_checked_and_printed() {
        for table in ["serve", "simulate"] {
            for name in crate::examples::with(table).keys() {
                let file = crate::examples::folder().join(name);
                let federation = check(&file).unwrap_or_else(|failure| panic!("{}", failure.what));
                let printed = federation.to_toml();
                let again = Federation::from_toml(&printed).unwrap();
                assert_eq!(again, federation, "{name}:\n{printed}");
            }
        }
    }

    #[test]
    fn a_wrong_value_is_refused_as_configuration_with_its_file_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad.toml");
        let good = "name = 'x'\nrounds = 1\n[input]\nsequences = ['flair']\n";
        for (addition, named) in [
            (
                "[evaluation]\nheld_out_every = 0\n",
                "evaluation.held_out_every is 0; expected at least 1",
            ),
            (
                "[training]\nintensity = 1.5\n",
                "training.intensity is 1.5; expected at least 0 and below 1",
            ),
            (
                "[sites]\nexpected = ['n/rth']\n",
                "sites.expected is n/rth; expected 1 to 64 letters",
            ),
            (
                "[serve]\nlisten = '0.0.0.0:1'\n",
                "serve.certificates is missing",
            ),
            ("[simulate]\nsites = []\n", "simulate.sites"),
        ] {
            std::fs::write(&file, format!("{good}{addition}")).unwrap();
            let failure = check(&file).unwrap_err();
            assert_eq!(failure.class, Class::Configuration, "{addition}");
            assert!(failure.what.contains("bad.toml"), "{}", failure.what);
            assert!(failure.what.contains(named), "{}", failure.what);
        }
    }
}
