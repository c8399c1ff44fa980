//! The 348 bytes at the start of a NIfTI-1 file, believed only where they agree with each other.

use super::{MAX_VOXELS, NiftiError};

/// Bytes of the header.
pub(super) const HEADER: usize = 348;
/// Where voxels begin at the earliest: header and extension flag.
pub(super) const FIRST_VOXEL: usize = 352;
/// Where voxels begin at the latest: room for generous extensions.
const MAX_OFFSET: f32 = (1u32 << 28) as f32;

/// How a voxel is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Kind {
    /// The NIfTI `datatype` code.
    fn of(code: i16) -> Option<Self> {
        Some(match code {
            2 => Self::U8,
            4 => Self::I16,
            8 => Self::I32,
            16 => Self::F32,
            64 => Self::F64,
            256 => Self::I8,
            512 => Self::U16,
            768 => Self::U32,
            1024 => Self::I64,
            1280 => Self::U64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Where the voxels begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Offset {
    /// At this byte.
    At(usize),
    /// `vox_offset` is inside the header: the length of the file decides whether they begin right
    /// after it or after the extension flag. Some writers leave 0 there.
    ByLength(f32),
}

/// The checked facts of a header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// Voxels along the stored axes, fastest first.
    pub(super) dims: [u16; 3],
    pub(super) kind: Kind,
    /// Byte of the first voxel.
    pub(super) offset: Offset,
    /// Slope and intercept, where the file has a scaling.
    pub(super) scaling: Option<(f64, f64)>,
    pub(super) pixdim: [f32; 4],
    pub(super) units: u8,
    pub(super) qform_code: i16,
    pub(super) sform_code: i16,
    /// b, c, d and the three offsets.
    pub(super) quaternion: [f32; 6],
    pub(super) srow: [[f32; 4]; 3],
}

/// Reads numbers in the file's own byte order.
struct Bytes<'a> {
    head: &'a [u8; HEADER],
    little: bool,
}

impl Bytes<'_> {
    fn pair(&self, at: usize) -> i16 {
        let bytes = [self.head[at], self.head[at + 1]];
        if self.little {
            i16::from_le_bytes(bytes)
        } else {
            i16::from_be_bytes(bytes)
        }
    }

    fn real(&self, at: usize) -> f32 {
        let bytes = [
            self.head[at],
            self.head[at + 1],
            self.head[at + 2],
            self.head[at + 3],
        ];
        if self.little {
            f32::from_le_bytes(bytes)
        } else {
            f32::from_be_bytes(bytes)
        }
    }

    fn reals<const N: usize>(&self, at: usize) -> [f32; N] {
        std::array::from_fn(|i| self.real(at + 4 * i))
    }
}

impl Header {
    /// Checks the first bytes of an unpacked file.
    pub(super) fn check(file: &[u8]) -> Result<Self, NiftiError> {
        let truncated = NiftiError::Truncated {
            expected: HEADER as u64,
            found: file.len() as u64,
        };
        let head: &[u8; HEADER] = file.first_chunk().ok_or(truncated)?;
        let bytes = Bytes {
            head,
            little: byte_order(head)?,
        };
        let dims = dimensions(&bytes)?;
        let (datatype, bitpix) = (bytes.pair(70), bytes.pair(72));
        let kind = Kind::of(datatype).ok_or(NiftiError::VoxelType(datatype))?;
        if usize::try_from(bitpix) != Ok(kind.bytes() * 8) {
            return Err(NiftiError::BitsPerVoxel { datatype, bitpix });
        }
        Ok(Self {
            dims,
            kind,
            offset: offset(bytes.real(108))?,
            scaling: scaling(bytes.real(112), bytes.real(116))?,
            pixdim: bytes.reals(76),
            units: head[123],
            qform_code: bytes.pair(252),
            sform_code: bytes.pair(254),
            quaternion: bytes.reals(256),
            srow: [bytes.reals(280), bytes.reals(296), bytes.reals(312)],
        })
    }

    /// Bytes of one voxel.
    pub(super) fn voxel_bytes(&self) -> usize {
        self.kind.bytes()
    }

    /// Bytes of one stored slice.
    pub(super) fn slice_bytes(&self) -> u64 {
        let [width, height, _] = self.dims.map(u64::from);
        width * height * self.voxel_bytes() as u64
    }

    /// Bytes of all voxels.
    pub(super) fn bytes(&self) -> usize {
        self.dims.iter().map(|&n| usize::from(n)).product::<usize>() * self.kind.bytes()
    }

    /// Byte of the first voxel, where the header says so or the usual one.
    pub(super) fn first(&self) -> usize {
        match self.offset {
            Offset::At(first) => first,
            Offset::ByLength(_) => FIRST_VOXEL,
        }
    }

    /// Byte after the last voxel.
    pub(super) fn end(&self) -> u64 {
        (self.first() + self.bytes()) as u64
    }
}

/// Whether the file is little-endian, by the header's own size.
fn byte_order(head: &[u8; HEADER]) -> Result<bool, NiftiError> {
    let size = [head[0], head[1], head[2], head[3]];
    let little = match (i32::from_le_bytes(size), i32::from_be_bytes(size)) {
        (348, _) => true,
        (_, 348) => false,
        (540, _) | (_, 540) => return Err(NiftiError::Format("it is NIfTI-2")),
        _ => return Err(NiftiError::Format("its header has another size")),
    };
    match &head[344..348] {
        b"n+1\0" => Ok(little),
        b"ni1\0" => Err(NiftiError::Format("its voxels are in a second file")),
        _ => Err(NiftiError::Format("its magic is missing")),
    }
}

/// Three dimensions; further ones must be 1, or 0 or less, which ITK takes for 1.
fn dimensions(bytes: &Bytes) -> Result<[u16; 3], NiftiError> {
    let dim: [i16; 8] = std::array::from_fn(|i| bytes.pair(40 + 2 * i));
    let refused = || NiftiError::Dimensions(dim.to_vec());
    let count = usize::try_from(dim[0])
        .ok()
        .filter(|n| (3..=7).contains(n))
        .ok_or_else(refused)?;
    if dim[1..=3].iter().any(|&n| n < 1) || dim[4..=count.max(3)].iter().any(|&n| n > 1) {
        return Err(refused());
    }
    let dims = [dim[1] as u16, dim[2] as u16, dim[3] as u16];
    let sides = dims.map(usize::from);
    if sides.iter().product::<usize>() > MAX_VOXELS {
        return Err(NiftiError::TooLarge(sides));
    }
    Ok(dims)
}

fn offset(stored: f32) -> Result<Offset, NiftiError> {
    if stored == 0.0 || stored == HEADER as f32 {
        return Ok(Offset::ByLength(stored));
    }
    let possible = stored.fract() == 0.0 && (FIRST_VOXEL as f32..=MAX_OFFSET).contains(&stored);
    if possible {
        Ok(Offset::At(stored as usize))
    } else {
        Err(NiftiError::Offset(stored))
    }
}

/// No scaling for a slope of zero or one that is not a number, as the standard and nibabel have it.
fn scaling(slope: f32, inter: f32) -> Result<Option<(f64, f64)>, NiftiError> {
    if slope == 0.0 || !slope.is_finite() || (slope == 1.0 && inter == 0.0) {
        return Ok(None);
    }
    if !inter.is_finite() {
        return Err(NiftiError::Scaling { slope, inter });
    }
    Ok(Some((f64::from(slope), f64::from(inter))))
}
