//! The `phantom` subcommand: writes synthetic cohorts.

use crate::phantom::{
    Cohort, Common, PhantomError, ScannerChoice, Site, Written, check_empty, write,
};
use indicatif::{ProgressBar, ProgressStyle};
use program::{Class, Failure};
use std::path::PathBuf;

/// Arguments of `phantom`: one site by `--site` and `--cases`, or several by `--config`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("cohort").required(true).args(["site", "config"]))]
pub struct Args {
    /// Where to write: a site's cases, or a folder for each site of a cohort file.
    #[arg(long)]
    out: PathBuf,
    /// A cohort file of several sites: a `[cohort]` table with the options below (`_` for `-`), and
    /// `[[site]]` tables with `name`, `cases`, `lacks`, `scanner`.
    #[arg(long, conflicts_with_all = ["cases", "lacks", "scanner", "seed", "plane", "slices", "spacing_mm", "lesions",
        "diameter_mm", "mimics", "brain_extracted"])]
    config: Option<PathBuf>,
    /// The name of one site; its scanner derives from it.
    #[arg(long, requires = "cases")]
    site: Option<String>,
    /// How many cases the site has.
    #[arg(long)]
    cases: Option<usize>,
    /// Sequences that the site does not acquire, of bravo, t1_pre, t1_post, flair.
    #[arg(long, value_delimiter = ',')]
    lacks: Vec<String>,
    /// The site's scanner: auto, reference, or "like SITE".
    #[arg(long, default_value_t)]
    scanner: ScannerChoice,
    #[command(flatten)]
    common: Common,
    /// Print one line of JSON for each site.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Settings that cannot be drawn, a folder that is not empty, a disk that refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let cohorts = cohorts(args)?;
    // Before any of them is written.
    cohorts
        .iter()
        .try_for_each(|(folder, _)| check_empty(folder))?;
    for (folder, cohort) in cohorts {
        let bar = ProgressBar::new(cohort.cases as u64)
            .with_style(style())
            .with_prefix(cohort.site.clone());
        let written = write(&folder, &cohort, &mut |cases| {
            bar.set_position(cases as u64)
        });
        bar.finish_and_clear();
        say(&written?, args.json)?;
    }
    Ok(())
}

fn cohorts(args: &Args) -> Result<Vec<(PathBuf, Cohort)>, PhantomError> {
    if let Some(config) = &args.config {
        let disk = |source| PhantomError::Disk {
            path: config.clone(),
            source,
        };
        let text = std::fs::read(config).map_err(disk)?;
        let text = protocol::text::decode(&text)
            .map_err(std::io::Error::other)
            .map_err(disk)?;
        let cohorts = Cohort::all(text)?;
        return Ok(cohorts
            .into_iter()
            .map(|cohort| (args.out.join(&cohort.site), cohort))
            .collect());
    }
    let site = Site {
        name: args.site.clone().unwrap_or_default(),
        cases: args.cases.unwrap_or_default(),
        lacks: args.lacks.clone(),
        scanner: args.scanner.clone(),
    };
    Ok(vec![(args.out.clone(), Cohort::new(&args.common, &site)?)])
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} cases, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn say(written: &Written, json: bool) -> Result<(), Failure> {
    if json {
        let line =
            serde_json::to_string(written).map_err(|error| Failure::new(Class::Internal, error))?;
        println!("{line}");
        return Ok(());
    }
    let Written {
        site,
        folder,
        data,
        cases,
        lesions,
        sequences,
    } = written;
    println!(
        "{site}: {cases} cases with {lesions} lesions in {} ({})",
        folder.display(),
        sequences.join(", ")
    );
    println!("  its [data] table: {}", data.display());
    Ok(())
}
