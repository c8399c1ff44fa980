//! A prepared case on disk, read slab by slab so that a site's cohort need not fit in memory.
//!
//! The file: magic, version, header length, the BLAKE3 hash of all that follows, a JSON header,
//! then the present sequences as 16-bit floats `[depth, height, width]` of the canvas, the label as
//! bytes, and one byte per native voxel (bit 0 brain, bit 1 lesion). Sixteen bits keep a z-score to
//! one part in two thousand and halve the size of the file.

use super::{Native, Noticed, Placement, Prepared, Tiles};
use half::f16;
use half::slice::HalfFloatSliceExt;
use metrics::components::{Connectivity, components};
use metrics::sequence::SequenceSet;
use program::files;
use program::{Class, Explain};
use protocol::case::Grid;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"LACUNAC\0";
/// Raised when the layout or the meaning of what is stored changes: older files are then prepared
/// again.
const VERSION: u32 = 2;
/// Magic, version, header length, hash.
const PREFIX: u64 = 8 + 4 + 4 + 32;
const MAX_HEADER: u32 = 1 << 20;

/// Why a cache file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaseFileError {
    #[error("the cached case: {0}")]
    Io(#[from] io::Error),
    /// Cut short, changed, or written by another version of the program.
    #[error("the cached case is damaged, or another version wrote it")]
    Damaged,
    #[error("the case has no reference segmentation")]
    NoLabel,
    /// A buffer, an index or a part of a case of the wrong size.
    #[error("{found} values instead of {expected}")]
    Size { expected: usize, found: usize },
}

impl Explain for CaseFileError {
    fn class(&self) -> Class {
        match self {
            Self::Io(_) | Self::Damaged => Class::Disk,
            Self::NoLabel => Class::Data,
            Self::Size { .. } => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Io(error) => Some(disk_hint(error).into()),
            Self::Damaged => Some("delete the cache folder: the cases are prepared again".into()),
            Self::NoLabel | Self::Size { .. } => None,
        }
    }
}

/// The hint for an error of the disk.
pub(crate) fn disk_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some disk space, or set another work_folder"
        }
        io::ErrorKind::PermissionDenied => {
            "give the user that runs the program the right to write there"
        }
        _ => "check that the folder exists and the disk works",
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    id: String,
    sequences: usize,
    present: SequenceSet,
    plane: usize,
    canvas: [usize; 2],
    grid: Grid,
    step: [f32; 2],
    /// Which views hold lesion; empty without a reference.
    lesion_views: Vec<bool>,
    noticed: Noticed,
}

/// A prepared case in its file. Only the header is in memory; any number of threads may read.
#[derive(Debug)]
pub struct CachedCase {
    header: Header,
    /// First byte after the header.
    body: u64,
    file: Mutex<File>,
}

impl Prepared {
    /// Writes the case for [`CachedCase::open`], atomically. Images are rounded to 16 bits.
    ///
    /// # Errors
    /// [`CaseFileError::Size`] when a part does not match its grid, [`CaseFileError::Io`].
    pub fn store(&self, path: &Path) -> Result<(), CaseFileError> {
        self.check_sizes()?;
        let header = Header {
            id: self.id.clone(),
            sequences: self.sequences.len(),
            present: self.present(),
            plane: self.plane,
            canvas: self.canvas,
            grid: self.native.grid,
            step: self.placement.step,
            lesion_views: self.lesion_views(),
            noticed: self.noticed.clone(),
        };
        let header = serde_json::to_vec(&header).map_err(io::Error::from)?;
        files::replace(path, |file| self.write(file, &header))?;
        Ok(())
    }

    fn lesion_views(&self) -> Vec<bool> {
        let Some(label) = &self.label else {
            return Vec::new();
        };
        let tiles = self.tiles();
        let mut view = vec![0; self.plane.pow(2)];
        let mut lesion_views = Vec::new();
        for slice in label.chunks(self.slice_pixels()) {
            for tile in 0..tiles.count() {
                tiles.cut(tile, slice, &mut view);
                lesion_views.push(view.contains(&1));
            }
        }
        lesion_views
    }

