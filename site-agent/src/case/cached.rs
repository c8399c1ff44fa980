//! A prepared case on disk, read slab by slab so that a site's cohort need not fit in memory.
//!
//! The file: magic, version, header length, the BLAKE3 hash of all that follows, a JSON header,
//! then the present sequences as 16-bit reals `[depth, height, width]` of the canvas, the label as
//! bytes, and one byte per native voxel (bit 0 brain, bit 1 lesion). Sixteen bits keep a z-score to
//! one part in two thousand and halve disk and reading.

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
    /// Reading or writing failed.
    #[error("a prepared case on disk: {0}")]
    Io(#[from] io::Error),
    /// Not what was written: cut short, changed, or of another version.
    #[error("a prepared case on disk is damaged or of another version")]
    Damaged,
    /// The case has no reference.
    #[error("the case has no reference segmentation")]
    NoLabel,
    /// A buffer, slice number or case whose size does not fit.
    #[error("{found} values where {expected} belong")]
    Size {
        /// What fits.
        expected: usize,
        /// What was given.
        found: usize,
    },
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
            Self::Damaged => Some("delete the cache folder: it is made anew".into()),
            Self::NoLabel | Self::Size { .. } => None,
        }
    }
}

/// What to do about a disk that refuses.
pub(crate) fn disk_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or set another work_folder"
        }
        io::ErrorKind::PermissionDenied => "give the program's user the right to write there",
        _ => "is the folder there, and the disk sound?",
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Head {
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

/// A prepared case backed by its file: cheap to hold, any number of threads may read.
#[derive(Debug)]
pub struct CachedCase {
    head: Head,
    /// First byte after the header.
    body: u64,
    file: Mutex<File>,
}

impl Prepared {
    /// Writes the case for [`CachedCase::open`], atomically. Images are rounded to 16 bits.
    ///
    /// # Errors
    /// [`CaseFileError::Size`] when a part does not fit its grid, [`CaseFileError::Io`] when the
    /// disk refuses.
    pub fn store(&self, path: &Path) -> Result<(), CaseFileError> {
        self.check_sizes()?;
        let head = Head {
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
        let head = serde_json::to_vec(&head).map_err(io::Error::from)?;
        files::replace(path, |file| self.write(file, &head))?;
        Ok(())
    }

    fn lesion_views(&self) -> Vec<bool> {
        let (tiles, mut view) = (self.tiles(), vec![0; self.plane.pow(2)]);
        let mut lesion = Vec::new();
        for slice in self
            .label
            .iter()
            .flat_map(|label| label.chunks(self.whole()))
        {
            for tile in 0..tiles.count() {
                tiles.cut(tile, slice, &mut view);
                lesion.push(view.contains(&1));
            }
        }
        lesion
    }

    /// Pixels of one slice.
    fn whole(&self) -> usize {
        (self.canvas[0] * self.canvas[1]).max(1)
    }

    fn check_sizes(&self) -> Result<(), CaseFileError> {
        let (planes, voxels) = (
            self.depth() * self.canvas[0] * self.canvas[1],
            self.native.grid.voxels(),
        );
        let images = self
            .sequences
            .iter()
            .flatten()
            .map(|values| (planes, values.len()));
        let label = self.label.iter().map(|label| (planes, label.len()));
        let native = [&self.native.brain]
            .into_iter()
            .chain(&self.native.lesion)
            .map(|mask| (voxels, mask.len()));
        // A label on the planes and one on the native grid come together.
        let pair = [(
            usize::from(self.label.is_some()),
            usize::from(self.native.lesion.is_some()),
        )];
        match images
            .chain(label)
            .chain(native)
            .chain(pair)
            .find(|(expected, found)| expected != found)
        {
            Some((expected, found)) => Err(CaseFileError::Size { expected, found }),
            None => Ok(()),
        }
    }

    fn write(&self, file: &mut File, head: &[u8]) -> io::Result<()> {
        let mut out = Hashed {
            out: BufWriter::with_capacity(1 << 20, file),
            hash: blake3::Hasher::new(),
        };
        out.out.write_all(&prefix(head.len() as u32, [0; 32]))?;
        out.put(head)?;
        let mut bytes = Vec::with_capacity(2 * self.whole());
        for slice in self
            .sequences
            .iter()
            .flatten()
            .flat_map(|values| values.chunks(self.whole()))
        {
            bytes.clear();
            bytes.extend(
                slice
                    .iter()
                    .flat_map(|&value| f16::from_f32(value).to_le_bytes()),
            );
            out.put(&bytes)?;
        }
        out.put(self.label.as_deref().unwrap_or_default())?;
        let lesion = self.native.lesion.as_deref().unwrap_or_default();
        let masks: Vec<u8> = (0..self.native.brain.len())
            .map(|i| {
                u8::from(self.native.brain[i] != 0)
                    | u8::from(lesion.get(i).is_some_and(|&l| l != 0)) << 1
            })
            .collect();
        out.put(&masks)?;
        let hash = *out.hash.finalize().as_bytes();
        let file = out
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&prefix(head.len() as u32, hash))
    }
}

/// Writes and hashes.
struct Hashed<'a> {
    out: BufWriter<&'a mut File>,
    hash: blake3::Hasher,
}

