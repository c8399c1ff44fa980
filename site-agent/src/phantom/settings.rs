//! What is asked of a synthetic cohort, checked once.

use super::tissue::SEQUENCES;
use serde::{Deserialize, Serialize};
use shared::case::Grid;
use shared::sequence::SequenceSet;

/// Why phantoms cannot be made as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A number outside what the phantom can show.
    #[error("{key} is {value}: must be {must}")]
    Range {
        /// Which setting.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// A sequence that phantoms do not have.
    #[error("phantoms have no sequence `{0}`; they have bravo, t1_pre, t1_post and flair")]
    UnknownSequence(String),
    /// A site that would lack everything.
    #[error("site `{0}` lacks every sequence")]
    NoSequence(String),
    /// Names become folders.
    #[error("site name `{0}` must be 1 to 64 letters, digits, `-` or `_`")]
    SiteName(String),
    /// Two sites of one name.
    #[error("two sites are called `{0}`")]
    SameName(String),
    /// The file is not TOML, or has a key that is not known.
    #[error("{0}")]
    Toml(String),
}

/// How a site's scanner is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ScannerChoice {
    /// Drawn from the seed and the site's name.
    #[default]
    Auto,
    /// No bias field, straight intensities, little noise, RAS.
    Reference,
}

/// The lesions of a cohort and what resembles them.
#[derive(Clone, Debug, PartialEq)]
pub struct Disease {
    /// Lesions of one patient: fewest, median, most.
    pub lesions: [usize; 3],
    /// Diameters in millimetres: smallest, median, largest.
    pub diameter_mm: [f32; 3],
    /// How many mimics (blood, telangiectasia, slow veins, white-matter spots) a patient has: 1 is usual, 0 none.
    pub mimics: f32,
}

impl Default for Disease {
    /// Mostly small, several per patient: most lesions under 10 mm, one to twenty of them.
    fn default() -> Self {
        Self { lesions: [1, 4, 20], diameter_mm: [3.0, 7.0, 30.0], mimics: 1.0 }
    }
}

/// One site's cohort.
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    /// Every draw derives from it, with the site's and the case's name.
    pub seed: u64,
    /// The site's name.
    pub site: String,
    /// How many cases.
    pub cases: usize,
    /// The sequences whose files are not written.
    pub lacks: SequenceSet,
    /// The scanner.
    pub scanner: ScannerChoice,
    /// Voxels in-plane (height and width) and slices.
    pub plane: usize,
    /// How many axial slices.
    pub slices: usize,
    /// In-plane and through-plane millimetres; `None` fits a head in, and lets sites differ.
    pub spacing_mm: Option<[f32; 2]>,
    /// Lesions and mimics.
    pub disease: Disease,
    /// Whether everything outside the brain is zero.
    pub brain_extracted: bool,
}

/// A field of view that holds a head: in-plane, through-plane.
const VIEW_MM: [f32; 2] = [220.0, 158.0];

impl Cohort {
    /// Refuses what cannot be drawn.
    pub fn check(&self) -> Result<(), SettingsError> {
        let name = !self.site.is_empty() && self.site.len() <= 64;
        if !name || !self.site.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(SettingsError::SiteName(self.site.clone()));
        }
        if SequenceSet::full(SEQUENCES.len()).is_subset(self.lacks) {
            return Err(SettingsError::NoSequence(self.site.clone()));
        }
        within("cases", self.cases, (1..=9999).contains(&self.cases), "1 to 9999")?;
        within("plane", self.plane, (16..=512).contains(&self.plane), "16 to 512")?;
        within("slices", self.slices, (1..=512).contains(&self.slices), "1 to 512")?;
        let spacing = self.spacing_mm.unwrap_or([1.0; 2]);
        within("spacing-mm", spacing, spacing.iter().all(|mm| (0.2..=20.0).contains(mm)), "0.2 to 20 each")?;
        let [fewest, median, most] = self.disease.lesions;
        let lesions = fewest <= median && median <= most && median > 0 && most <= 200;
        within("lesions", self.disease.lesions, lesions, "fewest, median, most, in order, at most 200")?;
        let [smallest, middle, largest] = self.disease.diameter_mm;
        let diameters = 1.0 <= smallest && smallest <= middle && middle <= largest && largest <= 60.0;
        within("diameter-mm", self.disease.diameter_mm, diameters, "smallest, median, largest, in order, 1 to 60")?;
        within("mimics", self.disease.mimics, (0.0..=10.0).contains(&self.disease.mimics), "0 to 10")
    }

    /// The grid of the site's cases, its scanner's stretch applied where no spacing was asked for.
    pub(super) fn grid(&self, stretch: [f32; 2]) -> Grid {
        let [in_plane, through] = self.spacing_mm.unwrap_or_else(|| {
            let voxels = [self.plane as f32, self.slices as f32];
            std::array::from_fn(|i| (VIEW_MM[i] / voxels[i] * stretch[i] * 1000.0).round() / 1000.0)
        });
        Grid { dims: [self.slices, self.plane, self.plane], spacing_mm: [through, in_plane, in_plane] }
    }
}

fn within(
    key: &'static str,
    value: impl std::fmt::Debug,
    holds: bool,
    must: &'static str,
) -> Result<(), SettingsError> {
    if holds { Ok(()) } else { Err(SettingsError::Range { key, value: format!("{value:?}"), must }) }
}

/// The set of sequences with these names.
pub(super) fn sequences(names: &[String]) -> Result<SequenceSet, SettingsError> {
    names
        .iter()
        .map(|name| {
            SEQUENCES.iter().position(|known| known == name).ok_or_else(|| SettingsError::UnknownSequence(name.clone()))
        })
        .collect()
}
