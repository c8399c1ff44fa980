//! A prepared case on disk, read slab by slab so that a site's cohort need not fit in memory.
//!
//! The file: magic, version, header length, the BLAKE3 hash of all that follows, a JSON header, then the present
//! sequences as 16-bit reals `[depth, plane, plane]`, the label as bytes, and one byte per native voxel (bit 0
//! brain, bit 1 lesion). Sixteen bits keep a z-score to one part in two thousand and halve disk and reading.

use super::{Native, Noticed, Placement, Prepared};
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
/// Raised when the layout or the meaning of what is stored changes: older files are then prepared again.
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
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or set another work_folder",
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
    grid: Grid,
    step: [f32; 2],
    /// Which slices hold lesion on the model's plane; empty without a reference.
    lesion_slices: Vec<bool>,
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
    /// [`CaseFileError::Size`] when a part does not fit its grid, [`CaseFileError::Io`] when the disk refuses.
    pub fn store(&self, path: &Path) -> Result<(), CaseFileError> {
        self.check_sizes()?;
        let head = Head {
            id: self.id.clone(),
            sequences: self.sequences.len(),
            present: self.present(),
            plane: self.plane,
            grid: self.native.grid,
            step: self.placement.step,
            lesion_slices: self.lesion_slices(),
            noticed: self.noticed.clone(),
        };
        let head = serde_json::to_vec(&head).map_err(io::Error::from)?;
        files::replace(path, |file| self.write(file, &head))?;
        Ok(())
    }

    fn lesion_slices(&self) -> Vec<bool> {
        let slices = |label: &Vec<u8>| label.chunks(self.plane.pow(2).max(1)).map(|s| s.contains(&1)).collect();
        self.label.as_ref().map(slices).unwrap_or_default()
    }

    fn check_sizes(&self) -> Result<(), CaseFileError> {
        let (planes, voxels) = (self.depth() * self.plane.pow(2), self.native.grid.voxels());
        let images = self.sequences.iter().flatten().map(|values| (planes, values.len()));
        let label = self.label.iter().map(|label| (planes, label.len()));
        let native = [&self.native.brain].into_iter().chain(&self.native.lesion).map(|mask| (voxels, mask.len()));
        // A label on the planes and one on the native grid come together.
        let pair = [(usize::from(self.label.is_some()), usize::from(self.native.lesion.is_some()))];
        match images.chain(label).chain(native).chain(pair).find(|(expected, found)| expected != found) {
            Some((expected, found)) => Err(CaseFileError::Size { expected, found }),
            None => Ok(()),
        }
    }

    fn write(&self, file: &mut File, head: &[u8]) -> io::Result<()> {
        let mut out = Hashed { out: BufWriter::with_capacity(1 << 20, file), hash: blake3::Hasher::new() };
        out.out.write_all(&prefix(head.len() as u32, [0; 32]))?;
        out.put(head)?;
        let mut bytes = Vec::with_capacity(2 * self.plane * self.plane);
        for slice in self.sequences.iter().flatten().flat_map(|values| values.chunks(self.plane.pow(2).max(1))) {
            bytes.clear();
            bytes.extend(slice.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
            out.put(&bytes)?;
        }
        out.put(self.label.as_deref().unwrap_or_default())?;
        let lesion = self.native.lesion.as_deref().unwrap_or_default();
        let masks: Vec<u8> = (0..self.native.brain.len())
            .map(|i| u8::from(self.native.brain[i] != 0) | u8::from(lesion.get(i).is_some_and(|&l| l != 0)) << 1)
            .collect();
        out.put(&masks)?;
        let hash = *out.hash.finalize().as_bytes();
        let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
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
    [MAGIC.as_slice(), &VERSION.to_le_bytes(), &head.to_le_bytes(), &hash].concat()
}

impl CachedCase {
    /// Opens a stored case, reading it once to compare its hash.
    ///
    /// # Errors
    /// [`CaseFileError::Damaged`] for anything but what [`Prepared::store`] wrote.
    pub fn open(path: &Path) -> Result<Self, CaseFileError> {
        let mut file = File::open(path)?;
        let mut start = [0; PREFIX as usize];
        file.read_exact(&mut start).map_err(|_| CaseFileError::Damaged)?;
        let (length, stored) = (u32::from_le_bytes([start[12], start[13], start[14], start[15]]), &start[16..]);
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
        file.read_exact(&mut head).map_err(|_| CaseFileError::Damaged)?;
        let head = serde_json::from_slice(&head).map_err(|_| CaseFileError::Damaged)?;
        Ok(Self { head, body: PREFIX + u64::from(length), file: Mutex::new(file) })
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

    /// Height and width of the model's planes.
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
        !self.head.lesion_slices.is_empty()
    }

    /// Which slices hold lesion on the model's plane; empty without a reference.
    #[must_use]
    pub fn lesion_slices(&self) -> &[bool] {
        &self.head.lesion_slices
    }

    /// Reads `slices` contiguous slices around `centre` of every sequence into `out`, `[sequences * slices, plane,
    /// plane]`, a sequence's slices contiguous; zero where the case lacks the sequence and beyond the ends.
    ///
    /// # Errors
    /// [`CaseFileError::Size`] for a buffer or centre that does not fit, [`CaseFileError::Io`].
    pub fn read_slab(&self, centre: usize, slices: usize, out: &mut [f32]) -> Result<(), CaseFileError> {
        let area = self.area();
        self.expect(self.head.sequences * slices * area, out.len())?;
        self.check_slice(centre)?;
        // The slab begins `before` slices below the first one when it reaches past the lower end.
        let reach = slices / 2;
        let (first, before) = (centre.saturating_sub(reach), reach.saturating_sub(centre));
        let held = (centre + slices - reach).min(self.depth()) - first;
        let mut bytes = vec![0; 2 * held * area];
        for (sequence, block) in out.chunks_exact_mut((slices * area).max(1)).enumerate() {
            block.fill(0.0);
            if !self.head.present.contains(sequence) {
                continue;
            }
            let image = self.head.present.iter().position(|index| index == sequence).unwrap_or_default();
            self.read_at(2 * ((image * self.depth() + first) * area) as u64, &mut bytes)?;
            widen(&bytes, &mut block[before * area..][..held * area]);
        }
        Ok(())
    }

    /// Reads the whole case, each image once, as it was stored.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn load(&self) -> Result<Prepared, CaseFileError> {
        let planes = self.depth() * self.area();
        let mut bytes = vec![0; 2 * planes];
        let mut sequences = vec![None; self.head.sequences];
        for (image, sequence) in self.head.present.iter().enumerate().filter(|pair| pair.1 < self.head.sequences) {
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
            native: self.native()?,
            placement: Placement { step: self.head.step },
            noticed: self.head.noticed.clone(),
        })
    }

    /// Reads the label of one slice on the model's plane, `[plane, plane]`, lesion 1, other 0.
    ///
    /// # Errors
    /// [`CaseFileError::NoLabel`], [`CaseFileError::Size`] for a buffer or slice that does not fit,
    /// [`CaseFileError::Io`].
    pub fn read_label(&self, centre: usize, out: &mut [u8]) -> Result<(), CaseFileError> {
        if !self.has_label() {
            return Err(CaseFileError::NoLabel);
        }
        self.expect(self.area(), out.len())?;
        self.check_slice(centre)?;
        self.read_at(self.images() + (centre * self.area()) as u64, out)
    }

    /// Reads the masks on the patient's own grid.
    ///
    /// # Errors
    /// [`CaseFileError::Io`].
    pub fn native(&self) -> Result<Native, CaseFileError> {
        let mut masks = vec![0; self.head.grid.voxels()];
        let label = if self.has_label() { self.depth() * self.area() } else { 0 };
        self.read_at(self.images() + label as u64, &mut masks)?;
        let lesion = self.has_label().then(|| masks.iter().map(|mask| mask >> 1).collect());
        masks.iter_mut().for_each(|mask| *mask &= 1);
        Ok(Native { grid: self.head.grid, brain: masks, lesion })
    }

    /// How many lesions the reference has, 26-connected; none where the masks cannot be read, which shows again when
    /// the case is used.
    #[must_use]
    pub fn count_lesions(&self) -> usize {
        let lesion = self.native().ok().and_then(|native| native.lesion);
        lesion.map_or(0, |mask| components(&mask, self.head.grid.dims, Connectivity::TwentySix).count())
    }

    /// Brings values of the model's planes, `[depth, plane, plane]`, back to the native grid: as
    /// [`Placement::restore`].
    #[must_use]
    pub fn restore(&self, planes: &[f32], outside: f32) -> Vec<f32> {
        Placement { step: self.head.step }.restore(planes, self.head.plane, self.head.grid.dims, outside)
    }

    /// Pixels of one of the model's planes.
    fn area(&self) -> usize {
        self.head.plane * self.head.plane
    }

    /// Bytes of all images.
    fn images(&self) -> u64 {
        2 * (self.head.present.len() * self.depth() * self.area()) as u64
    }

    fn check_slice(&self, slice: usize) -> Result<(), CaseFileError> {
        let fits = slice < self.depth();
        if fits { Ok(()) } else { Err(CaseFileError::Size { expected: self.depth(), found: slice }) }
    }

    fn expect(&self, expected: usize, found: usize) -> Result<(), CaseFileError> {
        if expected == found { Ok(()) } else { Err(CaseFileError::Size { expected, found }) }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CaseFileError> {
        // A reader that panicked left the position anywhere, and every read seeks first.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.body + offset))?;
        Ok(file.read_exact(out)?)
    }
}

