//! Many pairs at once: folders in, a table out.

use super::error::{ScoreError, disk};
use super::files::{masks, shown};
use super::measure::{Measured, measure};
use super::pairing::{Pairing, pair, pair_by_patterns};
use super::read::Pair;
use super::{Args, print, warn};
use crate::data::CasePattern;
use crate::output;
use program::Failure;
use program::csv;
use program::files::replace;
use program::visible::{visible, visible_lines};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Scores each reference that has a prediction, and says which have none and which pairs could not
/// be scored.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.score.is_some() || args.json {
        return Err(ScoreError::SinglePairOnly.into());
    }
    if let Some(csv) = &args.csv {
        // Before anything is read; that it is none of the masks is looked at once they are found.
        output::check(&[csv], &[], args.force)?;
    }
    let pairing = find(args)?;
    if let Some(csv) = &args.csv {
        let files = pairing
            .pairs
            .iter()
            .flat_map(|(_, one, other)| [one.as_path(), other.as_path()]);
        output::check(&[csv], &files.collect::<Vec<_>>(), true)?;
    }
    say(&pairing);
    let (labels, wanted) = (args.labels(), args.wanted());
    let score = |reference: &Path, prediction: &Path| -> Result<Measured, ScoreError> {
        let pair = Pair::read(reference, prediction, &labels)?;
        warn(&pair);
        Ok(measure(&pair, None, &wanted))
    };
    let pairs = pairing.pairs.par_iter();
    let outcomes: Vec<_> = pairs
        .map(|(name, one, other)| (name, score(one, other)))
        .collect();
    let mut scored = Vec::new();
    let mut failed = pairing.unclear.len();
    for (name, outcome) in outcomes {
        match outcome {
            Ok(measured) => scored.push((name, measured)),
            // Wrong for every pair alike.
            Err(error @ ScoreError::BackgroundAsLesion) => return Err(error.into()),
            Err(error) => {
                failed += 1;
                eprintln!(
                    "not scored: {}: {}",
                    visible(name),
                    visible_lines(&error.to_string())
                );
            }
        }
    }
    let table = table(&scored);
    match &args.csv {
        Some(path) => {
            let text = table + "\n";
            replace(path, |file| file.write_all(text.as_bytes()))
                .map_err(|error| disk(path, error))?;
        }
        None => print(&table).map_err(|error| disk(Path::new("standard output"), error))?,
    }
    match failed {
        0 => Ok(()),
        failed => Err(ScoreError::NotAll {
            failed,
            all: failed + scored.len(),
        }
        .into()),
    }
}

fn find(args: &Args) -> Result<Pairing, ScoreError> {
    let references = masks(&args.reference, &args.reference_suffix)?;
    let predictions = masks(&args.prediction, &args.prediction_suffix)?;
    let Some([reference, prediction]) = args.pair.as_deref() else {
        return pair(&references, &predictions);
    };
    let parse =
        |text: &str| CasePattern::parse(text).map_err(|_| ScoreError::Pattern(text.to_owned()));
    let patterns = [parse(reference)?, parse(prediction)?];
    let roots = [args.reference.as_path(), args.prediction.as_path()];
    pair_by_patterns(
        roots,
        [&patterns[0], &patterns[1]],
        [&references, &predictions],
    )
}

/// How the files were paired, and which were not.
fn say(pairing: &Pairing) {
    eprintln!("{} pairs, {}", pairing.pairs.len(), pairing.rule);
    if let Some((name, reference, prediction)) = pairing.pairs.first() {
        eprintln!(
            "  {}: {} with {}",
            visible(name),
            shown(reference),
            shown(prediction)
        );
    }
    for (path, reason) in &pairing.unpaired {
        eprintln!("warning: {} is left out: {}", shown(path), visible(reason));
    }
    for unclear in &pairing.unclear {
        eprintln!(
            "not scored: several files could be meant for {}",
            visible(unclear)
        );
    }
    for (name, reference, prediction) in &pairing.pairs {
        if output::same_file(reference, prediction) {
            eprintln!(
                "warning: {}: reference and prediction are one and the same file",
                visible(name)
            );
        }
    }
}

/// Comma-separated values, a line for each case, undefined values empty. A column that only some
/// cases have (a share of nothing is left out) is in the table.
fn table(scored: &[(&String, Measured)]) -> String {
    let rows: Vec<_> = scored
        .iter()
        .map(|(name, measured)| (name, measured.flat()))
        .collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|(_, values)| values) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let head: Vec<&str> = std::iter::once("case")
        .chain(columns.iter().copied())
        .collect();
    let mut lines = vec![head.join(",")];
    for (name, values) in &rows {
        let values: BTreeMap<&str, &str> = values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let cells = columns
            .iter()
            .map(|column| values.get(column).copied().unwrap_or_default());
        lines.push(format!(
            "{},{}",
            csv::cell(name),
            cells.collect::<Vec<_>>().join(",")
        ));
    }
    lines.join("\n")
}
