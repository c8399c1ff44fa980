//! The sites' connections: who is there, what they say, and the parameters that go to and fro.
//!
//! QUIC with mutual TLS 1.3. A site is who its certificate says it is, and has one connection at a
//! time: a newer one takes the older one's place, and the numbers in [`Inbound`] tell them apart.
//! For each connection the events come in order: `Connected`, then anything, then `Closed`;
//! `Closed` of a replaced connection comes before `Connected` of the one that took its place. Sites
//! whose network lets no UDP through may come through a tunnel of TLS over TCP. See
//! docs/developers/PROTOCOL.md.

mod peers;
mod quic;
mod second_agent;
mod tls;
mod tunnel;

use crate::address;
use peers::Outbound;
use program::{Class, Explain};
use protocol::codec::transfer::Arrived;
use protocol::codec::{CloseCode, CodecError, Frame, sentence};
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;
use tokio::sync::mpsc;
use transport::certificates::CertificateError;
use tunnel::{Origins, Tunnels};

/// Where to listen, and for what.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The UDP address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The TCP address for sites whose network lets no UDP through, if they are to have one.
    pub fallback: Option<SocketAddr>,
    /// The folder with `ca.pem`, `certificate.pem` and `key.pem`.
    pub certificates: PathBuf,
    /// Where verified parameters are put, in a folder for each site; the receiver of
    /// [`Inbound::Parameters`] moves or removes them. What a broken connection brought is kept
    /// there for the next one: at most one model for each site.
    pub incoming: PathBuf,
    /// How many bytes a site's update takes.
    pub expected_bytes: u64,
    /// The sites that may connect; empty lets in every site that the authority signed.
    pub expected_sites: Vec<String>,
}

