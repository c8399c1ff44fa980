//! Why a connection was closed, in a number that the other end understands.

/// The application error codes of QUIC's CONNECTION_CLOSE, STOP_SENDING and RESET_STREAM frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// Everything is done, or the program was asked to stop.
    Done = 0,
    /// The peer broke the protocol: the reason says how.
    Violation = 1,
    /// The peer speaks another version of the protocol.
    Version = 2,
    /// The certificate is good, but its name is not one that takes part.
    Stranger = 3,
    /// A newer connection of the same site took this one's place.
    Replaced = 4,
    /// The peer does not read, or moves no bytes, for too long.
    Stalled = 5,
    /// The application asked for it: the reason says why.
    Closed = 6,
    /// A transfer was refused: its length, a chunk or its content hash is wrong.
    Transfer = 7,
    /// Reading or writing files failed at this end.
    Disk = 8,
}

impl CloseCode {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Violation,
        Self::Version,
        Self::Stranger,
        Self::Replaced,
        Self::Stalled,
        Self::Closed,
        Self::Transfer,
        Self::Disk,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The code of a number on the wire.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| u64::from(code.number()) == number)
    }

    /// What it means, as the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "all is done",
            Self::Violation => "the protocol was broken",
            Self::Version => "the protocol versions differ",
            Self::Stranger => "the site is not one that takes part",
            Self::Replaced => "a newer connection of the same site took its place",
            Self::Stalled => "nothing moved for too long",
            Self::Closed => "the application closed it",
            Self::Transfer => "a transfer was refused",
            Self::Disk => "reading or writing files failed",
        }
    }

    /// Whether connecting again with the same program, certificate and configuration is pointless.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Version | Self::Stranger | Self::Replaced)
    }
}
