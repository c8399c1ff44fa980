//! What a folder of images has: its layout and the `[data]` table for it, its cases with grids,
//! intensities and lesions, and all that `doctor` would find.
//!
//! ```text
//! folder -> which layout (layout, with bids and nnunet) -> [data] table
//!        -> each case (look) -> tables, or a page (page)
//! ```

mod bids;
mod layout;
mod look;
mod nnunet;
mod page;

use crate::data::{Archives, DataError, ListedCase, Row, list_cases, survey};
use layout::Layout;
pub use look::{CaseLook, ImageLook, LabelLook};
use program::{Class, Explain};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Why a folder could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("the folder {}: {source}", .folder.display())]
    Folder {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error("{} has none of the layouts that are known: {}", .folder.display(), layout::names().join(", "))]
    Unknown { folder: PathBuf },
    #[error(transparent)]
    Data(#[from] DataError),
    /// A fault in this program: it wrote a table that it cannot read.
    #[error("the [data] table for this folder cannot be read: {0}")]
    Table(#[from] toml::de::Error),
    #[error("{}: {source}", .path.display())]
    Page {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It could replace an image.
    #[error("the page {} is in the folder of the images", .0.display())]
    PageInside(PathBuf),
    #[error("{0} of {1} cases cannot be used as they are; the table above says why")]
    NotAll(usize, usize),
}

impl Explain for InspectError {
    fn class(&self) -> Class {
        match self {
            Self::Folder { .. } | Self::Unknown { .. } | Self::NotAll(..) => Class::Data,
            Self::Data(error) => error.class(),
            Self::Table(_) => Class::Internal,
            Self::Page { .. } => Class::Disk,
            Self::PageInside(_) => Class::Configuration,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Folder { .. } => "give the folder that holds the cases",
            Self::Unknown { .. } => {
                "give the folder that holds the cases' folders, or write the [data] table by \
                 hand (docs/users/DATA.md); DICOM exports are brought into a known layout by \
                 site-agent import"
            }
            Self::Data(error) => return error.hint(),
            Self::Page { .. } | Self::PageInside(_) => "name another file with --html",
            Self::Table(_) | Self::NotAll(..) => return None,
        };
        Some(hint.into())
    }
}

/// What was found. Names patients' cases: it must not leave the site.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub layout: &'static str,
    /// The `[data]` table, as TOML.
    pub table: String,
    /// What the table cannot say.
    pub notes: Vec<String>,
    pub cases: Vec<CaseLook>,
    pub usable: usize,
    pub patients: usize,
    /// What `doctor` finds.
    pub troubles: Vec<Row>,
}

/// The table as a site's settings have it.
#[derive(Deserialize)]
struct Settings {
    data: Archives,
}

/// Recognises the layout of a folder and reads every case, in parallel on the current rayon pool.
///
/// # Errors
/// The folder cannot be listed, or has no known layout.
pub fn inspect(
    folder: &Path,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Inspection, InspectError> {
    let unreadable = |source| InspectError::Folder {
        folder: folder.into(),
        source,
    };
    let folder = folder.canonicalize().map_err(unreadable)?;
    std::fs::read_dir(&folder).map_err(unreadable)?;
    let unknown = || InspectError::Unknown {
        folder: folder.clone(),
    };
    let layout: Layout = layout::recognise(&folder).ok_or_else(unknown)?;
    let table = layout.table();
    let Settings { data } = toml::from_str(&table)?;
    let sequences = data.sequences();
    let listed = list_cases(&data)?;
    let cases = listed
        .par_iter()
        .map(|case: &ListedCase| look::case(case, &sequences))
        .collect();
    let found = survey(&data, None, None, progress)?;
    Ok(Inspection {
        layout: layout.name,
        table,
        notes: layout.notes,
        cases,
        usable: found.usable,
        patients: found.patients,
        troubles: found.rows,
    })
}

/// The `[data]` table for a folder, without a look at its cases.
#[derive(Debug)]
pub struct DataTable {
    pub layout: &'static str,
    /// TOML.
    pub table: String,
}

/// Recognises the layout of a folder; `None` where it has none that is known.
///
/// # Errors
/// The folder cannot be listed.
pub fn data_table(folder: &Path) -> Result<Option<DataTable>, InspectError> {
    let unreadable = |source| InspectError::Folder {
        folder: folder.into(),
        source,
    };
    let folder = folder.canonicalize().map_err(unreadable)?;
    std::fs::read_dir(&folder).map_err(unreadable)?;
    let Some(layout) = layout::recognise(&folder) else {
        return Ok(None);
    };
    Ok(Some(DataTable {
        layout: layout.name,
        table: layout.table(),
    }))
}

/// Refuses a page among the images.
///
/// # Errors
/// [`InspectError::PageInside`].
pub fn check_page(page: &Path, folder: &Path) -> Result<(), InspectError> {
    let place = std::path::absolute(page).unwrap_or_else(|_| page.into());
    let parent = place.parent().map(Path::canonicalize);
    if let (Some(Ok(parent)), Ok(folder)) = (parent, folder.canonicalize())
        && parent.starts_with(folder)
    {
        return Err(InspectError::PageInside(page.into()));
    }
    Ok(())
}

impl Inspection {
    /// Writes a page with all tables and a picture of each case, which needs no network.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write_page(&self, path: &Path) -> Result<(), InspectError> {
        let text = page::html(self);
        let written = program::files::replace(path, |file| {
            std::io::Write::write_all(file, text.as_bytes())
        });
        written.map_err(|source| InspectError::Page {
            path: path.into(),
            source,
        })
    }

    /// The error for a folder with cases that cannot be used.
    #[must_use]
    pub fn fault(&self) -> Option<InspectError> {
        let all = self.cases.len();
        (self.usable < all).then(|| InspectError::NotAll(all - self.usable, all))
    }
}

#[cfg(test)]
mod tests;
