//! One case's files made ready for the model.

use crate::case::{CaseFileError, Native, Placement, Prepared};
use crate::label::{NoLabel, label};
use crate::nifti::{self, NiftiError, Source, Volume, Warning};
use shared::case::Grid;
use shared::federation::Input;
use std::path::{Path, PathBuf};

/// Where one case's volumes are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// One entry for each of the federation's sequences, in order; `None` where the case lacks it.
    pub sequences: Vec<Option<PathBuf>>,
    /// The reference segmentation.
    pub label: Option<PathBuf>,
    /// A brain mask: anything but zero is brain.
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
    #[error("{first} and {second} lie on different grids: {first} has {first_grid}; {second} has {second_grid}")]
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
    /// One value throughout the brain: nothing to normalise by.
    #[error("{0} has the same value in the whole brain")]
    Constant(String),
    /// A label that is not an integer.
    #[error("the label is no mask: {0}")]
    Label(#[from] NoLabel),
    /// More than fits into memory.
    #[error(
        "{depth} slices of {height} x {width} of the model's pixels, which the brain needs, are more than a case may \
         have: crop the images to the head, or resample them to a coarser spacing"
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

impl Files {
    /// All files that there are, with what they are for people.
    pub(super) fn named<'a>(&'a self, input: &'a Input) -> impl Iterator<Item = (&'a str, &'a Path)> {
        let sequences = input.sequences.iter().zip(&self.sequences).map(|(name, path)| (name.as_str(), path));
        let others = [("label", &self.label), ("brain mask", &self.brain)];
        sequences.chain(others).filter_map(|(what, path)| Some((what, path.as_deref()?)))
    }
}

/// Pixels that one sequence's planes may have: 512 slices of 512 x 512, half a GiB.
const MAX_PIXELS: usize = 1 << 27;

/// Prepares one case: one grid, z-scores over the brain (population standard deviation), zero outside, and the
/// model's planes. The brain is the mask where there is one, else every voxel that is not zero in some sequence.
///
/// Also returns how the first present sequence is stored, for results that shall lie on its grid.
///
/// # Errors
/// See [`CaseError`].
pub fn prepare(id: &str, files: &Files, input: &Input, lesion_labels: &[u16]) -> Result<(Prepared, Source), CaseError> {
    let mut stand = Stand::default();
    let mut images: Vec<Option<Vec<f32>>> = Vec::with_capacity(input.sequences.len());
    for (name, path) in input.sequences.iter().zip(&files.sequences) {
        images.push(path.as_deref().map(|path| stand.volume(name, path)).transpose()?);
    }
    let label = files.label.as_deref().map(|path| stand.volume("label", path)).transpose()?;
    let lesion = label.map(|values| lesion(&values, lesion_labels)).transpose()?;
    let mask = files.brain.as_deref().map(|path| stand.volume("brain mask", path)).transpose()?;
    let Some((_, source)) = stand.first else { return Err(CaseError::Missing("sequence")) };
    let mut warnings = stand.warnings;
    let grid = source.grid();
    let brain = brain(grid.voxels(), &images, mask.as_deref())?;
    drop(mask);
    let placement = Placement::new([grid.spacing_mm[1], grid.spacing_mm[2]], input.spacing_mm);
    let canvas = placement.canvas(extent(&brain, grid.dims), [grid.dims[1], grid.dims[2]], input.plane);
    let [height, width] = canvas;
    let fits = grid.dims[0].checked_mul(height).and_then(|rows| rows.checked_mul(width));
    if fits.is_none_or(|pixels| pixels > MAX_PIXELS) {
        return Err(CaseError::TooLarge { depth: grid.dims[0], height, width });
    }
    if canvas != [input.plane; 2] {
        warnings.push(format!(
            "the brain does not fit the model's plane of {0} x {0} pixels: it is looked at in overlapping parts of \
             {height} x {width}",
            input.plane
        ));
    }
    let planes = Planes { placement, grid, canvas, brain: &brain };
    let mut sequences = Vec::with_capacity(images.len());
    for (name, image) in input.sequences.iter().zip(images) {
        sequences.push(image.map(|image| planes.image(name, image)).transpose()?);
    }
    let label = lesion.as_ref().map(|lesion| placement.place_nearest(lesion, grid.dims, canvas));
    let native = Native { grid, brain, lesion };
    let plane = input.plane;
    Ok((Prepared { id: id.into(), sequences, label, plane, canvas, native, placement, warnings }, source))
}

/// Where the volumes of a case lie, as far as they are read.
#[derive(Default)]
struct Stand {
    /// The first volume and its grid.
    first: Option<(String, Source)>,
    warnings: Vec<String>,
}

impl Stand {
    /// Reads a volume that must lie where the first one lies and hold numbers only.
    fn volume(&mut self, what: &str, path: &Path) -> Result<Vec<f32>, CaseError> {
        let read = nifti::read(path).map_err(|error| CaseError::File { what: what.into(), error });
        let Volume { values, source, warnings, .. } = read?;
        self.place(what, source, &warnings)?;
        if values.iter().all(|value| value.is_finite()) { Ok(values) } else { Err(CaseError::NotFinite(what.into())) }
    }

    /// Compares a volume's grid with the first one's.
    fn place(&mut self, what: &str, source: Source, warnings: &[Warning]) -> Result<(), CaseError> {
        self.warnings.extend(warnings.iter().map(|warning| format!("{what}: {warning}")));
        let (first, first_grid) = self.first.get_or_insert_with(|| (what.into(), source.clone()));
        if !first_grid.same_place(&source) {
            return Err(CaseError::Grids {
                first: first.clone(),
                first_grid: Box::new(first_grid.clone()),
                second: what.into(),
                second_grid: Box::new(source),
            });
        }
        Ok(())
    }
}

