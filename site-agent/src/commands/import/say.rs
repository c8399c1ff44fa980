//! The report in words.

use imaging::import::{CaseReport, Certainty, Folder, Report, State};
use program::visible::visible;
use std::path::PathBuf;

/// Names of files to show; import.json has all.
const SHOWN: usize = 10;

/// All of it, with the `[data]` table at the end.
pub(super) fn report(report: &Report, folder: &Folder, data: Option<&(PathBuf, String)>) -> String {
    let mut text = String::new();
    for case in &report.cases {
        text += &of_case(case);
    }
    text += &files(report);
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text += &summary(report, folder);
    if let Some((path, table)) = data {
        text += &grids(report);
        text += &format!(
            "\nPaste into the site's settings (also in {}):\n\n{table}",
            path.display()
        );
    }
    text.trim_end().to_owned()
}

/// A case's table: one line for each series, and why below it.
fn of_case(case: &CaseReport) -> String {
    let mut text = format!("{}\n", case.case);
    let wide = |length: usize, series: &imaging::import::PlannedSeries| {
        length.max(visible(&series.description).chars().count())
    };
    let width = case.series.iter().fold(11, wide).min(40);
    text += &format!(
        "  {:>6}  {:width$}  {:>6}  {:8}  sequence\n",
        "series", "description", "slices", "verdict"
    );
    for series in &case.series {
        let sequence = match &series.taken {
            Some(taken) => taken.clone(),
            None if series.certainty == Certainty::InDoubt => {
                format!("{}?", series.sequences.join(" or "))
            }
            None => "-".to_owned(),
        };
        text += &format!(
            "  {:>6}  {:width$}  {:>6}  {:8}  {sequence}\n",
            series.number,
            visible(&series.description),
            series.slices,
            series.certainty.word()
        );
        if series.certainty == Certainty::InDoubt {
            text += &format!("          in answers.toml: {}\n", series.series);
        }
        for reason in &series.why {
            text += &format!("          {}\n", visible(reason));
        }
    }
    for image in &case.sequences {
        let state = match image.state {
            State::Planned => "to be written",
            State::Written => "written",
            State::Kept => "there already",
            State::Failed => "FAILED",
        };
        text += &format!("  {}: {state}", image.file);
        if let Some(geometry) = &image.geometry {
            text += &format!(", {geometry}");
        }
        text.push('\n');
        if let (Some(trouble), Some(remedy)) = (&image.trouble, &image.remedy) {
            text += &format!("    {trouble}\n    -> {remedy}\n");
        }
    }
    text.push('\n');
    text
}

fn files(report: &Report) -> String {
    let files = &report.files;
    let mut text = format!("{} files: {} images", files.seen, files.images);
    for (count, what) in [
        (files.copies, "copies of images"),
        (files.dicomdir, "DICOMDIR"),
        (files.not_dicom.len(), "not DICOM"),
        (files.damaged.len(), "damaged"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    for (modality, count) in &files.no_images {
        text += &format!(", {count} {} without an image", visible(modality));
    }
    text.push('\n');
    for file in files.damaged.iter().take(SHOWN) {
        text += &format!("  damaged: {}: {}\n", visible(&file.file), file.trouble);
    }
    for file in files.not_dicom.iter().take(SHOWN) {
        text += &format!("  not DICOM: {}\n", visible(file));
    }
    if files.damaged.len().max(files.not_dicom.len()) > SHOWN {
        text += "  import.json names all\n";
    }
    text
}

fn summary(report: &Report, folder: &Folder) -> String {
    let counts = report.counts();
    let mut parts = Vec::new();
    for (count, what) in [
        (counts.planned, "to be written"),
        (counts.written, "written"),
        (counts.kept, "there already"),
        (counts.failed, "failed"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if parts.is_empty() {
        parts.push("none".into());
    }
    let mut text = format!(
        "{} of {} cases have images; images: {}; series in doubt: {}\nThe report is {}\n",
        counts.cases,
        report.cases.len(),
        parts.join(", "),
        counts.in_doubt,
        folder.path().join("import.json").display()
    );
    if counts.in_doubt > 0 {
        text += "Series in doubt are left out. Run this in a terminal to be asked, or write \
                 answers.toml into the folder of the images.\n";
    }
    text
}

/// What is still to be done before the images can be used.
fn grids(report: &Report) -> String {
    let mut differ = Vec::new();
    for case in &report.cases {
        if case.grids_differ {
            let names: Vec<&str> = case
                .sequences
                .iter()
                .filter(|image| image.geometry.is_some())
                .map(|image| image.sequence.as_str())
                .collect();
            differ.push(format!("  {} ({})\n", case.case, names.join(", ")));
        }
    }
    let mut text = "\nNOT DONE BY THIS COMMAND: the sequences of a case must be registered to \
                    one grid, each case needs a brain mask (or images without skull), and \
                    training needs masks of the lesions.\n"
        .to_owned();
    if differ.is_empty() {
        text += "The sequences of each case are on one grid. The head may have moved between \
                 them all the same.\n";
    } else {
        text += &format!(
            "The sequences are on different grids in these cases ({}), which are skipped until \
             they are registered:\n{}",
            differ.len(),
            differ.concat()
        );
    }
    text
}
