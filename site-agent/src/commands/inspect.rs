//! The `inspect` subcommand: what a folder of images holds.

use crate::data::Row;
use crate::inspect::{Inspection, check_page, inspect};
use crate::output;
use crate::progress_bar::ProgressBar;
use crate::train::on_own_thread;
use program::visible::visible;
use program::{Class, Failure};
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of the cases.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Also write a page with a picture of each case. It shows slices of heads: keep it at the site.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the page if it is there already.
    #[arg(long, requires = "html")]
    force: bool,
    /// Cases that are read at the same time; all cores when left out.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// An unknown layout, or cases that cannot be used as they are.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(page) = &args.html {
        check_page(page, &args.folder)?;
        output::check(&[page], &[], args.force)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = args.folder.clone();
    let lost = |reason: String| Failure::new(Class::Internal, reason);
    let work = on_own_thread(args.threads.unwrap_or(cores), move || {
        let mut bar = None;
        inspect(&folder, &mut |done, total| {
            bar.get_or_insert_with(|| ProgressBar::new("cases looked at", total))
                .at(done);
        })
    });
    let work = work.map_err(|error| lost(error.to_string()))?;
    let found = work
        .join()
        .map_err(|_| lost("the cases could not be looked at".into()))??;
    let text = if args.json {
        serde_json::to_string_pretty(&found).map_err(|error| lost(error.to_string()))?
    } else {
        words(&found)
    };
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            return Err(Failure::new(Class::Disk, error));
        }
        _ => {}
    }
    if let Some(page) = &args.html {
        found.write_page(page)?;
    }
    match found.fault() {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

/// All of it as text, the table for the settings at the end.
fn words(found: &Inspection) -> String {
    let mut text = format!("layout: {}\n", found.layout);
    for case in &found.cases {
        text += &format!("\n{}\n", visible(&case.case));
        for image in &case.images {
            let [width, height, depth] = image.voxels;
            let [x, y, z] = image.spacing_mm;
            let [low, first, last, high] = image.intensities;
            text += &format!(
                "  {:8} {width} x {height} x {depth} voxels of {x:.2} x {y:.2} x {z:.2} mm, \
                 values {low:.1} to {high:.1} (1st and 99th percentile {first:.1} and \
                 {last:.1})\n",
                visible(&image.sequence)
            );
        }
        if let Some(label) = &case.label {
            text += &format!("  {}\n", label.words());
        }
        for reason in &case.unreadable {
            text += &format!("  {}\n", visible(reason));
        }
    }
    text += &format!(
        "\n{} cases, {} that can be used, of {} patients\n",
        found.cases.len(),
        found.usable,
        found.patients
    );
    for Row {
        case,
        what,
        how_bad,
        remedy,
    } in &found.troubles
    {
        text += &format!(
            "  {}: {how_bad}: {}\n    -> {}\n",
            visible(case),
            visible(what),
            visible(remedy)
        );
    }
    for note in &found.notes {
        text += &format!("note: {}\n", visible(note));
    }
    text += &format!("\nPaste into the site's settings:\n\n{}", found.table);
    text.trim_end().to_owned()
}