/// What the headers of a case's files say without their voxels: whether they can be used together, and what is odd.
///
/// # Errors
/// As [`prepare`].
pub(super) fn look(files: &Files, input: &Input) -> Result<Vec<String>, CaseError> {
    let mut stand = Stand::default();
    for (what, path) in files.named(input) {
        let looked = nifti::look(path).map_err(|error| CaseError::File { what: what.into(), error });
        let (source, warnings) = looked?;
        stand.place(what, source, &warnings)?;
    }
    Ok(stand.warnings)
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
    values.iter().map(|&value| Ok(u8::from(lesion_labels.contains(&label(value)?)))).collect()
}

/// Brain 1, other 0.
fn brain(voxels: usize, images: &[Option<Vec<f32>>], mask: Option<&[f32]>) -> Result<Vec<u8>, CaseError> {
    let mut brain = vec![0; voxels];
    let images = images.iter().flatten().map(Vec::as_slice);
    let sources: Vec<&[f32]> = mask.map_or_else(|| images.collect(), |mask| vec![mask]);
    for values in sources {
        brain.iter_mut().zip(values).for_each(|(brain, &value)| *brain |= u8::from(value != 0.0));
    }
    if brain.contains(&1) { Ok(brain) } else { Err(CaseError::NoBrain) }
}

/// How a case's native planes become the model's.
struct Planes<'a> {
    placement: Placement,
    grid: Grid,
    canvas: [usize; 2],
    brain: &'a [u8],
}

impl Planes<'_> {
    /// A native image as z-scores on the model's planes, zero outside the brain.
    fn image(&self, name: &str, mut image: Vec<f32>) -> Result<Vec<f32>, CaseError> {
        let Some((mean, deviation)) = statistics(&image, self.brain) else {
            return Err(CaseError::Constant(name.into()));
        };
        for (value, &brain) in image.iter_mut().zip(self.brain) {
            *value = if brain == 1 { ((f64::from(*value) - mean) / deviation) as f32 } else { 0.0 };
        }
        let mut placed = self.placement.place(&image, self.grid.dims, self.canvas);
        if self.placement != Placement::WHOLE_PIXELS {
            // Interpolation bleeds over the brain's edge.
            let brain = self.placement.place_nearest(self.brain, self.grid.dims, self.canvas);
            placed.iter_mut().zip(brain).filter(|(_, brain)| *brain == 0).for_each(|(value, _)| *value = 0.0);
        }
        Ok(placed)
    }
}

/// Mean and population standard deviation over the brain; `None` where nothing varies.
fn statistics(image: &[f32], brain: &[u8]) -> Option<(f64, f64)> {
    let inside = || image.iter().zip(brain).filter(|(_, brain)| **brain == 1).map(|(&value, _)| f64::from(value));
    let (count, sum) = inside().fold((0u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    let mean = sum / count as f64;
    let deviation = (inside().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count as f64).sqrt();
    // What is left of a constant after rounding its mean.
    (deviation > 1e-9 * mean.abs().max(f64::MIN_POSITIVE)).then_some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_of_the_population_inside_the_brain() {
        let (mean, deviation) = statistics(&[100.0, 1.0, 3.0, 5.0], &[0, 1, 1, 1]).unwrap();
        assert_eq!(mean, 3.0);
        assert!((deviation - (8f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(statistics(&[7.3; 5], &[1; 5]), None);
    }

    #[test]
    fn only_whole_labels_are_labels() {
        assert_eq!(lesion(&[0.0, 4.0, 1.0, 3.9999], &[4]).unwrap(), [0, 1, 0, 1]);
        assert_eq!(lesion(&[0.0, 2.0], &[4]).unwrap(), [0, 0]);
        for odd in [0.5, -1.0, 1e9] {
            assert!(matches!(lesion(&[0.0, odd], &[4]), Err(CaseError::Label(_))), "{odd}");
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
        let Some(root) = std::env::var_os("LACUNA_DATA").map(|root| Path::new(&root).join("glioma-tcga")) else {
            eprintln!("SKIPPED: real_cases_have_the_reference_statistics needs LACUNA_DATA, the folder of glioma-tcga");
            return;
        };
        #[derive(serde::Deserialize)]
        struct Numbers {
            cases: std::collections::BTreeMap<String, Reference>,
        }
        let numbers: Numbers =
            serde_json::from_slice(&std::fs::read(root.join("reference_numbers.json")).unwrap()).unwrap();
        assert!(!numbers.cases.is_empty());
        let names = ["t1", "t1ce", "t2", "flair"].map(String::from).to_vec();
        let input = Input { sequences: names, slices: 5, plane: 240, spacing_mm: None };
        for (id, reference) in numbers.cases {
            let file = |what: &str| root.join(&reference.site).join(&id).join(format!("{id}_{what}.nii.gz"));
            let sequences = input.sequences.iter().map(|name| Some(file(name))).collect();
            let files = Files { sequences, label: Some(file("seg")), brain: None };
            let (prepared, _) = prepare(&id, &files, &input, &[4]).unwrap();
            let brain = &prepared.native.brain;
            assert_eq!(brain.iter().filter(|b| **b == 1).count(), reference.brain_voxels, "{id}");
            for (name, planes) in input.sequences.iter().zip(&prepared.sequences) {
                let (raw, wanted) = (nifti::read(&file(name)).unwrap(), &reference.zscore_in_brain[name]);
                for ((&raw, &z), &brain) in raw.values.iter().zip(planes.as_ref().unwrap()).zip(brain) {
                    let expected = (f64::from(raw) - wanted.mean) / wanted.std_pop * f64::from(brain);
                    assert!((f64::from(z) - expected).abs() < 1e-5, "{id} {name}: {z} {expected}");
                }
            }
        }
    }
}
