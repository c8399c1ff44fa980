//! Many pairs at once: folders in, a table out.

use super::error::ScoreError;
use super::measure::{Measured, measure};
use super::read::{Pair, stem};
use super::{Args, print, warn};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Scores each reference that has a prediction of the same name, and says which have none.
pub(super) fn run(args: &Args) -> Result<(), ScoreError> {
    if args.score.is_some() || args.json {
        return Err(ScoreError::SinglePairOnly);
    }
    let references = masks(&args.reference, &args.reference_suffix)?;
    let predictions = masks(&args.prediction, &args.prediction_suffix)?;
    let pairs: Vec<_> =
        references.iter().filter_map(|(name, path)| Some((name, path, predictions.get(name)?))).collect();
    for name in references.keys().filter(|name| !predictions.contains_key(*name)) {
        eprintln!("warning: {name} has no prediction and is left out");
    }
    for name in predictions.keys().filter(|name| !references.contains_key(*name)) {
        eprintln!("warning: {name} has no reference and is left out");
    }
    if pairs.is_empty() {
        let (reference, prediction) = (args.reference.clone(), args.prediction.clone());
        return Err(ScoreError::NoPairs { reference, prediction });
    }
    let (labels, wanted) = (args.labels(), args.wanted());
    let one = |&(name, reference, prediction): &(_, &PathBuf, &PathBuf)| -> Result<_, ScoreError> {
        let pair = Pair::read(reference, prediction, &labels)?;
        warn(&pair);
        Ok((name, measure(&pair, None, &wanted)))
    };
    let scored: Vec<(&String, Measured)> = pairs.par_iter().map(one).collect::<Result<_, _>>()?;
    let table = table(&scored);
    match &args.csv {
        Some(path) => std::fs::write(path, table + "\n").map_err(|error| disk(path, error)),
        None => print(&table).map_err(|error| disk(Path::new("standard output"), error)),
    }
}

fn disk(path: &Path, error: std::io::Error) -> ScoreError {
    ScoreError::Disk { path: path.to_owned(), error }
}

/// Comma-separated values, a line for each case, undefined values empty. A column that only some cases have (a share
/// of nothing is left out) is in the table.
fn table(scored: &[(&String, Measured)]) -> String {
    let rows: Vec<_> = scored.iter().map(|(name, measured)| (name, measured.flat())).collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, values)| values) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut lines = vec![format!("case,{}", columns.join(","))];
    for (name, values) in &rows {
        let values: BTreeMap<&str, &str> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let cells = columns.iter().map(|column| values.get(column).copied().unwrap_or_default());
        lines.push(format!("{},{}", quoted(name), cells.collect::<Vec<_>>().join(",")));
    }
    lines.join("\n")
}

/// A name as a cell.
fn quoted(name: &str) -> String {
    let plain = !name.contains([',', '"', '\n', '\r']);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The masks in a folder and the folders in it, by the name before `suffix`.
fn masks(folder: &Path, suffix: &str) -> Result<BTreeMap<String, PathBuf>, ScoreError> {
    if !folder.is_dir() {
        return Err(ScoreError::NotAFolder { path: folder.to_owned() });
    }
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(here) = open.pop() {
        for entry in std::fs::read_dir(&here).map_err(|error| disk(&here, error))? {
            let entry = entry.map_err(|error| disk(&here, error))?;
            let path = entry.path();
            // A link to a folder is not followed: it could lead in a circle.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
                continue;
            }
            let Some(name) = stem(&path).and_then(|stem| stem.strip_suffix(suffix)).map(str::to_owned) else {
                continue;
            };
            if found.insert(name.clone(), path).is_some() {
                return Err(ScoreError::Repeated { folder: folder.to_owned(), name });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_name_with_a_comma_stays_one_cell() {
        assert_eq!(quoted("case 7"), "case 7");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
