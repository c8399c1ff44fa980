//! One case's files made ready for the model.

use super::brain::brain;
use super::labels;
use super::normalise::normalise;
use super::trouble::{Trouble, contentless};
use crate::case::{CaseFileError, Native, Note, Noticed, Placement, Prepared};
use imaging::label::{NoLabel, label};
use imaging::nifti::{self, NiftiError, Source, Volume};
use program::{Class, Explain};
use protocol::case::Grid;
use protocol::settings::Input;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Where one case's volumes are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// One entry for each of the federation's sequences, in order; `None` where the case lacks it.
    pub sequences: Vec<Option<PathBuf>>,
    /// The reference segmentation.
    pub label: Option<PathBuf>,
    /// A brain mask.
    pub brain: Option<PathBuf>,
}

/// Why a case cannot be used. For people at the site: may name sequences and grids.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file that must be there is not.
    #[error("no {0} file")]
    Missing(&'static str),
    /// A file that is no usable volume.
    #[error("{what}: {error}")]
    File {
        /// Which sequence, `label` or `brain mask`.
        what: String,
        /// What is wrong with it.
        error: NiftiError,
    },
    /// Two volumes that do not lie on one grid.
    #[error(
        "{first} and {second} lie on different grids: {first} has {first_grid}; {second} has {second_grid}"
    )]
    Grids {
        /// The sequence that gives the case its grid.
        first: String,
        /// Its grid.
        first_grid: Box<Source>,
        /// The other volume.
        second: String,
        /// Its grid.
        second_grid: Box<Source>,
    },
    /// NaN or infinity.
    #[error("{0} holds values that are not finite")]
    NotFinite(String),
    /// No voxel of any sequence (or of the mask) is brain.
    #[error("there is no brain: every voxel is zero")]
    NoBrain,
    /// Nearly every voxel is brain.
    #[error(
        "{percent:.1} % of the volume would be brain{}",
        if *.mask { ", by the brain mask" } else { ": nearly no voxel is like those around the head" }
    )]
    AllBrain {
        /// The share.
        percent: f64,
        /// Whether a mask says so.
        mask: bool,
    },
    /// Two sequences whose voxels are all the same.
    #[error("{first} and {second} are the same image")]
    SameImage {
        /// One sequence.
        first: String,
        /// The other.
        second: String,
    },
    /// All images are those of another case.
    #[error("its images are those of {other}, voxel by voxel")]
    SameCase {
        /// The case that is used instead.
        other: String,
    },
    /// A label with other values than all sound ones.
    #[error(
        "the label holds none of data.lesion_labels {listed:?}, but {held}, which no sound label of the site holds"
    )]
    ForeignLabel {
        /// Its values, and how many voxels hold them.
        held: String,
        /// As configured.
        listed: Vec<u16>,
    },
    /// A file that is there and has no content to read.
    #[error("{what}: {trouble}")]
    Content {
        /// Which sequence, `label`, `brain mask` or `the case's folder`.
        what: String,
        /// What it is instead.
        trouble: Trouble,
    },
    /// A folder that could be a case's, or a label without images.
    #[error("none of its sequences' files is there, such as {}{}", .wanted.display(), besides(.found))]
    NoSequences {
        /// Where a file was looked for, below the root.
        wanted: PathBuf,
        /// What is there instead, in part.
        found: Vec<String>,
    },
    /// One value throughout the brain: nothing to normalise by.
    #[error("{0} has the same value in the whole brain")]
    Constant(String),
    /// A label that is not an integer.
    #[error("the label is no mask: {0}")]
    Label(#[from] NoLabel),
    /// More than fits into memory.
    #[error(
        "{depth} slices of {height} x {width} of the model's pixels, which the brain needs, are more than a case may have"
    )]
    TooLarge {
        /// Slices.
        depth: usize,
        /// Rows of each.
        height: usize,
        /// Columns of each.
        width: usize,
    },
    /// A file that another program writes to.
    #[error("a file of the case changed while it was read")]
    Changed,
    /// The cache file.
    #[error("{0}")]
    Cache(#[from] CaseFileError),
}

impl CaseError {
    /// Why a file cannot be read: what the reader says, or that its content was never there.
    pub(super) fn of_file(what: &str, path: &Path, error: NiftiError) -> Self {
        match contentless(path) {
            Some(trouble) => Self::Content {
                what: what.into(),
                trouble,
            },
            None => Self::File {
                what: what.into(),
                error,
            },
        }
    }
}