    /// Pixels of one slice of the canvas.
    fn slice_pixels(&self) -> usize {
        (self.canvas[0] * self.canvas[1]).max(1)
    }

    fn check_sizes(&self) -> Result<(), CaseFileError> {
        let pixels = self.depth() * self.canvas[0] * self.canvas[1];
        for image in self.sequences.iter().flatten() {
            check_size(pixels, image.len())?;
        }
        if let Some(label) = &self.label {
            check_size(pixels, label.len())?;
        }
        let voxels = self.native.grid.voxels();
        check_size(voxels, self.native.brain.len())?;
        if let Some(lesion) = &self.native.lesion {
            check_size(voxels, lesion.len())?;
        }
        // A label on the planes and one on the native grid come together.
        check_size(
            usize::from(self.label.is_some()),
            usize::from(self.native.lesion.is_some()),
        )
    }

    fn write(&self, file: &mut File, header: &[u8]) -> io::Result<()> {
        let mut out = HashedWriter {
            out: BufWriter::with_capacity(1 << 20, file),
            hash: blake3::Hasher::new(),
        };
        // The hash is known at the end only.
        out.out.write_all(&prefix(header.len() as u32, [0; 32]))?;
        out.put(header)?;
        let mut bytes = Vec::with_capacity(2 * self.slice_pixels());
        for image in self.sequences.iter().flatten() {
            for slice in image.chunks(self.slice_pixels()) {
                bytes.clear();
                for &value in slice {
                    bytes.extend(f16::from_f32(value).to_le_bytes());
                }
                out.put(&bytes)?;
            }
        }
        if let Some(label) = &self.label {
            out.put(label)?;
        }
        out.put(&self.masks())?;
        let hash = *out.hash.finalize().as_bytes();
        let file = out
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&prefix(header.len() as u32, hash))
    }

    /// One byte per native voxel: bit 0 brain, bit 1 lesion.
    fn masks(&self) -> Vec<u8> {
        let mut masks = Vec::with_capacity(self.native.brain.len());
        for &brain in &self.native.brain {
            masks.push(u8::from(brain != 0));
        }
        if let Some(lesion) = &self.native.lesion {
            for (mask, &lesion) in masks.iter_mut().zip(lesion) {
                *mask |= u8::from(lesion != 0) << 1;
            }
        }
        masks
    }
}

fn check_size(expected: usize, found: usize) -> Result<(), CaseFileError> {
    if expected == found {
        Ok(())
    } else {
        Err(CaseFileError::Size { expected, found })
    }
}

/// Hashes what it writes.
struct HashedWriter<'a> {
    out: BufWriter<&'a mut File>,
    hash: blake3::Hasher,
}

impl HashedWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// The first bytes of a file; `header` is the length of the header in bytes.
fn prefix(header: u32, hash: [u8; 32]) -> Vec<u8> {
    let mut prefix = MAGIC.to_vec();
    prefix.extend(VERSION.to_le_bytes());
    prefix.extend(header.to_le_bytes());
    prefix.extend(hash);
    prefix
}

impl CachedCase {
    /// Opens a stored case. Reads the whole file once to check its hash.
    ///
    /// # Errors
    /// [`CaseFileError::Damaged`] unless this version's [`Prepared::store`] wrote the file.
    pub fn open(path: &Path) -> Result<Self, CaseFileError> {
        let mut file = File::open(path)?;
        let mut start = [0; PREFIX as usize];
        file.read_exact(&mut start)
            .map_err(|_| CaseFileError::Damaged)?;
        let length = u32::from_le_bytes([start[12], start[13], start[14], start[15]]);
        let stored_hash = &start[16..];
        if start[..8] != MAGIC[..] || start[8..12] != VERSION.to_le_bytes() || length > MAX_HEADER {
            return Err(CaseFileError::Damaged);
        }
        let mut hash = blake3::Hasher::new();
        hash.update_reader(&mut file)?;
        if hash.finalize().as_bytes() != stored_hash {
            return Err(CaseFileError::Damaged);
        }
        let mut header = vec![0; length as usize];
        file.seek(SeekFrom::Start(PREFIX))?;
        file.read_exact(&mut header)
            .map_err(|_| CaseFileError::Damaged)?;
        let header = serde_json::from_slice(&header).map_err(|_| CaseFileError::Damaged)?;
        Ok(Self {
            header,
            body: PREFIX + u64::from(length),
            file: Mutex::new(file),
        })
    }

