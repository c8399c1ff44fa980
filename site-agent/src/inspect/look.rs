//! One case: grids, intensities, labels, lesions, and a picture.

use crate::data::ListedCase;
use imaging::label::label;
use imaging::nifti::{self, NiftiError, Volume};
use metrics::lesion::{Connectivity, components};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A case as its files are.
#[derive(Debug, Serialize)]
pub struct CaseLook {
    pub case: String,
    pub images: Vec<ImageLook>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelLook>,
    /// What could not be read.
    pub unreadable: Vec<String>,
    #[serde(skip)]
    pub(super) slice: Option<Slice>,
}

/// One sequence.
#[derive(Debug, Serialize)]
pub struct ImageLook {
    pub sequence: String,
    /// Width, height, depth.
    pub voxels: [usize; 3],
    pub spacing_mm: [f32; 3],
    /// Lowest value, 1st and 99th percentile, highest value.
    pub intensities: [f32; 4],
    /// Values that are not finite.
    pub not_finite: usize,
}

/// The reference.
#[derive(Debug, Serialize)]
pub struct LabelLook {
    /// Voxels of each value.
    pub values: BTreeMap<u16, u64>,
    /// Volumes of the lesions, cubic millimetres, the largest first.
    pub lesions_mm3: Vec<f64>,
}

/// A slice to be drawn.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) sequence: String,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Millimetres of a row and of a column.
    pub(super) spacing: [f32; 2],
    /// From the back to the front and from left to right of the volume's order, 0 to 1.
    pub(super) grey: Vec<f32>,
    pub(super) lesion: Vec<bool>,
}

/// Reads all of a case's files.
pub(super) fn case(listed: &ListedCase, sequences: &[String]) -> CaseLook {
    let mut looked = CaseLook {
        case: listed.case.clone(),
        images: Vec::new(),
        label: None,
        unreadable: Vec::new(),
        slice: None,
    };
    let Ok(files) = &listed.files else {
        return looked;
    };
    let mut lesion: Option<(Vec<u8>, [usize; 3])> = None;
    if let Some(path) = &files.label
        && let Some(volume) = looked.read("label", path)
    {
        let mut mask = Vec::with_capacity(volume.values.len());
        let mut values = BTreeMap::new();
        for value in &volume.values {
            let value = label(*value).unwrap_or_default();
            *values.entry(value).or_default() += 1;
            mask.push(u8::from(listed.lesion_labels.contains(&value)));
        }
        let regions = components(&mask, volume.grid.dims, Connectivity::TwentySix);
        let voxel_mm3: f64 = volume.grid.spacing_mm.map(f64::from).iter().product();
        let mut lesions_mm3 = Vec::with_capacity(regions.count());
        for region in 1..=regions.count() {
            lesions_mm3.push(regions.size(region as u32) as f64 * voxel_mm3);
        }
        lesions_mm3.sort_by(|a, b| b.total_cmp(a));
        looked.label = Some(LabelLook {
            values,
            lesions_mm3,
        });
        lesion = Some((mask, volume.grid.dims));
    }
    for (sequence, path) in sequences.iter().zip(&files.sequences) {
        let Some(path) = path else { continue };
        let Some(volume) = looked.read(sequence, path) else {
            continue;
        };
        let image = ImageLook::of(sequence, &volume);
        // Lesions are brightest after contrast.
        let better = looked.slice.is_none() || sequence == "t1_post";
        if better {
            let mask = lesion
                .as_ref()
                .filter(|(_, dims)| *dims == volume.grid.dims);
            let mask = mask.map(|(mask, _)| mask.as_slice());
            looked.slice = Some(Slice::of(sequence, &volume, &image.intensities, mask));
        }
        looked.images.push(image);
    }
    looked
}

impl CaseLook {
    fn read(&mut self, what: &str, path: &Path) -> Option<Volume> {
        match nifti::read(path) {
            Ok(volume) => Some(volume),
            Err(error) => {
                self.unreadable.push(said(what, &error));
                None
            }
        }
    }
}

fn said(what: &str, error: &NiftiError) -> String {
    format!("{what}: {error}")
}

impl ImageLook {
    fn of(sequence: &str, volume: &Volume) -> Self {
        let [depth, height, width] = volume.grid.dims;
        let [z, y, x] = volume.grid.spacing_mm;
        let mut values: Vec<f32> = Vec::with_capacity(volume.values.len());
        values.extend(volume.values.iter().filter(|value| value.is_finite()));
        let not_finite = volume.values.len() - values.len();
        values.sort_unstable_by(f32::total_cmp);
        let at = |share: f64| {
            let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
            values.get(place).copied().unwrap_or_default()
        };
        Self {
            sequence: sequence.to_owned(),
            voxels: [width, height, depth],
            spacing_mm: [x, y, z],
            intensities: [at(0.0), at(0.01), at(0.99), at(1.0)],
            not_finite,
        }
    }
}

impl Slice {
    /// The axial slice with most lesion, or the middle one.
    fn of(sequence: &str, volume: &Volume, intensities: &[f32; 4], lesion: Option<&[u8]>) -> Self {
        let [depth, height, width] = volume.grid.dims;
        let [_, row_mm, column_mm] = volume.grid.spacing_mm;
        let size = height * width;
        let mut chosen = (0, depth / 2);
        for slice in 0..depth {
            let marked = lesion.map_or(0, |mask| {
                let own = &mask[slice * size..(slice + 1) * size];
                own.iter().filter(|&&voxel| voxel > 0).count()
            });
            if marked > chosen.0 {
                chosen = (marked, slice);
            }
        }
        let from = chosen.1 * size;
        let [low, _, high, _] = *intensities;
        let range = (high - low).max(f32::MIN_POSITIVE);
        let mut grey = Vec::with_capacity(size);
        for value in &volume.values[from..from + size] {
            let share = (value - low) / range;
            grey.push(if share.is_finite() {
                share.clamp(0.0, 1.0)
            } else {
                0.0
            });
        }
        let marked = match lesion {
            Some(mask) => mask[from..from + size]
                .iter()
                .map(|&voxel| voxel > 0)
                .collect(),
            None => vec![false; size],
        };
        Self {
            sequence: sequence.to_owned(),
            height,
            width,
            spacing: [row_mm, column_mm],
            grey,
            lesion: marked,
        }
    }
}

impl LabelLook {
    /// In a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let mut values = Vec::new();
        for (value, voxels) in &self.values {
            if *value > 0 {
                values.push(format!("{value}: {voxels} voxels"));
            }
        }
        let values = if values.is_empty() {
            "no values but 0".to_owned()
        } else {
            values.join(", ")
        };
        match self.lesions_mm3.as_slice() {
            [] => format!("label: {values}; no lesions"),
            [one] => format!("label: {values}; 1 lesion of {one:.0} mm3"),
            [largest, .., smallest] => format!(
                "label: {values}; {} lesions of {smallest:.0} to {largest:.0} mm3, together \
                 {:.0} mm3",
                self.lesions_mm3.len(),
                self.lesions_mm3.iter().sum::<f64>()
            ),
        }
    }
}