/// What reaches the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Inbound {
    /// A site said its first words: certificate, name and protocol version are good.
    Connected {
        /// The site.
        site: String,
        /// The connection's number: ascending, never used again.
        connection: u64,
        /// The first words.
        hello: Hello,
        /// Whether it comes through the TLS fallback.
        tunnelled: bool,
    },
    /// A site says something.
    Message {
        /// The site.
        site: String,
        /// The connection.
        connection: u64,
        /// What it says.
        message: SiteMessage,
    },
    /// Parameters arrived: complete, verified and synced to the disk.
    Parameters {
        /// The site.
        site: String,
        /// The connection.
        connection: u64,
        /// What they are, and that they are it.
        arrived: Arrived,
        /// Raw little-endian `f32`, in the incoming folder.
        file: PathBuf,
    },
    /// This end's disk failed in a transfer: no site is to blame, and no other one will fare
    /// better.
    DiskFailed {
        /// What the system says.
        reason: String,
    },
    /// Parameters came that were not taken; nothing is left of them.
    ParametersRefused {
        /// The site.
        site: String,
        /// The connection.
        connection: u64,
        /// What they should have been.
        header: TransferHeader,
        /// Why.
        reason: String,
    },
    /// A connection ended.
    Closed {
        /// The site.
        site: String,
        /// The connection.
        connection: u64,
        /// Why, as far as known.
        reason: String,
    },
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A certificate or key is missing or does not work.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {reason}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The TCP address for sites without UDP cannot be listened on.
    #[error("serve.fallback: cannot listen on {listen}: {reason}")]
    Fallback {
        /// The address.
        listen: SocketAddr,
        /// Why.
        reason: io::Error,
    },
    /// The folder for incoming parameters does not work.
    #[error("{path}: {reason}", path = path.display())]
    Incoming {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

impl Explain for ServerError {
    fn class(&self) -> Class {
        match self {
            Self::Certificates(_) | Self::Fallback { .. } => Class::Configuration,
            Self::Listen { .. } => Class::Federation,
            Self::Incoming { .. } => Class::Disk,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Certificates(_) => Some("`coordinator init` writes certificates".into()),
            Self::Listen { reason, .. } => Some(address::of_address(reason, address::UDP).into()),
            Self::Fallback { reason, .. } => {
                Some(address::of_address(reason, address::FALLBACK).into())
            }
            Self::Incoming { .. } => None,
        }
    }
}

/// Why something could not be sent. Where the connection is at fault, the site's `Closed` is on its
/// way.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The site has no connection.
    #[error("{0} is not connected")]
    Absent(String),
    /// The site does not read what it is sent; its connection was closed.
    #[error("{0} does not read what it is sent")]
    Overrun(String),
    /// The message may not travel.
    #[error("a message that may not be sent: {0}")]
    Message(#[from] CodecError),
}

/// A listening coordinator. Dropping it ends all connections at once; [`Server::shutdown`] does so
/// politely.
#[derive(Debug)]
pub struct Server {
    endpoint: quic::Endpoint,
    tunnels: Option<Tunnels>,
}

impl Server {
    /// Starts to listen, on the current tokio runtime. Events wait for `events` to be read: a slow
    /// reader slows the sites down and costs no memory.
    pub async fn bind(
        config: ServerConfig,
        events: mpsc::Sender<Inbound>,
    ) -> Result<Self, ServerError> {
        let tls = tls::configuration(&config.certificates)?;
        tls::check_clock(&config.certificates, SystemTime::now())?;
        let incoming = |reason| ServerError::Incoming {
            path: config.incoming.clone(),
            reason,
        };
        transport::file_transfer::remove_whole_files(&config.incoming).map_err(incoming)?;
        let outer = match config.fallback {
            Some(listen) => Some((listen, tls::tunnel(&config.certificates)?)),
            None => None,
        };
        let origins = Origins::default();
        let endpoint = quic::Endpoint::open(config, tls, events, origins.clone())?;
        let tunnels = match outer {
            None => None,
            Some((listen, outer)) => {
                let opened = Tunnels::open(
                    listen,
                    outer,
                    endpoint.local_addr(),
                    origins,
                    tunnel::LIMITS,
                )
                .await;
                Some(opened.map_err(|reason| ServerError::Fallback { listen, reason })?)
            }
        };
        Ok(Self { endpoint, tunnels })
    }

    /// Where the server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// Where the server listens for sites whose network lets no UDP through.
    #[must_use]
    pub fn fallback_addr(&self) -> Option<SocketAddr> {
        self.tunnels.as_ref().map(Tunnels::local_addr)
    }

    /// Queues a message. Never waits. Line breaks in a text for people become spaces.
    pub fn send(&self, site: &str, mut message: CoordinatorMessage) -> Result<(), SendError> {
        match &mut message {
            CoordinatorMessage::Refused { reason: text }
            | CoordinatorMessage::Finished { summary: text } => {
                *text = sentence(text);
            }
            _ => {}
        }
        message.check()?;
        self.endpoint
            .peers()
            .queue(site, Outbound::Message(Box::new(message)))
    }

    /// Queues parameters, to be read from `file` when their turn comes: it must stay until the
    /// transfer or the connection ended. Never waits. A file that cannot be read, or is not as long
    /// as `header` says, ends the connection.
    pub fn send_parameters(
        &self,
        site: &str,
        header: TransferHeader,
        file: PathBuf,
    ) -> Result<(), SendError> {
        self.endpoint
            .peers()
            .queue(site, Outbound::Parameters(header, file))
    }

    /// Ends a site's connection, after what was queued before. The site reads the reason.
    pub fn close(&self, site: &str, reason: &str) -> Result<(), SendError> {
        self.endpoint
            .peers()
            .queue(site, Outbound::Close(CloseCode::Closed, reason.to_owned()))
    }

    /// Ends all connections, after what was queued before, and stops listening. Takes a few seconds
    /// at most.
    pub async fn shutdown(self) {
        self.endpoint.shutdown().await;
    }
}
