//! What both ends of a connection do alike, once: frames and resumable transfers of files
//! ([`wire`]), datagrams through the TLS tunnel ([`relay`]), how QUIC is tuned ([`quic`]) and how
//! certificates are read ([`certificates`]).
//!
//! Nothing here knows who speaks: which end it is, and what its errors mean to a person, is for the
//! two programs.

pub mod certificates;
pub mod clock;
pub mod quic;
pub mod relay;
pub mod wire;