impl Explain for CaseError {
    fn class(&self) -> Class {
        match self {
            Self::Cache(error) => error.class(),
            _ => Class::Data,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Cache(error) => error.hint(),
            _ => None,
        }
    }
}

/// What lies where files were looked for.
fn besides(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; there are {}", names.join(", "))
    }
}

impl Files {
    /// All files that there are, with what they are for people.
    pub(super) fn named<'a>(
        &'a self,
        input: &'a Input,
    ) -> impl Iterator<Item = (&'a str, &'a Path)> {
        let sequences = input
            .sequences
            .iter()
            .zip(&self.sequences)
            .map(|(name, path)| (name.as_str(), path));
        let others = [("label", &self.label), ("brain mask", &self.brain)];
        sequences
            .chain(others)
            .filter_map(|(what, path)| Some((what, path.as_deref()?)))
    }
}

/// Pixels that one sequence's planes may have: 512 slices of 512 x 512, half a GiB.
const MAX_PIXELS: usize = 1 << 27;

/// Prepares one case: one grid, z-scores over the brain (population standard deviation), zero
/// outside, and the model's planes. The brain is the mask where there is one, else every voxel that
/// is not like the volume's corners in some sequence.
///
/// Also returns how the first present sequence is stored, for results that shall lie on its grid.
///
/// # Errors
/// See [`CaseError`].
pub fn prepare(
    id: &str,
    files: &Files,
    input: &Input,
    lesion_labels: &[u16],
) -> Result<(Prepared, Source), CaseError> {
    let mut examined = examine(files, input, lesion_labels)?;
    let (placement, canvas) = examined.place(input);
    let Examined {
        source,
        images,
        brain,
        lesion,
        noticed,
    } = examined;
    let grid = source.grid();
    let [height, width] = canvas;
    let fits = grid.dims[0]
        .checked_mul(height)
        .and_then(|rows| rows.checked_mul(width));
    if fits.is_none_or(|pixels| pixels > MAX_PIXELS) {
        return Err(CaseError::TooLarge {
            depth: grid.dims[0],
            height,
            width,
        });
    }
    let planes = Planes {
        placement,
        grid,
        canvas,
        brain: &brain,
    };
    let sequences = images
        .into_iter()
        .map(|image| image.map(|image| planes.image(&image)))
        .collect();
    let label = lesion
        .as_ref()
        .map(|lesion| placement.place_nearest(lesion, grid.dims, canvas));
    let native = Native {
        grid,
        brain,
        lesion,
    };
    let plane = input.plane;
    Ok((
        Prepared {
            id: id.into(),
            sequences,
            label,
            plane,
            canvas,
            native,
            placement,
            noticed,
        },
        source,
    ))
}

/// Everything about a case that does not depend on the model's planes.
///
/// # Errors
/// As [`prepare`].
pub(super) fn examine(
    files: &Files,
    input: &Input,
    lesion_labels: &[u16],
) -> Result<Examined, CaseError> {
    let mut stand = Stand::default();
    let mut images: Vec<Option<Vec<f32>>> = Vec::with_capacity(input.sequences.len());
    for (name, path) in input.sequences.iter().zip(&files.sequences) {
        images.push(
            path.as_deref()
                .map(|path| stand.volume(name, path))
                .transpose()?,
        );
    }
    let label = files
        .label
        .as_deref()
        .map(|path| stand.volume("label", path))
        .transpose()?;
    let mut noticed = Noticed::default();
    let lesion = label
        .as_ref()
        .map(|values| lesion(values, lesion_labels))
        .transpose()?;
    if let Some(label) = label {
        noticed.labels = labels::census(&label);
    }
    let mask = files
        .brain
        .as_deref()
        .map(|path| stand.volume("brain mask", path))
        .transpose()?;
    let Some((_, source)) = stand.first else {
        return Err(CaseError::Missing("sequence"));
    };
    noticed.notes = stand.notes;
    let grid = source.grid();
    let brain = brain(
        grid.voxels(),
        grid.dims,
        &images,
        mask.as_deref(),
        &mut noticed.notes,
    )?;
    drop(mask);
    noticed.images = different(&input.sequences, &images)?;
    if let Some(lesion) = &lesion {
        labels::compare(lesion, &brain, &mut noticed.notes);
    }
    for (name, image) in input.sequences.iter().zip(&mut images) {
        if let Some(image) = image {
            normalise(
                name,
                image,
                &brain,
                input.clip_percentiles,
                &mut noticed.notes,
            )?;
        }
    }
    Ok(Examined {
        source,
        images,
        brain,
        lesion,
        noticed,
    })
}

