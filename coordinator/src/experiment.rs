//! The arms of an experiment, one simulated federation after the other, and their
//! comparison.
//!
//! ```text
//! OUT/experiment.toml          the configuration it was started with
//! OUT/phantoms, OUT/sites/     images and prepared cases that all runs share
//! OUT/arms/ARM/seed-N/         each run's own folder, with its own report
//! OUT/experiment.json, .html   the comparison, written again after every run
//! ```

mod plan;

use crate::report::{self, experiment::Finished, experiment::Written};
use crate::simulate::{self, folder, folder::Folder};
use plan::Arm;
pub(crate) use plan::{Experiment, ExperimentError};
use program::private;
use program::{Class, Failure};
use protocol::outcome::Outcome;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The configuration in an experiment's folder. A folder without it is not an experiment's.
pub(crate) const FILE: &str = "experiment.toml";

/// Runs the unfinished runs of an experiment, and shows the comparison.
///
/// # Errors
/// A run that fails, an interruption, a disk that refuses.
pub(crate) fn run(experiment: &Experiment, out: &Path, json: bool) -> Result<(), Failure> {
    open(out, experiment)?;
    eprintln!("experiment's folder: {}", out.display());
    let mut runs: Vec<(&Arm, u64)> = Vec::new();
    for &seed in &experiment.seeds {
        for arm in &experiment.arms {
            runs.push((arm, seed));
        }
    }
    let mut clock = Clock {
        began: Instant::now(),
        done: Vec::new(),
    };
    for (index, &(arm, seed)) in runs.iter().enumerate() {
        if is_finished(out, arm, seed) {
            continue;
        }
        let mut unfinished = Vec::new();
        for &(arm, seed) in &runs[index..] {
            if !is_finished(out, arm, seed) {
                unfinished.push((arm, seed));
            }
        }
        let left = match clock.left(&unfinished) {
            Some(left) => format!(", about {left} left"),
            None => String::new(),
        };
        eprintln!(
            "run {} of {}: {} with seed {seed}{left}",
            index + 1,
            runs.len(),
            arm.name
        );
        let outcome = execute(experiment, arm, seed, out)?;
        clock.done.push((arm.name.clone(), outcome.seconds));
        // After the last run, `show` writes it.
        if unfinished.len() > 1 {
            write(experiment, out, out)?;
        }
    }
    show(experiment, out, out, json)
}

/// Makes the folder, or opens an experiment that was started. Arms and seeds may have been added
/// since; the runs that are there must have the configuration's settings.
fn open(out: &Path, experiment: &Experiment) -> Result<(), Failure> {
    private::create_folder(out).map_err(|error| disk(out, &error))?;
    let copy = out.join(FILE);
    if !copy.exists() {
        let mut entries = std::fs::read_dir(out).map_err(|error| disk(out, &error))?;
        if entries.next().is_some() {
            let out = out.display();
            return Err(unsuitable(format!(
                "{out} is not empty and not an experiment's folder"
            )));
        }
    }
    for arm in &experiment.arms {
        for &seed in &experiment.seeds {
            let settings = out.join(place(arm, seed)).join(folder::SETTINGS);
            let plan = experiment
                .plan(arm, seed, 1)
                .map_err(|error| Failure::new(Class::Configuration, error))?;
            if std::fs::read_to_string(&settings).is_ok_and(|text| text != plan.text) {
                return Err(unsuitable(format!(
                    "{} was begun with other settings",
                    out.join(place(arm, seed)).display()
                )));
            }
        }
    }
    std::fs::write(&copy, &experiment.text).map_err(|error| disk(out, &error))
}

fn disk(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Class::Disk, format!("{}: {error}", folder.display()))
}

/// A folder that this experiment cannot use.
fn unsuitable(what: String) -> Failure {
    Failure::new(Class::Configuration, what).hint("name another folder with --out")
}

fn place(arm: &Arm, seed: u64) -> PathBuf {
    Path::new("arms")
        .join(&arm.name)
        .join(format!("seed-{seed}"))
}

/// A run's outcome; `None` while it is not finished.
fn finished(out: &Path, arm: &Arm, seed: u64) -> Result<Option<Outcome>, Failure> {
    let folder = out.join(place(arm, seed));
    if !is_finished(out, arm, seed) {
        return Ok(None);
    }
    let outcome = report::read(&folder)?;
    if !folder.join("report.html").exists() {
        // The coordinator was killed between outcome and report.
        report::write(&outcome, &folder)?;
    }
    Ok(Some(outcome))
}

fn is_finished(out: &Path, arm: &Arm, seed: u64) -> bool {
    out.join(place(arm, seed))
        .join(crate::store::OUTCOME)
        .exists()
}

/// Executes one run to its end, or continues an interrupted one.
fn execute(experiment: &Experiment, arm: &Arm, seed: u64, out: &Path) -> Result<Outcome, Failure> {
    let plan = experiment
        .plan(arm, seed, simulate::cores())
        .map_err(|error| Failure::new(Class::Configuration, error))?;
    let folder = Folder::open(&out.join(place(arm, seed)), &plan, Some(out))?;
    simulate::execute(plan, folder, arm.with_local, None).map_err(|failure| {
        let hint = format!(
            "the same command with --out {} continues; finished runs are kept",
            out.display()
        );
        failure.hint(hint)
    })
}

