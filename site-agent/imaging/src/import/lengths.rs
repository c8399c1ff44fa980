//! Whether the elements of a DICOM file end before the file does. The parser reserves memory for an
//! element by its length before it reads it, so that a damaged length could ask for gigabytes.

use std::io::{self, BufReader, Read, Seek};

/// Where the first element is.
const FIRST: u64 = 132;
/// A length that an end mark replaces.
const UNDEFINED: u32 = u32::MAX;
const PIXEL_DATA: (u16, u16) = (0x7fe0, 0x0010);
const TRANSFER_SYNTAX: (u16, u16) = (0x0002, 0x0010);
/// The group of items and end marks.
const ITEMS: u16 = 0xfffe;
/// How an item begins, little and big endian.
const ITEM: [[u8; 4]; 2] = [[0xfe, 0xff, 0x00, 0xe0], [0xff, 0xfe, 0xe0, 0x00]];
/// Value representations whose length has 16 bits. Those of others, unknown ones too, have 32.
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];
const IMPLICIT: &str = "1.2.840.10008.1.2";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// The longest text of a transfer syntax.
const UID: u32 = 64;

struct Walk<R> {
    file: BufReader<R>,
    at: u64,
    length: u64,
    implicit: bool,
    big: bool,
}

/// Looks at the lengths of all elements before the pixels. `true` also for what cannot be told.
///
/// # Errors
/// The file cannot be read.
pub(super) fn fit<R: Read + Seek>(mut file: R) -> io::Result<bool> {
    let length = file.seek(io::SeekFrom::End(0))?;
    file.seek(io::SeekFrom::Start(FIRST))?;
    let mut walk = Walk {
        file: BufReader::new(file),
        at: FIRST,
        length,
        implicit: false,
        big: false,
    };
    let mut syntax = String::new();
    while walk.length.saturating_sub(walk.at) >= 8 {
        // The group of the file header is always explicit and little endian.
        let group = walk.peek_group()?;
        let in_header = group == 2;
        walk.implicit = !in_header && syntax == IMPLICIT;
        walk.big = !in_header && syntax == BIG_ENDIAN;
        if !in_header && syntax == DEFLATED {
            return Ok(true);
        }
        let tag = (walk.short()?, walk.short()?);
        if tag == PIXEL_DATA {
            return Ok(true);
        }
        let mut representation = [0; 2];
        let length = if walk.implicit || tag.0 == ITEMS {
            walk.long()?
        } else {
            walk.bytes(&mut representation)?;
            let short = walk.short()?;
            if SHORT.contains(&&representation) {
                u32::from(short)
            } else if walk.length - walk.at < 4 {
                return Ok(false);
            } else {
                walk.long()?
            }
        };
        if length == UNDEFINED {
            if &representation == b"UN" {
                return Ok(true);
            }
            // What follows are items, which are looked at in turn.
            continue;
        }
        if u64::from(length) > walk.length.saturating_sub(walk.at) {
            return Ok(false);
        }
        let holds_elements =
            tag.0 == ITEMS || &representation == b"SQ" || (walk.implicit && walk.begins_item()?);
        if holds_elements {
            continue;
        }
        if tag == TRANSFER_SYNTAX && length <= UID {
            let mut text = vec![0; length as usize];
            walk.bytes(&mut text)?;
            let text = String::from_utf8_lossy(&text);
            text.trim_end_matches(['\0', ' ']).clone_into(&mut syntax);
        } else {
            walk.file.seek_relative(i64::from(length))?;
            walk.at += u64::from(length);
        }
    }
    Ok(true)
}

impl<R: Read + Seek> Walk<R> {
    fn bytes(&mut self, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(out)?;
        self.at += out.len() as u64;
        Ok(())
    }

    fn short(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.bytes(&mut bytes)?;
        Ok(if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn long(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.bytes(&mut bytes)?;
        Ok(if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    /// The next element's group as little endian.
    fn peek_group(&mut self) -> io::Result<u16> {
        let mut bytes = [0; 2];
        self.file.read_exact(&mut bytes)?;
        self.file.seek_relative(-2)?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn begins_item(&mut self) -> io::Result<bool> {
        if self.length.saturating_sub(self.at) < 4 {
            return Ok(false);
        }
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        self.file.seek_relative(-4)?;
        Ok(ITEM.contains(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(syntax: &str, elements: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 128];
        file.extend(b"DICM");
        file.extend([2, 0, 0x10, 0, b'U', b'I', syntax.len() as u8, 0]);
        file.extend(syntax.as_bytes());
        file.extend(elements);
        file
    }

    fn fits(syntax: &str, elements: &[u8]) -> bool {
        fit(Cursor::new(file(syntax, elements))).unwrap()
    }

    #[test]
    fn an_element_that_is_longer_than_its_file_is_found_also_in_a_sequence() {
        let explicit = "1.2.840.10008.1.2.1\0";
        let implicit = "1.2.840.10008.1.2\0";
        let big = "1.2.840.10008.1.2.2\0";
        let pixels = [
            0xe0, 0x7f, 0x10, 0, b'O', b'W', 0, 0, 0xff, 0xff, 0xff, 0x7f,
        ];
        for (syntax, elements, sound) in [
            (
                explicit,
                &[8, 0, 0x60, 0, b'C', b'S', 2, 0, b'M', b'R'][..],
                true,
            ),
            (
                explicit,
                &[8, 0, 0x60, 0, b'C', b'S', 4, 0, b'M', b'R'],
                false,
            ),
            (
                explicit,
                &[8, 0, 0x60, 0, b'U', b'T', 0, 0, 2, 0, 0, 0, b'M', b'R'],
                true,
            ),
            (
                explicit,
                &[8, 0, 0x60, 0, b'O', b'B', 0, 0, 0xf0, 0xff, 0xff, 0xff],
                false,
            ),
            (explicit, &[8, 0, 0x60, 0, b'O', b'B', 0, 0], false),
            (explicit, &pixels, true),
            (implicit, &[8, 0, 0x60, 0, 2, 0, 0, 0, b'M', b'R'], true),
            (implicit, &[8, 0, 0x60, 0, 2, 0, 0, 0x40, b'M', b'R'], false),
            (big, &[0, 8, 0, 0x60, b'C', b'S', 0, 2, b'M', b'R'], true),
            (big, &[0, 8, 0, 0x60, b'C', b'S', 2, 0, b'M', b'R'], false),
            // A sequence with one item, whose element is too long.
            (
                explicit,
                &[
                    8, 0, 0x11, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0,
                    0xe0, 9, 0, 0, 0, 8, 0, 0x60, 0, b'C', b'S', 9, 0, b'M',
                ],
                false,
            ),
            (
                implicit,
                &[
                    8, 0, 0x11, 0x11, 17, 0, 0, 0, 0xfe, 0xff, 0, 0xe0, 9, 0, 0, 0, 8, 0, 0x60, 0,
                    9, 0, 0, 0x7f, b'M',
                ],
                false,
            ),
            (explicit, &[], true),
        ] {
            assert_eq!(fits(syntax, elements), sound, "{elements:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut whole = file("1.2.840.10008.1.2.1\0", &bytes);
            let _ = fit(Cursor::new(&whole));
            whole.truncate(100);
            let _ = fit(Cursor::new(&whole));
        }
    }
}
