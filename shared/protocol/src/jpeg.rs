//! A picture that may travel in a frame: a small JPEG, valid by type as far as that can be told
//! without a decoder.
//!
//! The coordinator shows pictures in its report and never decodes them, so what it lets through is
//! narrow: one baseline scan with sides that are no strain on a browser, and no segment that could
//! hold anything but the picture (no comment, no EXIF, no colour profile, no thumbnail, nothing
//! after its end).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes of a picture: with its message it fits a frame ([`crate::codec::MAX_PAYLOAD`]).
pub const MAX_BYTES: usize = 48 << 10;
/// The most pixels along a side.
pub const MAX_SIDE: u16 = 2048;

/// The bytes of a baseline JPEG of at most [`MAX_BYTES`]. In JSON it is base64, in a frame its
/// bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture(Vec<u8>);

/// Why bytes are not a picture that may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Too many bytes.
    #[error("a picture of {bytes} bytes, where {MAX_BYTES} are the most")]
    Long {
        /// How many.
        bytes: usize,
    },
    /// Not a JPEG of the kind that is taken.
    #[error("not a plain baseline JPEG")]
    Foreign,
    /// No pixels, or too many.
    #[error("a picture of {width} x {height} pixels, where a side has 1 to {MAX_SIDE}")]
    Sides {
        /// Pixels across.
        width: u16,
        /// Pixels down.
        height: u16,
    },
}

impl Picture {
    /// Takes bytes that are a picture.
    ///
    /// # Errors
    /// See [`PictureError`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, PictureError> {
        if bytes.len() > MAX_BYTES {
            return Err(PictureError::Long { bytes: bytes.len() });
        }
        check(&bytes)?;
        Ok(Self(bytes))
    }

    /// The JPEG.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The JPEG for a data URI or a text file.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

/// A patient's picture has no place in a log.
impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} bytes)", self.0.len())
    }
}

impl Serialize for Picture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.base64().serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Picture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            STANDARD
                .decode(String::deserialize(deserializer)?)
                .map_err(D::Error::custom)?
        } else {
            Vec::deserialize(deserializer)?
        };
        Self::new(bytes).map_err(D::Error::custom)
    }
}

const START: [u8; 2] = [0xff, 0xd8];
const END: [u8; 2] = [0xff, 0xd9];
/// A baseline frame: its sides and components.
const SOF0: u8 = 0xc0;
/// Huffman tables.
const DHT: u8 = 0xc4;
/// Quantisation tables.
const DQT: u8 = 0xdb;
/// The scan, followed by its coded data.
const SOS: u8 = 0xda;
/// What says JFIF.
const APP0: u8 = 0xe0;
/// The content of an APP0 segment without a thumbnail.
const JFIF: usize = 14;

/// Walks the segments up to the only scan, then the scan's data up to the end.
fn check(bytes: &[u8]) -> Result<(), PictureError> {
    let mut rest = bytes.strip_prefix(&START).ok_or(PictureError::Foreign)?;
    let mut framed = false;
    loop {
        let (marker, content, after) = segment(rest).ok_or(PictureError::Foreign)?;
        match marker {
            DQT | DHT => {}
            APP0 if content.len() == JFIF => {}
            SOF0 if !framed => {
                check_sides(content)?;
                framed = true;
            }
            SOS if framed && is_scan(after) => return Ok(()),
            _ => return Err(PictureError::Foreign),
        }
        rest = after;
    }
}

/// A segment's marker and content, and what follows it. Its length counts its own two bytes.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let &[0xff, marker, high, low, ..] = bytes else {
        return None;
    };
    let end = 2 + usize::from(u16::from_be_bytes([high, low]));
    Some((marker, bytes.get(4..end)?, bytes.get(end..)?))
}

fn check_sides(content: &[u8]) -> Result<(), PictureError> {
    let &[8, h1, h0, w1, w0, 1 | 3, ..] = content else {
        return Err(PictureError::Foreign);
    };
    let [height, width] = [[h1, h0], [w1, w0]].map(u16::from_be_bytes);
    let fits = |side: u16| (1..=MAX_SIDE).contains(&side);
    if fits(width) && fits(height) {
        Ok(())
    } else {
        Err(PictureError::Sides { width, height })
    }
}