/// Stored halves, little-endian, as `f32`; as many as `out` holds.
fn widen(bytes: &[u8], out: &mut [f32]) {
    let halves: Vec<f16> = bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect();
    halves.convert_to_f32_slice(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three slices of 2 x 4 native pixels on planes of 3, second of three sequences missing.
    fn case() -> Prepared {
        let image = |start: usize| Some((0..27).map(|i| (start + i) as f32).collect());
        let mut lesion = vec![0; 24];
        lesion[9] = 1;
        Prepared {
            id: "patient".into(),
            sequences: vec![image(100), None, image(200)],
            label: Some(Placement::WHOLE_PIXELS.place_nearest(&lesion, [3, 2, 4], 3)),
            plane: 3,
            native: Native {
                grid: Grid { dims: [3, 2, 4], spacing_mm: [5.0, 1.0, 1.0] },
                brain: (0..24).map(|i| u8::from(i % 3 > 0)).collect(),
                lesion: Some(lesion),
            },
            placement: Placement::WHOLE_PIXELS,
            noticed: Noticed { labels: vec![(1, 1)], ..Noticed::default() },
        }
    }

    fn stored(case: &Prepared) -> (tempfile::TempDir, CachedCase) {
        let folder = tempfile::tempdir().unwrap();
        case.store(&folder.path().join("case")).unwrap();
        let cached = CachedCase::open(&folder.path().join("case")).unwrap();
        (folder, cached)
    }

    #[test]
    fn a_slab_holds_neighbours_zeros_beyond_the_ends_and_zeros_for_a_missing_sequence() {
        let (_folder, cached) = stored(&case());
        let mut slab = vec![f32::NAN; 3 * 3 * 9];
        cached.read_slab(0, 3, &mut slab).unwrap();
        assert_eq!(slab[..9], [0.0; 9]);
        assert_eq!(slab[9..27], (100..118).map(|v| v as f32).collect::<Vec<_>>());
        assert_eq!(slab[27..54], [0.0; 27]);
        assert_eq!(slab[63], 200.0);
        let loaded = cached.load().unwrap();
        for centre in 0..3 {
            let (mut from_disk, mut from_memory) = (vec![f32::NAN; 81], vec![f32::NAN; 81]);
            cached.read_slab(centre, 3, &mut from_disk).unwrap();
            loaded.fill_slab(centre, 3, &mut from_memory);
            assert_eq!(from_disk, from_memory, "{centre}");
        }
        cached.read_slab(2, 3, &mut slab).unwrap();
        assert_eq!(slab[..18], (109..127).map(|v| v as f32).collect::<Vec<_>>());
        assert_eq!(slab[18..27], [0.0; 9]);
    }

    #[test]
    fn masks_labels_and_facts_come_back() {
        let case = case();
        let (_folder, cached) = stored(&case);
        assert_eq!(cached.native().unwrap(), case.native);
        assert_eq!(cached.load().unwrap(), case);
        assert_eq!(cached.count_lesions(), 1);
        assert_eq!((cached.id(), cached.present(), cached.plane()), ("patient", case.present(), 3));
        assert_eq!(cached.lesion_slices(), [false, true, false]);
        let mut label = [9; 9];
        cached.read_label(1, &mut label).unwrap();
        assert_eq!(label, case.label.as_ref().unwrap()[9..18]);
        let planes: Vec<f32> = (0..27).map(|v| v as f32).collect();
        assert_eq!(cached.restore(&planes, -1.0), case.restore(&planes, -1.0));
    }

    #[test]
    fn a_case_without_reference_says_so() {
        let mut case = case();
        (case.label, case.native.lesion) = (None, None);
        let (_folder, cached) = stored(&case);
        assert!(!cached.has_label() && cached.native().unwrap().lesion.is_none());
        assert_eq!(cached.count_lesions(), 0);
        assert_eq!(cached.load().unwrap(), case);
        assert!(matches!(cached.read_label(0, &mut [0; 9]), Err(CaseFileError::NoLabel)));
    }

    #[test]
    fn one_changed_or_missing_byte_anywhere_is_damage() {
        let (folder, _) = stored(&case());
        let path = folder.path().join("case");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(CachedCase::open(&path), Err(CaseFileError::Damaged)), "byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(CachedCase::open(&path), Err(CaseFileError::Damaged)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_folder, cached) = stored(&case());
        assert!(matches!(cached.read_slab(0, 5, &mut [0.0; 81]), Err(CaseFileError::Size { .. })));
        assert!(matches!(cached.read_slab(3, 3, &mut [0.0; 81]), Err(CaseFileError::Size { .. })));
        let mut short = case();
        short.native.brain.pop();
        assert!(matches!(short.store(Path::new("nowhere")), Err(CaseFileError::Size { .. })));
    }
}
