//! The unpacked bytes of a file, in constant memory: gzip's members one after the other, each
//! checksum compared.

use super::NiftiError;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// How gzip's members begin.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The most bytes that may follow the voxels of a compressed file. All of them are unpacked, to
/// compare the checksum.
const MAX_TAIL: u64 = 1 << 30;

/// A file, read from its start to its end.
pub(super) struct Unpacked<'a> {
    state: State<'a>,
    /// Unpacked bytes that were handed out.
    passed: u64,
    /// Bytes after the last gzip member that are neither zero nor a member.
    junk: bool,
}

enum State<'a> {
    Plain(Box<dyn BufRead + 'a>),
    Packed(GzDecoder<Box<dyn BufRead + 'a>>),
    Ended,
}

/// Why reading stopped before the end.
enum Break {
    Disk(io::Error),
    /// The compressed file ends inside a member.
    Cut,
    /// A code or checksum is wrong.
    Damaged(io::Error),
}

impl Break {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Self::Damaged(error),
            _ => Self::Disk(error),
        }
    }
}

impl<'a> Unpacked<'a> {
    /// Whether a file is compressed is told by its content.
    pub(super) fn new(mut file: Box<dyn BufRead + 'a>) -> io::Result<Self> {
        let packed = file.fill_buf()?.starts_with(&GZIP);
        let state = if packed {
            State::Packed(GzDecoder::new(file))
        } else {
            State::Plain(file)
        };
        Ok(Self {
            state,
            passed: 0,
            junk: false,
        })
    }

    pub(super) fn is_packed(&self) -> bool {
        matches!(self.state, State::Packed(_))
    }

    /// Whether bytes that are no gzip follow the last member. Known after [`finish`](Self::finish).
    pub(super) fn has_junk(&self) -> bool {
        self.junk
    }

    /// Fills `out`. `end` is where the voxels end, for the words of an error.
    pub(super) fn read_exact(&mut self, out: &mut [u8], end: u64) -> Result<(), NiftiError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..]) {
                Ok(0) | Err(Break::Cut) => {
                    return Err(NiftiError::Truncated {
                        expected: end,
                        found: self.passed,
                    });
                }
                Ok(count) => filled += count,
                Err(Break::Damaged(error)) => return Err(NiftiError::Damaged(error.to_string())),
                Err(Break::Disk(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, mut length: u64, end: u64) -> Result<(), NiftiError> {
        let mut sink = vec![0; length.min(1 << 16) as usize];
        while length > 0 {
            let part = length.min(sink.len() as u64);
            self.read_exact(&mut sink[..part as usize], end)?;
            length -= part;
        }
        Ok(())
    }

    /// Whether `most` bytes or more follow the voxels. A compressed file is read to its end, where
    /// its checksum is compared; one that is not compressed only as far as needed.
    pub(super) fn finish(&mut self, most: u64) -> Result<bool, NiftiError> {
        if !matches!(self.state, State::Plain(_)) {
            return Ok(self.drain(MAX_TAIL)? >= most);
        }
        match self.drain(most.saturating_sub(1)) {
            Ok(_) => Ok(false),
            Err(NiftiError::Tail(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads to the end and says how many bytes that were.
    pub(super) fn drain(&mut self, most: u64) -> Result<u64, NiftiError> {
        let start = self.passed;
        let mut sink = vec![0; 1 << 16];
        loop {
            match self.read(&mut sink) {
                Ok(0) => return Ok(self.passed - start),
                Ok(_) if self.passed - start > most => return Err(NiftiError::Tail(most)),
                Ok(_) => {}
                Err(Break::Cut) => return Err(NiftiError::Unfinished),
                Err(Break::Damaged(error)) => return Err(NiftiError::Damaged(error.to_string())),
                Err(Break::Disk(error)) => return Err(error.into()),
            }
        }
    }

    /// Some bytes; none at the end of the file.
    fn read(&mut self, out: &mut [u8]) -> Result<usize, Break> {
        loop {
            let count = match &mut self.state {
                State::Plain(file) => file.read(out).map_err(Break::Disk)?,
                State::Packed(member) => member.read(out).map_err(Break::of)?,
                State::Ended => return Ok(0),
            };
            self.passed += count as u64;
            if count > 0 {
                return Ok(count);
            }
            if let State::Packed(member) = std::mem::replace(&mut self.state, State::Ended) {
                self.next_member(member.into_inner())?;
            }
        }
    }

    /// Looks at what follows a finished member: zeros, which pad blocks of tapes and object stores,
    /// another member, or something else. As gzip and Python's gzip do.
    fn next_member(&mut self, mut file: Box<dyn BufRead + 'a>) -> Result<(), Break> {
        loop {
            let buffer = file.fill_buf().map_err(Break::Disk)?;
            let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
            match buffer.get(zeros) {
                None if buffer.is_empty() => return Ok(()),
                None => file.consume(zeros),
                Some(&byte) => {
                    let member = byte == GZIP[0];
                    file.consume(zeros);
                    if member {
                        self.state = State::Packed(GzDecoder::new(file));
                    }
                    self.junk = !member;
                    return Ok(());
                }
            }
        }
    }
}
