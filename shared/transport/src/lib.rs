//! What both ends of a connection share: frames ([`frame`]), resumable transfers of files
//! ([`file_transfer`]), datagrams through the TLS tunnel ([`relay`]), the settings of QUIC
//! ([`quic`]) and reading certificates ([`certificates`]).
//!
//! Nothing here depends on which end it is; what an error means to a person is decided by the two
//! programs.

pub mod certificates;
pub mod clock;
mod error;
pub mod file_transfer;
pub mod frame;
pub mod quic;
pub mod relay;

pub use error::WireError;
