//! The settings of a synthetic cohort, checked once.

use super::tissue::SEQUENCES;
use metrics::sequence::SequenceSet;
use protocol::case::Grid;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    #[error("{key} is {value}: must be {must}")]
    Range {
        key: &'static str,
        value: String,
        must: &'static str,
    },
    #[error("phantoms have no sequence `{0}`; they have bravo, t1_pre, t1_post and flair")]
    UnknownSequence(String),
    #[error("site `{0}` lacks every sequence")]
    NoSequence(String),
    /// The name of a site is also that of its folder.
    #[error("site name `{0}` must be 1 to 64 letters, digits, `-` or `_`")]
    SiteName(String),
    #[error("scanner is `{0}`: must be auto, reference, or like SITE")]
    Scanner(String),
    #[error("two sites are called `{0}`")]
    SameName(String),
    /// The file is not TOML, or has an unknown key.
    #[error("{0}")]
    Toml(String),
}

/// How a site's scanner is chosen: `auto`, `reference`, or `like SITE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ScannerChoice {
    /// Drawn from the seed and the site's name.
    #[default]
    Auto,
    /// No bias field, straight intensities, little noise, RAS.
    Reference,
    /// The one that `auto` draws for this site: two sites are two groups of one hospital's
    /// patients.
    Like(String),
}

impl FromStr for ScannerChoice {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        match (text, text.strip_prefix("like ")) {
            ("auto", _) => Ok(Self::Auto),
            ("reference", _) => Ok(Self::Reference),
            (_, Some(site)) if !site.trim().is_empty() => Ok(Self::Like(site.trim().into())),
            _ => Err(SettingsError::Scanner(text.into())),
        }
    }
}

impl TryFrom<String> for ScannerChoice {
    type Error = SettingsError;

    fn try_from(text: String) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl std::fmt::Display for ScannerChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Reference => formatter.write_str("reference"),
            Self::Like(site) => write!(formatter, "like {site}"),
        }
    }
}

impl From<ScannerChoice> for String {
    fn from(choice: ScannerChoice) -> Self {
        choice.to_string()
    }
}

/// What the cohorts of all sites share. On the command line and in a cohort file's `[cohort]` table
/// alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Every draw derives from it, with the site's and the case's name.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Height and width of a slice in voxels.
    #[arg(long, default_value_t = 64)]
    pub plane: usize,
    /// Axial slices of a volume.
    #[arg(long, default_value_t = 24)]
    pub slices: usize,
    /// In-plane and through-plane millimetres, as `0.94,1` [default: a head fits in, sites differ
    /// by some per cent].
    #[arg(long, value_delimiter = ',', value_name = "IN,THROUGH")]
    pub spacing_mm: Vec<f32>,
    /// Lesions of one patient: fewest, median, most.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [1, 4, 20],
        value_name = "FEWEST,MEDIAN,MOST",
    )]
    pub lesions: Vec<usize>,
    /// Diameters of lesions in millimetres: smallest, median, largest.
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [3.0, 7.0, 30.0],
        value_name = "SMALLEST,MEDIAN,LARGEST",
    )]
    pub diameter_mm: Vec<f32>,
    /// How much there is that resembles lesions (old blood, telangiectasia, slow veins,
    /// white-matter spots): 0 none, 1 usual.
    #[arg(long, default_value_t = 1.0)]
    pub mimics: f32,
    /// Make everything outside the brain zero.
    #[arg(long)]
    pub brain_extracted: bool,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            seed: 1,
            plane: 64,
            slices: 24,
            spacing_mm: Vec::new(),
            lesions: vec![1, 4, 20],
            diameter_mm: vec![3.0, 7.0, 30.0],
            mimics: 1.0,
            brain_extracted: false,
        }
    }
}

/// The settings of one site: a `[[site]]` table of a cohort file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Also the name of its folder.
    pub name: String,
    pub cases: usize,
    /// The sequences it does not acquire.
    #[serde(default)]
    pub lacks: Vec<String>,
    #[serde(default)]
    pub scanner: ScannerChoice,
}

/// A cohort file: `[cohort]` and one `[[site]]` for each site.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    cohort: Common,
    site: Vec<Site>,
}

/// The lesions of a cohort and what resembles them.
#[derive(Clone, Debug, PartialEq)]
pub struct Disease {
    /// Lesions of one patient: fewest, median, most.
    pub lesions: [usize; 3],
    /// Diameters in millimetres: smallest, median, largest.
    pub diameter_mm: [f32; 3],
    /// How many mimics a patient has: 1 is usual, 0 none.
    pub mimics: f32,
}

