//! Preparing one case: from its files to normalised planes of the model's size.

use super::brain::{brain, shown};
use super::case_error::CaseError;
use super::labels;
use super::normalise::normalise;
use super::plausible;
use crate::case::{Native, Note, Noticed, Placement, Prepared};
use imaging::label::label;
use imaging::nifti::{self, Source, Volume};
use protocol::case::Grid;
use protocol::settings::Input;
use std::path::{Path, PathBuf};

/// The files of one case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// One entry for each of the federation's sequences, in order; `None` where the case lacks it.
    pub sequences: Vec<Option<PathBuf>>,
    /// The reference segmentation.
    pub label: Option<PathBuf>,
    pub brain: Option<PathBuf>,
}

impl Files {
    /// The files of sequences in their order, and that of the brain mask.
    pub(crate) fn images_and_brain(&self) -> impl Iterator<Item = &PathBuf> {
        self.sequences.iter().flatten().chain(&self.brain)
    }
}

impl Files {
    /// The existing files, each with the name of its sequence, `label` or `brain mask`.
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

/// Lesions of so many voxels are not drawn alike in two patients by chance.
const TELLING_VOXELS: usize = 20;

/// The most pixels of one sequence of a case: 512 slices of 512 x 512, half a GiB.
const MAX_PIXELS: usize = 1 << 27;

/// Prepares one case: z-scores over the brain (population standard deviation), zero outside, on
/// planes of the model's pixels. The brain is the mask where there is one, else every voxel that
/// differs from the volume's corners in at least one sequence.
///
/// Also returns the header of the first present sequence, so that results can be written on its
/// grid.
///
/// # Errors
/// See [`CaseError`].
pub fn prepare(
    id: &str,
    files: &Files,
    input: &Input,
    lesion_labels: &[u16],
) -> Result<(Prepared, Source), CaseError> {
    let mut native = read_native(files, input, lesion_labels)?;
    let (placement, canvas) = native.place(input);
    let NativeCase {
        source,
        images,
        brain,
        lesion,
        noticed,
    } = native;
    let grid = source.grid();
    let [height, width] = canvas;
    let pixels = grid.dims[0].saturating_mul(height).saturating_mul(width);
    if pixels > MAX_PIXELS {
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
    let mut sequences = Vec::with_capacity(images.len());
    for image in images {
        sequences.push(image.map(|image| planes.image(&image)));
    }
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

/// Reads a case on its native grid: everything that does not depend on the model's planes.
///
/// # Errors
/// As [`prepare`].
pub(super) fn read_native(
    files: &Files,
    input: &Input,
    lesion_labels: &[u16],
) -> Result<NativeCase, CaseError> {
    let mut reader = VolumeReader::default();
    let mut images: Vec<Option<Vec<f32>>> = Vec::with_capacity(input.sequences.len());
    for (name, path) in input.sequences.iter().zip(&files.sequences) {
        images.push(match path {
            Some(path) => Some(reader.read(name, path)?),
            None => None,
        });
    }
    let mut noticed = Noticed::default();
    let mut lesion = None;
    if let Some(path) = &files.label {
        let label = reader.read("label", path)?;
        let mask = lesion_mask(&label, lesion_labels)?;
        let voxels = mask.iter().filter(|&&voxel| voxel == 1).count();
        if voxels >= TELLING_VOXELS {
            noticed.label = Some(blake3::hash(&mask).to_hex().to_string());
        }
        lesion = Some(mask);
        noticed.labels = labels::census(&label);
    }
    let mask = match &files.brain {
        Some(path) => Some(reader.read("brain mask", path)?),
        None => None,
    };
    let Some((_, source)) = reader.first else {
        return Err(CaseError::Missing("sequence"));
    };
    noticed.notes = reader.notes;
    let grid = source.grid();
    let mut shown_images = Vec::new();
    for (name, image) in input.sequences.iter().zip(&images) {
        if let Some(image) = image {
            shown_images.push(shown(name, image, grid.dims));
        }
    }
    let brain = brain(
        grid.voxels(),
        grid.dims,
        &shown_images,
        mask.as_deref(),
        &mut noticed.notes,
    )?;
    plausible::warn_about_brain_and_images(
        &brain,
        mask.is_some(),
        grid.dims,
        grid.voxel_mm3(),
        &shown_images,
        &mut noticed.notes,
    );
    drop(shown_images);
    drop(mask);
    // Before the hashes: two such images would be equal, and the reason would mislead.
    for (name, image) in input.sequences.iter().zip(&images) {
        if let Some(image) = image
            && has_one_value(image, &brain)
        {
            return Err(CaseError::Constant(name.clone()));
        }
    }
    noticed.images = image_hashes(&input.sequences, &images)?;
    if let Some(lesion) = &lesion {
        labels::compare(lesion, &brain, grid.dims, &mut noticed.notes);
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
    Ok(NativeCase {
        source,
        images,
        brain,
        lesion,
        noticed,
    })
}

/// Reads the volumes of a case and checks that all have the grid of the first.
#[derive(Default)]
struct VolumeReader {
    /// The name of the first volume, and its header.
    first: Option<(String, Source)>,
    notes: Vec<Note>,
}

impl VolumeReader {
    /// # Errors
    /// Another grid than the first volume, or a value that is not finite.
    fn read(&mut self, what: &str, path: &Path) -> Result<Vec<f32>, CaseError> {
        let Volume {
            values,
            source,
            warnings,
            ..
        } = nifti::read(path).map_err(|error| CaseError::of_file(what, path, error))?;
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

/// The volumes of a case on its native grid, images as z-scores.
pub(super) struct NativeCase {
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

impl NativeCase {
    /// How the brain is placed on the model's planes, and the height and width in the model's pixels
    /// that show all of it. Where that is more than a plane, it is noted.
    pub(super) fn place(&mut self, input: &Input) -> (Placement, [usize; 2]) {
        let grid = self.source.grid();
        let placement = Placement::new([grid.spacing_mm[1], grid.spacing_mm[2]], input.spacing_mm);
        let canvas = placement.canvas(
            bounding_box(&self.brain, grid.dims),
            [grid.dims[1], grid.dims[2]],
            input.plane,
        );
        let [height, width] = canvas;
        if canvas != [input.plane; 2] {
            self.noticed.notes.push(Note::new(
                format!(
                    "the brain does not fit the model's plane of {0} x {0} pixels: the network \
                     sees it in overlapping windows over {height} x {width} pixels",
                    input.plane
                ),
                "nothing, if the brain really is that large; otherwise set data.brain, or ask \
                 the federation for a larger input.plane",
            ));
        }
        (placement, canvas)
    }

    pub(super) fn brain_size(&self) -> BrainSize {
        let grid = self.source.grid();
        let pixels = bounding_box(&self.brain, grid.dims).map(|[first, last]| last + 1 - first);
        let mm = [
            pixels[0] as f32 * grid.spacing_mm[1],
            pixels[1] as f32 * grid.spacing_mm[2],
        ];
        BrainSize { pixels, mm }
    }
}

/// Whether the image has the same value in the whole brain.
fn has_one_value(image: &[f32], brain: &[u8]) -> bool {
    let mut first = None;
    for (&value, &inside) in image.iter().zip(brain) {
        if inside == 1 && *first.get_or_insert(value) != value {
            return false;
        }
    }
    true
}

/// The hash of each present image.
///
/// # Errors
/// Two sequences with the same voxels: one was copied over the other.
fn image_hashes(names: &[String], images: &[Option<Vec<f32>>]) -> Result<Vec<String>, CaseError> {
    let mut hashes: Vec<String> = Vec::new();
    let mut hashed_names: Vec<&String> = Vec::new();
    for (name, image) in names.iter().zip(images) {
        let Some(image) = image else { continue };
        let mut hash = blake3::Hasher::new();
        for values in image.chunks(1 << 14) {
            let mut bytes = Vec::with_capacity(4 * values.len());
            for value in values {
                bytes.extend(value.to_le_bytes());
            }
            hash.update(&bytes);
        }
        let hash = hash.finalize().to_hex().to_string();
        if let Some(same) = hashes.iter().position(|other| *other == hash) {
            return Err(CaseError::SameImage {
                first: hashed_names[same].clone(),
                second: name.clone(),
            });
        }
        hashes.push(hash);
        hashed_names.push(name);
    }
    Ok(hashes)
}

/// The first and last row of the brain over all slices, and the first and last column.
fn bounding_box(brain: &[u8], dims: [usize; 3]) -> [[usize; 2]; 2] {
    let [_, height, width] = dims;
    let mut rows = [height - 1, 0];
    let mut columns = [width - 1, 0];
    for (at, &voxel) in brain.iter().enumerate() {
        if voxel == 0 {
            continue;
        }
        let row = at / width % height;
        let column = at % width;
        rows = [rows[0].min(row), rows[1].max(row)];
        columns = [columns[0].min(column), columns[1].max(column)];
    }
    [rows, columns]
}

/// Lesion 1, other 0. A label without lesion is a case without lesion.
fn lesion_mask(values: &[f32], lesion_labels: &[u16]) -> Result<Vec<u8>, CaseError> {
    let mut mask = Vec::with_capacity(values.len());
    for &value in values {
        mask.push(u8::from(lesion_labels.contains(&label(value)?)));
    }
    Ok(mask)
}

/// The map from a case's native planes to the model's.
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
            // Interpolation smears values over the edge of the brain.
            let brain = self
                .placement
                .place_nearest(self.brain, self.grid.dims, self.canvas);
            for (value, brain) in placed.iter_mut().zip(brain) {
                if brain == 0 {
                    *value = 0.0;
                }
            }
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_images_of_one_value_are_constant_and_not_the_same_image() {
        let grid = Grid {
            dims: [4, 6, 8],
            spacing_mm: [1.0; 3],
        };
        let source = Source::new(&grid, "RAS", imaging::nifti::Form::Sform).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, values: &[f32]| {
            let path = folder.path().join(name);
            nifti::write_f32(&path, values, &source).unwrap();
            path
        };
        let mut mask = vec![0.0; grid.voxels()];
        mask[80..100].fill(1.0);
        let files = Files {
            sequences: vec![
                Some(write("t1.nii.gz", &vec![7.0; grid.voxels()])),
                Some(write("t2.nii.gz", &vec![7.0; grid.voxels()])),
            ],
            label: None,
            brain: Some(write("mask.nii.gz", &mask)),
        };
        let input = Input {
            sequences: vec!["t1".into(), "t2".into()],
            slices: 1,
            plane: 16,
            spacing_mm: None,
            clip_percentiles: None,
        };
        let with_mask = prepare("a", &files, &input, &[]);
        assert!(matches!(with_mask, Err(CaseError::Constant(name)) if name == "t1"));
        let files = Files {
            brain: None,
            ..files
        };
        let without_mask = prepare("a", &files, &input, &[]);
        assert!(matches!(without_mask, Err(CaseError::NoBrain)));
    }

    #[test]
    fn only_whole_labels_are_labels() {
        assert_eq!(
            lesion_mask(&[0.0, 4.0, 1.0, 3.9999], &[4]).unwrap(),
            [0, 1, 0, 1]
        );
        assert_eq!(lesion_mask(&[0.0, 2.0], &[4]).unwrap(), [0, 0]);
        for odd in [0.5, -1.0, 1e9] {
            assert!(
                matches!(lesion_mask(&[0.0, odd], &[4]), Err(CaseError::Label(_))),
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
                "SKIPPED: real_cases_have_the_reference_statistics needs LACUNA_DATA, the folder \
                 of glioma-tcga"
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