    /// The case's name. Must not leave the site or appear in a log.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.header.id
    }

    #[must_use]
    pub fn present(&self) -> SequenceSet {
        self.header.present
    }

    #[must_use]
    pub fn noticed(&self) -> &Noticed {
        &self.header.noticed
    }

    /// The number of slices.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.header.grid.dims[0]
    }

    /// Height and width of a view in pixels.
    #[must_use]
    pub fn plane(&self) -> usize {
        self.header.plane
    }

    /// The native grid.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.header.grid
    }

    #[must_use]
    pub fn has_label(&self) -> bool {
        !self.header.lesion_views.is_empty()
    }

    /// For each view, whether it shows lesion; empty without a reference. A slice has one view
    /// where the brain fits the model's plane, and several that overlap where it does not, so the
    /// length is the number of training examples of the case.
    #[must_use]
    pub fn lesion_views(&self) -> &[bool] {
        &self.header.lesion_views
    }

    /// Reads a view and its neighbours in `slices` slices of every sequence into `out`. Its shape
    /// is `[sequences * slices, plane, plane]`, a sequence's slices contiguous. It is zero where
    /// the case lacks the sequence and beyond the ends.
    ///
    /// # Errors
    /// [`CaseFileError::Size`] for a buffer or view that does not fit, [`CaseFileError::Io`].
    pub fn read_slab(
        &self,
        view: usize,
        slices: usize,
        out: &mut [f32],
    ) -> Result<(), CaseFileError> {
        let area = self.header.plane.pow(2);
        let rows = self.rows(view)?;
        check_size(self.header.sequences * slices * area, out.len())?;
        // The first slice of the slab that the case has, and how many come before it that it lacks.
        let reach = slices / 2;
        let first = rows.slice.saturating_sub(reach);
        let missing = reach.saturating_sub(rows.slice);
        let present = (rows.slice + slices - reach).min(self.depth()) - first;
        let mut bytes = vec![0; 2 * rows.length];
        let mut values = vec![0.0; rows.length];
        for (sequence, block) in out.chunks_exact_mut((slices * area).max(1)).enumerate() {
            block.fill(0.0);
            if !self.header.present.contains(sequence) {
                continue;
            }
            // Absent sequences have no image in the file.
            let image = self
                .header
                .present
                .iter()
                .take_while(|&s| s < sequence)
                .count();
            let planes = block[missing * area..].chunks_exact_mut(area);
            for (at, plane) in planes.take(present).enumerate() {
                let start = (image * self.depth() + first + at) * self.area() + rows.start;
                self.read_at(2 * start as u64, &mut bytes)?;
                widen(&bytes, &mut values);
                rows.cut(&values, plane);
            }
        }
        Ok(())
    }

    /// The rows of a slice that contain a view.
    fn rows(&self, view: usize) -> Result<Rows, CaseFileError> {
        let tiles = Tiles::over(self.header.canvas, self.header.plane);
        let slice = view / tiles.count();
        self.check_slice(slice)?;
        let [top, left] = tiles.corner(view % tiles.count());
        let width = self.header.canvas[1];
        Ok(Rows {
            slice,
            start: top * width,
            length: self.header.plane * width,
            width,
            left,
            plane: self.header.plane,
        })
    }

    /// Reads the whole case as it was stored.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn load(&self) -> Result<Prepared, CaseFileError> {
        let planes = self.depth() * self.area();
        let mut bytes = vec![0; 2 * planes];
        let mut sequences = vec![None; self.header.sequences];
        for (image, sequence) in self.header.present.iter().enumerate() {
            if sequence >= self.header.sequences {
                continue;
            }
            self.read_at((image * bytes.len()) as u64, &mut bytes)?;
            let mut values = vec![0.0; planes];
            widen(&bytes, &mut values);
            sequences[sequence] = Some(values);
        }
        let mut label = None;
        if self.has_label() {
            let mut values = vec![0; planes];
            self.read_at(self.images(), &mut values)?;
            label = Some(values);
        }
        Ok(Prepared {
            id: self.header.id.clone(),
            sequences,
            label,
            plane: self.header.plane,
            canvas: self.header.canvas,
            native: self.native()?,
            placement: Placement {
                step: self.header.step,
            },
            noticed: self.header.noticed.clone(),
        })
    }

    /// Reads the label of one view, `[plane, plane]`, lesion 1, other 0.
    ///
    /// # Errors
    /// [`CaseFileError::NoLabel`], [`CaseFileError::Size`] for a buffer or view that does not fit,
    /// [`CaseFileError::Io`].
    pub fn read_label(&self, view: usize, out: &mut [u8]) -> Result<(), CaseFileError> {
        if !self.has_label() {
            return Err(CaseFileError::NoLabel);
        }
        check_size(self.header.plane.pow(2), out.len())?;
        let rows = self.rows(view)?;
        let mut label = vec![0; rows.length];
        let start = (rows.slice * self.area() + rows.start) as u64;
        self.read_at(self.images() + start, &mut label)?;
        rows.cut(&label, out);
        Ok(())
    }

    /// Reads the masks on the patient's own grid.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn native(&self) -> Result<Native, CaseFileError> {
        let mut masks = vec![0; self.header.grid.voxels()];
        let label = if self.has_label() {
            self.depth() * self.area()
        } else {
            0
        };
        self.read_at(self.images() + label as u64, &mut masks)?;
        let mut lesion = None;
        if self.has_label() {
            lesion = Some(masks.iter().map(|mask| mask >> 1).collect());
        }
        for mask in &mut masks {
            *mask &= 1;
        }
        Ok(Native {
            grid: self.header.grid,
            brain: masks,
            lesion,
        })
    }

    /// The number of lesions in the reference, 26-connected. 0 if the masks cannot be read:
    /// training and scoring report that error when they use the case.
    #[must_use]
    pub fn count_lesions(&self) -> usize {
        let lesion = self.native().ok().and_then(|native| native.lesion);
        match lesion {
            Some(mask) => components(&mask, self.header.grid.dims, Connectivity::TwentySix).count(),
            None => 0,
        }
    }

    /// Pixels of one slice of the canvas.
    fn area(&self) -> usize {
        self.header.canvas[0] * self.header.canvas[1]
    }

    /// Bytes of all images in the file.
    fn images(&self) -> u64 {
        2 * (self.header.present.len() * self.depth() * self.area()) as u64
    }

    fn check_slice(&self, slice: usize) -> Result<(), CaseFileError> {
        if slice < self.depth() {
            Ok(())
        } else {
            Err(CaseFileError::Size {
                expected: self.depth(),
                found: slice,
            })
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CaseFileError> {
        // Every read seeks first, so the position that a panicking reader left does not matter.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.body + offset))?;
        Ok(file.read_exact(out)?)
    }
}

/// The rows of a slice that contain a view, over the full width of the canvas.
struct Rows {
    slice: usize,
    /// The index of their first pixel in the slice.
    start: usize,
    /// Pixels of all of them.
    length: usize,
    /// Pixels of one row.
    width: usize,
    /// The view's first column.
    left: usize,
    plane: usize,
}

impl Rows {
    /// Cuts the view out of its rows.
    fn cut<T: Copy>(&self, rows: &[T], view: &mut [T]) {
        for (row, to) in rows
            .chunks_exact(self.width)
            .zip(view.chunks_exact_mut(self.plane))
        {
            to.copy_from_slice(&row[self.left..][..self.plane]);
        }
    }
}

/// Little-endian 16-bit floats as `f32`, as many as `out` has.
fn widen(bytes: &[u8], out: &mut [f32]) {
    let halves: Vec<f16> = bytes
        .chunks_exact(2)
        .map(|pair| f16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    halves.convert_to_f32_slice(out);
}

#[cfg(test)]
mod tests;