/// One site's cohort, checked by [`Cohort::new`] or [`Cohort::all`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cohort {
    /// Every draw derives from it, with the site's and the case's name.
    pub seed: u64,
    pub site: String,
    pub cases: usize,
    /// The sequences whose files are not written.
    pub lacks: SequenceSet,
    pub scanner: ScannerChoice,
    /// Voxels in-plane (height and width).
    pub plane: usize,
    /// Axial slices.
    pub slices: usize,
    /// In-plane and through-plane millimetres; `None` chooses them so that a head fits, and sites
    /// differ.
    pub spacing_mm: Option<[f32; 2]>,
    pub disease: Disease,
    /// Whether everything outside the brain is zero.
    pub brain_extracted: bool,
}

/// A field of view that holds a head: in-plane, through-plane.
const VIEW_MM: [f32; 2] = [220.0, 158.0];

impl Cohort {
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(common: &Common, site: &Site) -> Result<Self, SettingsError> {
        let disease = Disease {
            lesions: exactly("lesions", &common.lesions)?,
            diameter_mm: exactly("diameter_mm", &common.diameter_mm)?,
            mimics: common.mimics,
        };
        let spacing = &common.spacing_mm;
        let spacing_mm = if spacing.is_empty() {
            None
        } else {
            Some(exactly("spacing_mm", spacing)?)
        };
        let cohort = Self {
            seed: common.seed,
            site: site.name.clone(),
            cases: site.cases,
            lacks: sequences(&site.lacks)?,
            scanner: site.scanner.clone(),
            plane: common.plane,
            slices: common.slices,
            spacing_mm,
            disease,
            brain_extracted: common.brain_extracted,
        };
        cohort.check()?;
        Ok(cohort)
    }

    /// The cohorts of all sites of a cohort file.
    ///
    /// # Errors
    /// As [`Cohort::new`], and for text that is not such a file or names a site twice.
    pub fn all(text: &str) -> Result<Vec<Self>, SettingsError> {
        let file: File =
            toml::from_str(text).map_err(|error| SettingsError::Toml(error.to_string()))?;
        for (n, site) in file.site.iter().enumerate() {
            if file.site[..n].iter().any(|other| other.name == site.name) {
                return Err(SettingsError::SameName(site.name.clone()));
            }
        }
        file.site
            .iter()
            .map(|site| Self::new(&file.cohort, site))
            .collect()
    }

    /// The sequences that are written.
    #[must_use]
    pub fn sequences(&self) -> SequenceSet {
        SequenceSet::full(SEQUENCES.len()).intersection(SequenceSet::from_bits(!self.lacks.bits()))
    }

    fn check(&self) -> Result<(), SettingsError> {
        if !is_site_name(&self.site) {
            return Err(SettingsError::SiteName(self.site.clone()));
        }
        if self.sequences().is_empty() {
            return Err(SettingsError::NoSequence(self.site.clone()));
        }
        within(
            "cases",
            self.cases,
            (1..=9999).contains(&self.cases),
            "1 to 9999",
        )?;
        within(
            "plane",
            self.plane,
            (16..=512).contains(&self.plane),
            "16 to 512",
        )?;
        within(
            "slices",
            self.slices,
            (1..=512).contains(&self.slices),
            "1 to 512",
        )?;
        let spacing = self.spacing_mm.unwrap_or([1.0; 2]);
        within(
            "spacing_mm",
            spacing,
            spacing.iter().all(|mm| (0.2..=20.0).contains(mm)),
            "0.2 to 20 each",
        )?;
        let [fewest, median, most] = self.disease.lesions;
        let lesions = fewest <= median && median <= most && median > 0 && most <= 200;
        within(
            "lesions",
            self.disease.lesions,
            lesions,
            "fewest, median, most: ascending, at most 200",
        )?;
        let [smallest, middle, largest] = self.disease.diameter_mm;
        let diameters =
            1.0 <= smallest && smallest <= middle && middle <= largest && largest <= 60.0;
        within(
            "diameter_mm",
            self.disease.diameter_mm,
            diameters,
            "smallest, median, largest: ascending, 1 to 60",
        )?;
        within(
            "mimics",
            self.disease.mimics,
            (0.0..=10.0).contains(&self.disease.mimics),
            "0 to 10",
        )
    }