impl Hashed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

fn prefix(head: u32, hash: [u8; 32]) -> Vec<u8> {
    [
        MAGIC.as_slice(),
        &VERSION.to_le_bytes(),
        &head.to_le_bytes(),
        &hash,
    ]
    .concat()
}

impl CachedCase {
    /// Opens a stored case, reading it once to compare its hash.
    ///
    /// # Errors
    /// [`CaseFileError::Damaged`] for anything but what [`Prepared::store`] wrote.
    pub fn open(path: &Path) -> Result<Self, CaseFileError> {
        let mut file = File::open(path)?;
        let mut start = [0; PREFIX as usize];
        file.read_exact(&mut start)
            .map_err(|_| CaseFileError::Damaged)?;
        let (length, stored) = (
            u32::from_le_bytes([start[12], start[13], start[14], start[15]]),
            &start[16..],
        );
        if start[..8] != MAGIC[..] || start[8..12] != VERSION.to_le_bytes() || length > MAX_HEADER {
            return Err(CaseFileError::Damaged);
        }
        let mut hash = blake3::Hasher::new();
        hash.update_reader(&mut file)?;
        if hash.finalize().as_bytes() != stored {
            return Err(CaseFileError::Damaged);
        }
        let mut head = vec![0; length as usize];
        file.seek(SeekFrom::Start(PREFIX))?;
        file.read_exact(&mut head)
            .map_err(|_| CaseFileError::Damaged)?;
        let head = serde_json::from_slice(&head).map_err(|_| CaseFileError::Damaged)?;
        Ok(Self {
            head,
            body: PREFIX + u64::from(length),
            file: Mutex::new(file),
        })
    }