/// Whether this is one scan's coded data, in which 0xff is always followed by 0, and the end.
fn is_scan(data: &[u8]) -> bool {
    let Some(data) = data.strip_suffix(&END) else {
        return false;
    };
    data.windows(2).all(|pair| pair[0] != 0xff || pair[1] == 0) && data.last() != Some(&0xff)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A JPEG's bones: 2 x 3 grey pixels and a scan of `data`.
    pub(crate) fn bones(data: &[u8]) -> Vec<u8> {
        let frame = [0xff, 0xc0, 0, 11, 8, 0, 3, 0, 2, 1, 1, 0x11, 0];
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
        [&START[..], &frame, &scan, data, &END].concat()
    }

    #[test]
    fn a_plain_baseline_jpeg_is_taken_and_shown_as_it_is() {
        let picture = Picture::new(bones(&[1, 0xff, 0, 2])).unwrap();
        assert_eq!(picture.bytes(), bones(&[1, 0xff, 0, 2]));
        assert!(picture.base64().starts_with("/9j/wA"));
        assert_eq!(format!("{picture:?}"), "Picture(31 bytes)");
        let json = serde_json::to_string(&picture).unwrap();
        assert_eq!(json, format!("\"{}\"", picture.base64()));
        assert_eq!(serde_json::from_str::<Picture>(&json).unwrap(), picture);
        assert!(serde_json::from_str::<Picture>("\"<svg>\"").is_err());
    }

    #[test]
    fn whatever_else_a_jpeg_may_hold_is_refused() {
        let whole = bones(&[1, 2, 3]);
        let with = |extra: &[u8]| [&START[..], extra, &whole[2..]].concat();
        let comment = with(&[0xff, 0xfe, 0, 6, b'n', b'a', b'm', b'e']);
        let exif = with(&[0xff, 0xe1, 0, 4, 0, 0]);
        let thumbnail = with(&[&[0xff, 0xe0, 0, 20][..], &[0; 18]].concat());
        let progressive = whole
            .iter()
            .map(|&byte| if byte == 0xc0 { 0xc2 } else { byte })
            .collect();
        let after = [&whole[..], b"<script>"].concat();
        let two_scans = bones(&[1, 0xff, 0xda, 2]);
        let two_frames = [&whole[..15], &whole[2..]].concat();
        let foreign = [
            comment,
            exif,
            thumbnail,
            progressive,
            after,
            two_scans,
            two_frames,
            b"\x89PNG\r\n".to_vec(),
        ];
        for bytes in foreign {
            assert_eq!(
                Picture::new(bytes.clone()),
                Err(PictureError::Foreign),
                "{bytes:x?}"
            );
        }
        assert!(Picture::new(with(&[&[0xff, 0xe0, 0, 16][..], &[0; 14]].concat())).is_ok());
    }

    #[test]
    fn too_many_bytes_or_pixels_are_refused() {
        let long = bones(&[0; MAX_BYTES]);
        assert_eq!(
            Picture::new(long.clone()),
            Err(PictureError::Long { bytes: long.len() })
        );
        let sides = |bytes: [u8; 4]| {
            let mut whole = bones(&[1]);
            whole[7..11].copy_from_slice(&bytes);
            Picture::new(whole)
        };
        assert_eq!(sides([0x08, 0, 0, 1]).map(drop), Ok(()));
        assert_eq!(
            sides([0x08, 1, 0, 1]),
            Err(PictureError::Sides {
                width: 1,
                height: 2049
            })
        );
        assert_eq!(
            sides([0, 1, 0, 0]),
            Err(PictureError::Sides {
                width: 0,
                height: 1
            })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_picture_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            Picture::new(bytes.clone()).ok();
            Picture::new([&START[..], &[0xff, 0xc0], &bytes].concat()).ok();
        }

        #[test]
        fn a_part_of_a_picture_is_none(end in 0usize..30) {
            prop_assert!(Picture::new(bones(&[1, 0xff, 0, 2])[..end].to_vec()).is_err());
        }
    }
}
