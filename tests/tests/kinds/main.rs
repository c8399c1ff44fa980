//! Kinds of trouble in a site's files and settings, one a line: what is put there, which commands
//! are run, how each ends and what it must say. Nothing about a patient may be wrong in silence.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

mod cohort;
mod commands;
mod site;
mod volumes;

use commands::Ran;
use site::Site;

/// One kind of trouble.
struct Kind {
    name: &'static str,
    /// Puts it into a site whose four cases are sound.
    make: fn(&mut Site),
    /// The commands to run, and what each must come to.
    told: &'static [Told],
}

/// What a command must come to.
struct Told {
    command: Command,
    code: i32,
    /// What must be in its words, in its JSON, or in the files that it leaves.
    says: &'static [&'static str],
    /// What must not.
    never: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum Command {
    /// `site-agent doctor --json`: its words are the finding of the data, or the program's last
    /// words.
    Doctor,
    /// `coordinator simulate` with the site and a sound one: its words are the site's
    /// `skipped.json` and its log.
    Train,
    /// `site-agent predict` on the site's first case: its words are standard error.
    Predict,
}

/// Runs all kinds of a table and names every one that is not told as it must be.
fn check(kinds: &[Kind]) {
    let mut wrong = Vec::new();
    for kind in kinds {
        let folder = tempfile::tempdir().unwrap();
        let mut site = Site::sound(folder.path());
        (kind.make)(&mut site);
        for told in kind.told {
            let Ran { code, words } = match told.command {
                Command::Doctor => commands::doctor(&site),
                Command::Train => commands::train(&site),
                Command::Predict => commands::predict(&site),
            };
            let missing: Vec<_> = told
                .says
                .iter()
                .filter(|said| !words.contains(**said))
                .collect();
            let extra: Vec<_> = told
                .never
                .iter()
                .filter(|said| words.contains(**said))
                .collect();
            if code != told.code || !missing.is_empty() || !extra.is_empty() {
                let Told {
                    command,
                    code: wanted,
                    ..
                } = told;
                wrong.push(format!(
                    "{}, {command:?}: exit {code}, not {wanted}; missing {missing:?}; too much \
                     {extra:?}; it said\n{words}\n",
                    kind.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sound_site_is_told_nothing() {
    check(&[Kind {
        name: "nothing",
        make: |_| {},
        told: &[
            Told {
                command: Command::Doctor,
                code: 0,
                says: &["4 cases", "4 that can be used"],
                never: &["how_bad"],
            },
            Told {
                command: Command::Train,
                code: 0,
                says: &[r#""skipped":[]"#, r#""warnings":[]"#],
                never: &["WARN"],
            },
            Told {
                command: Command::Predict,
                code: 0,
                says: &[],
                never: &["WARN", "warning: "],
            },
        ],
    }]);
}

#[test]
fn every_kind_of_trouble_in_a_cohort_is_told() {
    check(cohort::KINDS);
}

#[test]
fn every_kind_of_trouble_in_a_single_volume_is_told() {
    check(volumes::KINDS);
}

#[test]
fn every_kind_of_trouble_in_a_settings_file_is_told() {
    check(cohort::SETTINGS);
}