/// The runs that are finished, arm by arm.
fn all_finished(experiment: &Experiment, out: &Path) -> Result<Vec<Finished>, Failure> {
    let mut all = Vec::new();
    for arm in &experiment.arms {
        for &seed in &experiment.seeds {
            let folder = place(arm, seed).to_string_lossy().into_owned();
            if let Some(outcome) = finished(out, arm, seed)? {
                all.push(Finished {
                    arm: arm.name.clone(),
                    seed,
                    folder,
                    outcome,
                });
            }
        }
    }
    Ok(all)
}

fn write(experiment: &Experiment, folder: &Path, out: &Path) -> Result<Option<Written>, Failure> {
    Ok(report::experiment::write(
        &experiment.name,
        &all_finished(experiment, folder)?,
        out,
    )?)
}

/// Writes and shows the report of the runs that are finished in an experiment's folder.
///
/// # Errors
/// No run is finished, or the report cannot be written.
pub(crate) fn show(
    experiment: &Experiment,
    folder: &Path,
    out: &Path,
    json: bool,
) -> Result<(), Failure> {
    let Some(written) = write(experiment, folder, out)? else {
        let what = format!("no run of {} is finished yet", folder.display());
        return Err(Failure::new(Class::Data, what));
    };
    if json {
        print!("{}", written.json);
    } else {
        let report = out.join("experiment.html");
        println!("{}\nreport: {}", written.words, report.display());
    }
    Ok(())
}

/// How long runs take.
struct Clock {
    began: Instant,
    /// Arms and seconds of the runs since the start.
    done: Vec<(String, f64)>,
}

impl Clock {
    /// How long the unfinished runs will take, for people: as long as finished runs of the same
    /// arm, or as finished runs of any arm; `None` before a run is finished.
    fn left(&self, runs: &[(&Arm, u64)]) -> Option<String> {
        let of_all = self.mean_seconds(None)?;
        let mut seconds = 0.0;
        for (arm, _) in runs {
            seconds += self.mean_seconds(Some(&arm.name)).unwrap_or(of_all);
        }
        // The runs' own times leave out the making of phantoms and the like.
        let of_runs: f64 = self.done.iter().map(|(_, seconds)| seconds).sum();
        let overhead = (self.began.elapsed().as_secs_f64() / of_runs.max(1.0)).max(1.0);
        Some(format!("{} min", (seconds * overhead / 60.0).ceil()))
    }

    /// The mean time of the finished runs, of one arm or of all; `None` where there is none.
    fn mean_seconds(&self, arm: Option<&str>) -> Option<f64> {
        let mut sum = 0.0;
        let mut count = 0;
        for (name, seconds) in &self.done {
            if arm.is_none_or(|arm| arm == name) {
                sum += seconds;
                count += 1;
            }
        }
        if count == 0 {
            None
        } else {
            Some(sum / f64::from(count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_experiment_may_grow_and_another_one_is_left_alone() {
        let text = |name: &str| {
            format!(
                "name = '{name}'\nrounds = 1\n[input]\nsequences = \
                 ['a']\n[[simulate.sites]]\nname = 'n'\nrole = 'train'\ncases = \
                 2\n[experiment]\nseeds = [1]\narms = [{{ name = 'one' }}]\n"
            )
        };
        let folder = tempfile::tempdir().unwrap();
        let more = text("one").replace("{ name = 'one' }", "{ name = 'one' }, { name = 'two' }");
        let [one, more, other] =
            [text("one"), more, text("other")].map(|text| Experiment::from_toml(&text).unwrap());
        open(folder.path(), &one).unwrap();
        let begun = folder.path().join(place(&one.arms[0], 1));
        std::fs::create_dir_all(&begun).unwrap();
        std::fs::write(
            begun.join(folder::SETTINGS),
            one.plan(&one.arms[0], 1, 2).unwrap().text,
        )
        .unwrap();
        open(folder.path(), &one).unwrap();
        open(folder.path(), &more).unwrap();
        assert_eq!(
            open(folder.path(), &other).unwrap_err().class,
            Class::Configuration
        );
        assert_eq!(
            open(&folder.path().join("arms"), &one).unwrap_err().class,
            Class::Configuration
        );
        let nothing = show(&one, folder.path(), folder.path(), false).unwrap_err();
        assert!(nothing.what.contains("no run"), "{}", nothing.what);
    }

    #[test]
    fn what_is_left_is_told_from_what_was() {
        let text = "name = 'x'\nrounds = 1\n[input]\nsequences = ['a']\n[[simulate.sites]]\nname \
                    = 'n'\nrole = 'train'\ncases = 2\n[experiment]\nseeds = [1, 2]\narms = [{ \
                    name = 'one' }, { name = 'two' }]\n";
        let experiment = Experiment::from_toml(text).unwrap();
        let runs: Vec<(&Arm, u64)> = experiment.arms.iter().map(|arm| (arm, 2)).collect();
        let mut clock = Clock {
            began: Instant::now(),
            done: Vec::new(),
        };
        assert_eq!(clock.left(&runs), None);
        clock.done.push(("one".into(), 600.0));
        assert_eq!(clock.left(&runs).unwrap(), "20 min");
        clock.done.push(("two".into(), 60.0));
        assert_eq!(clock.left(&runs).unwrap(), "11 min");
    }

    #[test]
    fn every_example_with_an_experiment_table_can_be_run() {
        for (name, text) in crate::examples::with("experiment") {
            let experiment =
                Experiment::from_toml(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(experiment.arms.len() > 1, "{name}");
        }
    }
}