/// Where the volumes of a case lie, as far as they are read.
#[derive(Default)]
struct Stand {
    /// The first volume and its grid.
    first: Option<(String, Source)>,
    notes: Vec<Note>,
}

impl Stand {
    /// Reads a volume that must lie where the first one lies and hold numbers only.
    fn volume(&mut self, what: &str, path: &Path) -> Result<Vec<f32>, CaseError> {
        let read = nifti::read(path).map_err(|error| CaseError::of_file(what, path, error));
        let Volume {
            values,
            source,
            warnings,
            ..
        } = read?;
        for warning in warnings {
            self.notes
                .push(Note::new(format!("{what}: {warning}"), warning.remedy()));
        }
        let (first, first_grid) = self
            .first
            .get_or_insert_with(|| (what.into(), source.clone()));
        if !first_grid.same_place(&source) {
            return Err(CaseError::Grids {
                first: first.clone(),
                first_grid: Box::new(first_grid.clone()),
                second: what.into(),
                second_grid: Box::new(source),
            });
        }
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(CaseError::NotFinite(what.into()))
        }
    }
}

/// A case's volumes on the patient's own grid, images as z-scores.
pub(super) struct Examined {
    source: Source,
    images: Vec<Option<Vec<f32>>>,
    brain: Vec<u8>,
    lesion: Option<Vec<u8>>,
    pub(super) noticed: Noticed,
}

/// How large a brain is in the planes of its slices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrainSize {
    /// Height and width in pixels of the file.
    pub pixels: [usize; 2],
    /// The same in millimetres.
    pub mm: [f32; 2],
}

impl Examined {
    /// How the brain is placed on the model's planes, and the height and width in the model's pixels
    /// that show all of it. Where that is more than a plane, it is noted.
    pub(super) fn place(&mut self, input: &Input) -> (Placement, [usize; 2]) {
        let grid = self.source.grid();
        let placement = Placement::new([grid.spacing_mm[1], grid.spacing_mm[2]], input.spacing_mm);
        let canvas = placement.canvas(
            extent(&self.brain, grid.dims),
            [grid.dims[1], grid.dims[2]],
            input.plane,
        );
        let [height, width] = canvas;
        if canvas != [input.plane; 2] {
            self.noticed.notes.push(Note::new(
                format!(
                    "the brain does not fit the model's plane of {0} x {0} pixels: it is looked at in overlapping \
                     parts of {height} x {width}",
                    input.plane
                ),
                "nothing, if the brain is that large; else give a brain mask, or ask for a larger input.plane",
            ));
        }
        (placement, canvas)
    }

    pub(super) fn brain_size(&self) -> BrainSize {
        let grid = self.source.grid();
        let pixels = extent(&self.brain, grid.dims).map(|[first, last]| last + 1 - first);
        let mm = [
            pixels[0] as f32 * grid.spacing_mm[1],
            pixels[1] as f32 * grid.spacing_mm[2],
        ];
        BrainSize { pixels, mm }
    }
}

/// Hashes of the images that are there. Two sequences of one case are never the same image.
fn different(names: &[String], images: &[Option<Vec<f32>>]) -> Result<Vec<String>, CaseError> {
    let mut hashes: Vec<String> = Vec::new();
    let mut hashed: Vec<&String> = Vec::new();
    for (name, image) in names.iter().zip(images) {
        let Some(image) = image else { continue };
        let mut hash = blake3::Hasher::new();
        for values in image.chunks(1 << 14) {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            hash.update(&bytes);
        }
        let hash = hash.finalize().to_hex().to_string();
        if let Some(same) = hashes.iter().position(|other| *other == hash) {
            return Err(CaseError::SameImage {
                first: hashed[same].clone(),
                second: name.clone(),
            });
        }
        hashes.push(hash);
        hashed.push(name);
    }
    Ok(hashes)
}

/// The first and last row of the brain, and the first and last column.
fn extent(brain: &[u8], [_, height, width]: [usize; 3]) -> [[usize; 2]; 2] {
    let mut extent = [[height - 1, 0], [width - 1, 0]];
    for (at, _) in brain.iter().enumerate().filter(|(_, voxel)| **voxel != 0) {
        for (ends, place) in extent.iter_mut().zip([at / width % height, at % width]) {
            *ends = [ends[0].min(place), ends[1].max(place)];
        }
    }
    extent
}

