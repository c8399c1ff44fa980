//! The table of cases and patients, which is written only on request.

use super::error::ImportError;
use super::folder::Folder;
use super::plan::Plan;
use super::scan::Scan;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

const HEAD: &str = "case,PatientID,StudyInstanceUID,StudyDate";

/// Writes or completes the key: a line of CSV for each case, for its owner's eyes. Cases that the
/// file has from earlier runs stay in it.
///
/// # Errors
/// It would lie among the images, another file is there, or the disk refuses.
pub fn write_key(
    path: &Path,
    plan: &Plan,
    scan: &Scan,
    folder: &Folder,
) -> Result<(), ImportError> {
    let whole = std::path::absolute(path).map_err(ImportError::disk(path))?;
    let parent = whole.parent().map(Path::canonicalize);
    if matches!(parent, Some(Ok(parent)) if parent.starts_with(folder.path())) {
        return Err(ImportError::KeyInFolder(path.into()));
    }
    let mut lines = read(path)?;
    for case in &plan.cases {
        let [patient, study] = case.place;
        let patient = &scan.patients[patient];
        let study = &patient.studies[study];
        let id = if patient.has_id { &patient.id } else { "" };
        let line = [&case.case, id, &study.uid, &study.date]
            .map(cell)
            .join(",");
        lines.insert(case.case.clone(), line);
    }
    let mut text = format!("{HEAD}\n");
    for line in lines.values() {
        text += line;
        text.push('\n');
    }
    program::files::replace(path, |file| file.write_all(text.as_bytes()))
        .map_err(ImportError::disk(path))
}

/// The lines of a key by case.
fn read(path: &Path) -> Result<BTreeMap<String, String>, ImportError> {
    let mut lines = BTreeMap::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(lines),
        Err(error) => return Err(ImportError::disk(path)(error)),
    };
    let mut all = text.lines();
    if all.next() != Some(HEAD) {
        return Err(ImportError::KeyExists(path.into()));
    }
    for line in all {
        let case = line.split(',').next().unwrap_or_default();
        lines.insert(case.to_owned(), line.to_owned());
    }
    Ok(lines)
}

/// Quotes what a spreadsheet would not take as plain text.
fn cell(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "._- ".contains(letter);
    let formula = text.starts_with(['-', '=', '+', '@']);
    if text.chars().all(plain) && !formula {
        return text.to_owned();
    }
    let one_line: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let quoted = one_line.replace('"', "\"\"");
    if formula {
        format!("\"'{quoted}\"")
    } else {
        format!("\"{quoted}\"")
    }
}