    /// The grid of the site's cases, its scanner's stretch applied where no spacing was asked for.
    pub(super) fn grid(&self, stretch: [f32; 2]) -> Grid {
        let [in_plane, through] = self.spacing_mm.unwrap_or_else(|| {
            let voxels = [self.plane as f32, self.slices as f32];
            std::array::from_fn(|i| (VIEW_MM[i] / voxels[i] * stretch[i] * 1000.0).round() / 1000.0)
        });
        Grid {
            dims: [self.slices, self.plane, self.plane],
            spacing_mm: [through, in_plane, in_plane],
        }
    }
}

/// 1 to 64 letters, digits, hyphens and underscores of ASCII.
fn is_site_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn within(
    key: &'static str,
    value: impl std::fmt::Debug,
    holds: bool,
    must: &'static str,
) -> Result<(), SettingsError> {
    if holds {
        Ok(())
    } else {
        Err(SettingsError::Range {
            key,
            value: format!("{value:?}"),
            must,
        })
    }
}

fn exactly<T: Copy + std::fmt::Debug, const N: usize>(
    key: &'static str,
    values: &[T],
) -> Result<[T; N], SettingsError> {
    let must = if N == 2 {
        "two numbers"
    } else {
        "three numbers"
    };
    values.try_into().map_err(|_| SettingsError::Range {
        key,
        value: format!("{values:?}"),
        must,
    })
}

/// The set of sequences with these names.
fn sequences(names: &[String]) -> Result<SequenceSet, SettingsError> {
    let mut set = SequenceSet::EMPTY;
    for name in names {
        match SEQUENCES.iter().position(|known| known == name) {
            Some(index) => set = set.with(index),
            None => return Err(SettingsError::UnknownSequence(name.clone())),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> Site {
        Site {
            name: name.into(),
            cases: 3,
            lacks: Vec::new(),
            scanner: ScannerChoice::Auto,
        }
    }

    #[test]
    fn the_usual_settings_hold_and_fit_a_head_in() {
        let cohort = Cohort::new(&Common::default(), &site("north")).unwrap();
        let grid = cohort.grid([1.0, 1.0]);
        assert_eq!(grid.dims, [24, 64, 64]);
        assert!((200.0..240.0).contains(&(grid.spacing_mm[2] * 64.0)));
        assert_eq!(cohort.sequences(), SequenceSet::full(4));
    }

    #[test]
    fn a_file_gives_each_site_the_common_settings_and_its_own() {
        let text = "\
[cohort]
seed = 5
plane = 32
diameter_mm = [5, 9, 20]
[[site]]
name = 'a'
cases = 2
lacks = ['flair', 'bravo']
[[site]]
name = 'b'
cases = 1
scanner = 'reference'
";
        let cohorts = Cohort::all(text).unwrap();
        assert_eq!(cohorts.len(), 2);
        for cohort in &cohorts {
            assert_eq!((cohort.seed, cohort.plane), (5, 32));
            assert_eq!(cohort.disease.diameter_mm, [5.0, 9.0, 20.0]);
        }
        assert_eq!((cohorts[0].site.as_str(), cohorts[0].cases), ("a", 2));
        assert_eq!((cohorts[1].site.as_str(), cohorts[1].cases), ("b", 1));
        assert_eq!(cohorts[0].sequences(), [1, 2].into_iter().collect());
        assert_eq!(cohorts[1].scanner, ScannerChoice::Reference);
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        for (change, named) in [
            ("plane = 5000", "plane is 5000"),
            ("lesions = [5, 2, 9]", "lesions"),
            ("lesions = [5]", "three numbers"),
            ("spacing_mm = [nan, 1]", "spacing_mm"),
            ("mimics = nan", "mimics"),
            ("sede = 1", "sede"),
        ] {
            let text = format!("[cohort]\n{change}\n[[site]]\nname = 'a'\ncases = 1");
            let error = Cohort::all(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        for (site, named) in [
            ("name = '../up'\ncases = 1", "../up"),
            ("name = 'a'\ncases = 0", "cases is 0"),
            ("name = 'a'\ncases = 1\nlacks = ['t2']", "`t2`"),
            (
                "name = 'a'\ncases = 1\nlacks = ['bravo', 't1_pre', 't1_post', 'flair']",
                "lacks every sequence",
            ),
        ] {
            let error = Cohort::all(&format!("[[site]]\n{site}")).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        let twice = "[[site]]\nname='a'\ncases=1\n[[site]]\nname='a'\ncases=1";
        assert_eq!(Cohort::all(twice), Err(SettingsError::SameName("a".into())));
    }
}