/// Lesion 1, other 0. A label without lesion is a case without lesion.
fn lesion(values: &[f32], lesion_labels: &[u16]) -> Result<Vec<u8>, CaseError> {
    values
        .iter()
        .map(|&value| Ok(u8::from(lesion_labels.contains(&label(value)?))))
        .collect()
}

/// How a case's native planes become the model's.
struct Planes<'a> {
    placement: Placement,
    grid: Grid,
    canvas: [usize; 2],
    brain: &'a [u8],
}

impl Planes<'_> {
    /// Z-scores on the model's planes, zero outside the brain.
    fn image(&self, image: &[f32]) -> Vec<f32> {
        let mut placed = self.placement.place(image, self.grid.dims, self.canvas);
        if self.placement != Placement::WHOLE_PIXELS {
            // Interpolation bleeds over the brain's edge.
            let brain = self
                .placement
                .place_nearest(self.brain, self.grid.dims, self.canvas);
            placed
                .iter_mut()
                .zip(brain)
                .filter(|(_, brain)| *brain == 0)
                .for_each(|(value, _)| *value = 0.0);
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_labels_are_labels() {
        assert_eq!(
            lesion(&[0.0, 4.0, 1.0, 3.9999], &[4]).unwrap(),
            [0, 1, 0, 1]
        );
        assert_eq!(lesion(&[0.0, 2.0], &[4]).unwrap(), [0, 0]);
        for odd in [0.5, -1.0, 1e9] {
            assert!(
                matches!(lesion(&[0.0, odd], &[4]), Err(CaseError::Label(_))),
                "{odd}"
            );
        }
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        site: String,
        brain_voxels: usize,
        zscore_in_brain: std::collections::BTreeMap<String, Statistics>,
    }

    #[derive(serde::Deserialize)]
    struct Statistics {
        mean: f64,
        std_pop: f64,
    }

    /// Every voxel of every real case against numpy's means and standard deviations.
    #[test]
    fn real_cases_have_the_reference_statistics() {
        let Some(root) =
            std::env::var_os("LACUNA_DATA").map(|root| Path::new(&root).join("glioma-tcga"))
        else {
            eprintln!(
                "SKIPPED: real_cases_have_the_reference_statistics needs LACUNA_DATA, the folder of glioma-tcga"
            );
            return;
        };
        #[derive(serde::Deserialize)]
        struct Numbers {
            cases: std::collections::BTreeMap<String, Reference>,
        }
        let numbers: Numbers =
            serde_json::from_slice(&std::fs::read(root.join("reference_numbers.json")).unwrap())
                .unwrap();
        assert!(!numbers.cases.is_empty());
        let names = ["t1", "t1ce", "t2", "flair"].map(String::from).to_vec();
        let input = Input {
            sequences: names,
            slices: 5,
            plane: 240,
            spacing_mm: None,
            clip_percentiles: None,
        };
        for (id, reference) in numbers.cases {
            let file = |what: &str| {
                root.join(&reference.site)
                    .join(&id)
                    .join(format!("{id}_{what}.nii.gz"))
            };
            let sequences = input
                .sequences
                .iter()
                .map(|name| Some(file(name)))
                .collect();
            let files = Files {
                sequences,
                label: Some(file("seg")),
                brain: None,
            };
            let (prepared, _) = prepare(&id, &files, &input, &[4]).unwrap();
            let brain = &prepared.native.brain;
            assert_eq!(
                brain.iter().filter(|b| **b == 1).count(),
                reference.brain_voxels,
                "{id}"
            );
            for (name, planes) in input.sequences.iter().zip(&prepared.sequences) {
                let (raw, wanted) = (
                    nifti::read(&file(name)).unwrap(),
                    &reference.zscore_in_brain[name],
                );
                for ((&raw, &z), &brain) in
                    raw.values.iter().zip(planes.as_ref().unwrap()).zip(brain)
                {
                    let expected =
                        (f64::from(raw) - wanted.mean) / wanted.std_pop * f64::from(brain);
                    assert!(
                        (f64::from(z) - expected).abs() < 1e-5,
                        "{id} {name}: {z} {expected}"
                    );
                }
            }
        }
    }
}
