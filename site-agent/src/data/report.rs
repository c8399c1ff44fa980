//! `skipped.json`: what a site could not use and should look at. It stays at the site.

use super::{Cohort, Warned};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

#[derive(Serialize)]
struct Report<'a> {
    usable: usize,
    skipped: Vec<Skip<'a>>,
    warnings: Vec<Warning<'a>>,
    ignored: &'a BTreeSet<String>,
}

#[derive(Serialize)]
struct Skip<'a> {
    case: &'a str,
    reason: String,
    remedy: &'static str,
}

#[derive(Serialize)]
struct Warning<'a> {
    case: &'a str,
    warning: &'a str,
    remedy: &'a str,
}

/// Writes the report of a cohort.
pub(super) fn write(cohort: &Cohort, path: &Path) -> io::Result<()> {
    let mut skipped = Vec::with_capacity(cohort.skipped.len());
    for case in &cohort.skipped {
        skipped.push(Skip {
            case: &case.id,
            reason: case.reason.to_string(),
            remedy: case.reason.remedy(),
        });
    }
    let mut warnings = Vec::with_capacity(cohort.warnings.len());
    for Warned { id, note } in &cohort.warnings {
        warnings.push(Warning {
            case: id,
            warning: &note.what,
            remedy: &note.remedy,
        });
    }
    let report = Report {
        usable: cohort.cases.len(),
        skipped,
        warnings,
        ignored: &cohort.ignored,
    };
    let text = serde_json::to_string_pretty(&report)?;
    program::files::replace(path, |file| io::Write::write_all(file, text.as_bytes()))
}
