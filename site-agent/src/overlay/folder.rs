//! The pictures in the site's work folder. They stay there, and so does the index that says whose
//! they are.

use super::Overlays;
use program::files;
use protocol::overlay::{Rank, Representative};
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The pictures' folder in the work folder.
pub(super) const FOLDER: &str = "overlays";
/// The file in it that names the pictures' cases.
pub(super) const INDEX: &str = "overlays.json";

/// What to see, for those who open the folder.
const LEGEND: &str = "Left: the probability of lesion from violet, 0, to yellow, 1 (viridis), \
                      fading below the threshold. Right, at the threshold: green found, \
                      vermilion wrongly called, blue missed. The front is above, the patient's \
                      left on the right.";

/// What the index says of a picture.
pub(super) struct Entry {
    /// Its file.
    pub(super) file: String,
    /// The case's name. Never leaves the site.
    pub(super) case: String,
    /// What it represents.
    pub(super) of: Representative,
    /// The slice, counted from 0 at the lowest.
    pub(super) slice: usize,
    /// The sequence in the background.
    pub(super) background: String,
}

#[derive(Serialize)]
struct Index<'a> {
    legend: &'a str,
    threshold: f32,
    sent_to_the_coordinator: bool,
    pictures: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    case: &'a str,
    rank: Rank,
    dice: f64,
    slice: usize,
    background: &'a str,
}

/// An empty folder for the pictures: those of an earlier report show another model.
pub(super) fn clear(work: &Path) -> io::Result<PathBuf> {
    let folder = work.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => program::private::create_folder(&folder)?,
    }
    Ok(folder)
}

/// Writes a picture under its case's number, and gives the file's name.
pub(super) fn put(folder: &Path, case: u32, png: &[u8]) -> io::Result<String> {
    let file = format!("case-{case:03}.png");
    files::replace(&folder.join(&file), |out| out.write_all(png))?;
    Ok(file)
}

/// Writes down whose the pictures are.
pub(super) fn put_index(
    folder: &Path,
    threshold: f32,
    permitted: Overlays,
    entries: &[Entry],
) -> io::Result<()> {
    let pictures = entries.iter().map(
        |Entry {
             file,
             case,
             of,
             slice,
             background,
         }| {
            let Representative { rank, dice, .. } = *of;
            Line {
                file,
                case,
                rank,
                dice,
                slice: *slice,
                background,
            }
        },
    );
    let sent_to_the_coordinator = permitted == Overlays::Send;
    let index = Index {
        legend: LEGEND,
        threshold,
        sent_to_the_coordinator,
        pictures: pictures.collect(),
    };
    let text = serde_json::to_string_pretty(&index)?;
    files::replace(&folder.join(INDEX), |out| out.write_all(text.as_bytes()))
}