    /// The case's name. Never leaves the site, never in a log.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.head.id
    }

    /// The sequences the case has.
    #[must_use]
    pub fn present(&self) -> SequenceSet {
        self.head.present
    }

    /// What was noticed while it was prepared.
    #[must_use]
    pub fn noticed(&self) -> &Noticed {
        &self.head.noticed
    }

    /// Slices.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.head.grid.dims[0]
    }

    /// What the network can be shown: a view of each slice where the brain fits the model's plane,
    /// several that overlap where it does not.
    #[must_use]
    pub fn views(&self) -> usize {
        self.depth() * self.tiles().count()
    }

    /// Height and width of what the network is shown at once.
    #[must_use]
    pub fn plane(&self) -> usize {
        self.head.plane
    }

    /// The patient's own grid.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.head.grid
    }

    /// Whether the case has a reference segmentation.
    #[must_use]
    pub fn has_label(&self) -> bool {
        !self.head.lesion_views.is_empty()
    }

    /// Which of the [`views`](Self::views) hold lesion; empty without a reference.
    #[must_use]
    pub fn lesion_views(&self) -> &[bool] {
        &self.head.lesion_views
    }

    /// Reads a view and its neighbours in `slices` slices of every sequence into `out`, `[sequences
    /// * slices, plane, plane]`, a sequence's slices contiguous; zero where the case lacks the
    /// sequence and beyond the ends.
    ///
    /// # Errors
    /// [`CaseFileError::Size`] for a buffer or view that does not fit, [`CaseFileError::Io`].
    pub fn read_slab(
        &self,
        view: usize,
        slices: usize,
        out: &mut [f32],
    ) -> Result<(), CaseFileError> {
        let (area, rows) = (self.head.plane.pow(2), self.rows(view)?);
        self.expect(self.head.sequences * slices * area, out.len())?;
        // The slab begins `before` slices below the first one when it reaches past the lower end.
        let reach = slices / 2;
        let (first, before) = (
            rows.slice.saturating_sub(reach),
            reach.saturating_sub(rows.slice),
        );
        let held = (rows.slice + slices - reach).min(self.depth()) - first;
        let (mut bytes, mut values) = (vec![0; 2 * rows.length], vec![0.0; rows.length]);
        for (sequence, block) in out.chunks_exact_mut((slices * area).max(1)).enumerate() {
            block.fill(0.0);
            if !self.head.present.contains(sequence) {
                continue;
            }
            let image = self
                .head
                .present
                .iter()
                .position(|index| index == sequence)
                .unwrap_or_default();
            for (at, plane) in block[before * area..]
                .chunks_exact_mut(area)
                .take(held)
                .enumerate()
            {
                let start = (image * self.depth() + first + at) * self.area() + rows.start;
                self.read_at(2 * start as u64, &mut bytes)?;
                widen(&bytes, &mut values);
                rows.cut(&values, plane);
            }
        }
        Ok(())
    }

    fn tiles(&self) -> Tiles {
        Tiles::over(self.head.canvas, self.head.plane)
    }

    /// Where a view is in the file.
    fn rows(&self, view: usize) -> Result<Rows, CaseFileError> {
        let tiles = self.tiles();
        let slice = view / tiles.count();
        self.check_slice(slice)?;
        let [top, left] = tiles.corner(view % tiles.count());
        let width = self.head.canvas[1];
        Ok(Rows {
            slice,
            start: top * width,
            length: self.head.plane * width,
            width,
            left,
            plane: self.head.plane,
        })
    }

    /// Reads the whole case, each image once, as it was stored.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn load(&self) -> Result<Prepared, CaseFileError> {
        let planes = self.depth() * self.area();
        let mut bytes = vec![0; 2 * planes];
        let mut sequences = vec![None; self.head.sequences];
        for (image, sequence) in self
            .head
            .present
            .iter()
            .enumerate()
            .filter(|pair| pair.1 < self.head.sequences)
        {
            self.read_at((image * bytes.len()) as u64, &mut bytes)?;
            let mut values = vec![0.0; planes];
            widen(&bytes, &mut values);
            sequences[sequence] = Some(values);
        }
        let mut label = self.has_label().then(|| vec![0; planes]);
        if let Some(label) = &mut label {
            self.read_at(self.images(), label)?;
        }
        Ok(Prepared {
            id: self.head.id.clone(),
            sequences,
            label,
            plane: self.head.plane,
            canvas: self.head.canvas,
            native: self.native()?,
            placement: Placement {
                step: self.head.step,
            },
            noticed: self.head.noticed.clone(),
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
        self.expect(self.head.plane.pow(2), out.len())?;
        let rows = self.rows(view)?;
        let mut label = vec![0; rows.length];
        self.read_at(
            self.images() + (rows.slice * self.area() + rows.start) as u64,
            &mut label,
        )?;
        rows.cut(&label, out);
        Ok(())
    }

    /// Reads the masks on the patient's own grid.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn native(&self) -> Result<Native, CaseFileError> {
        let mut masks = vec![0; self.head.grid.voxels()];
        let label = if self.has_label() {
            self.depth() * self.area()
        } else {
            0
        };
        self.read_at(self.images() + label as u64, &mut masks)?;
        let lesion = self
            .has_label()
            .then(|| masks.iter().map(|mask| mask >> 1).collect());
        masks.iter_mut().for_each(|mask| *mask &= 1);
        Ok(Native {
            grid: self.head.grid,
            brain: masks,
            lesion,
        })
    }

    /// How many lesions the reference has, 26-connected; none where the masks cannot be read, which
    /// shows again when the case is used.
    #[must_use]
    pub fn count_lesions(&self) -> usize {
        let lesion = self.native().ok().and_then(|native| native.lesion);
        lesion.map_or(0, |mask| {
            components(&mask, self.head.grid.dims, Connectivity::TwentySix).count()
        })
    }

    /// Pixels of one slice.
    fn area(&self) -> usize {
        self.head.canvas[0] * self.head.canvas[1]
    }

    /// Bytes of all images.
    fn images(&self) -> u64 {
        2 * (self.head.present.len() * self.depth() * self.area()) as u64
    }

    fn check_slice(&self, slice: usize) -> Result<(), CaseFileError> {
        let fits = slice < self.depth();
        if fits {
            Ok(())
        } else {
            Err(CaseFileError::Size {
                expected: self.depth(),
                found: slice,
            })
        }
    }

    fn expect(&self, expected: usize, found: usize) -> Result<(), CaseFileError> {
        if expected == found {
            Ok(())
        } else {
            Err(CaseFileError::Size { expected, found })
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CaseFileError> {
        // A reader that panicked left the position anywhere, and every read seeks first.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.body + offset))?;
        Ok(file.read_exact(out)?)
    }
}

/// The rows of a slice that a view is cut from, whole.
struct Rows {
    slice: usize,
    /// Where they begin in the slice.
    start: usize,
    /// Pixels of all of them.
    length: usize,
    /// Pixels of one.
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

/// Stored halves, little-endian, as `f32`; as many as `out` holds.
fn widen(bytes: &[u8], out: &mut [f32]) {
    let halves: Vec<f16> = bytes
        .chunks_exact(2)
        .map(|pair| f16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    halves.convert_to_f32_slice(out);
}

#[cfg(test)]
mod tests;
