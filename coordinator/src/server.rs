//! The sites' connections: messages and parameters, both ways.
//!
//! QUIC with mutual TLS 1.3. A site is identified by its certificate and has one connection at a
//! time: a newer one replaces the older one, and the numbers in [`Inbound`] tell them apart. The
//! events of a connection come in order: `Connected`, then others, then `Closed`. `Closed` of a
//! replaced connection comes before `Connected` of the one that replaced it. Sites whose network
//! blocks UDP may use a tunnel of TLS over TCP. See docs/developers/PROTOCOL.md.

mod enrolment;
mod peers;
mod quic;
mod second_agent;
mod tls;
mod tunnel;

use crate::address;
use enrolment::Enrolment;
use peers::Outbound;
use program::{Class, Explain};
use protocol::codec::transfer::Arrived;
use protocol::codec::{CloseCode, CodecError, Frame, sentence};
use protocol::coordinator::UpdateRejection;
use protocol::identity::SiteName;
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::mpsc;
use transport::certificates::CertificateError;
use tunnel::{Origins, Tunnels};

#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The UDP address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The TCP address for sites whose network blocks UDP; `None` for no such address.
    pub fallback: Option<SocketAddr>,
    /// The folder with `ca.pem`, `certificate.pem` and `key.pem`.
    pub certificates: PathBuf,
    /// Where verified parameters are stored, in a folder for each site; the receiver of
    /// [`Inbound::Parameters`] moves or removes them. Parts from a broken connection are kept there
    /// for the next one: at most one model for each site.
    pub incoming: PathBuf,
    /// The length of a site's update.
    pub expected_bytes: u64,
    /// The sites that may connect; empty admits every site with a certificate of the authority.
    pub expected_sites: Vec<SiteName>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Inbound {
    /// A site was admitted: its certificate, name and protocol version are right.
    Connected {
        site: SiteName,
        /// The connection's number: ascending, never used again.
        connection: u64,
        hello: Hello,
        /// Through the TLS fallback.
        tunnelled: bool,
        /// The group in which keys were exchanged.
        key_exchange: Option<String>,
    },
    Message {
        site: SiteName,
        connection: u64,
        message: SiteMessage,
    },
    /// Parameters that are complete, verified and synced to the disk.
    Parameters {
        site: SiteName,
        connection: u64,
        arrived: Arrived,
        /// Raw little-endian `f32`, in the incoming folder.
        file: PathBuf,
    },
    /// This end's disk failed in a transfer. No site is to blame, and transfers from others would
    /// fail too.
    DiskFailed { reason: String },
    /// Parameters that were refused and removed.
    ParametersRefused {
        site: SiteName,
        connection: u64,
        /// As it was announced.
        header: TransferHeader,
        reason: UpdateRejection,
    },
    Closed {
        site: SiteName,
        connection: u64,
        reason: String,
    },
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error("cannot listen on {listen}: {reason}")]
    Listen {
        listen: SocketAddr,
        reason: io::Error,
    },
    #[error("serve.fallback: cannot listen on {listen}: {reason}")]
    Fallback {
        listen: SocketAddr,
        reason: io::Error,
    },
    /// The folder for incoming parameters cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Incoming { path: PathBuf, reason: io::Error },
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
            Self::Listen { reason, .. } => Some(address::UDP.of(reason).into()),
            Self::Fallback { reason, .. } => Some(address::FALLBACK.of(reason).into()),
            Self::Incoming { .. } => None,
        }
    }
}

/// Why something could not be sent. Where the connection is the reason, the site's `Closed`
/// follows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SendError {
    #[error("{0} is not connected")]
    Absent(SiteName),
    /// The site does not read what it is sent, and its connection was closed.
    #[error("{0} does not read what it is sent")]
    Overrun(SiteName),
    #[error("a message that must not be sent: {0}")]
    Message(#[from] CodecError),
}

/// A listening coordinator. Dropping it ends all connections at once; [`Server::shutdown`] sends
/// what is queued first.
#[derive(Debug)]
pub struct Server {
    endpoint: quic::Endpoint,
    tunnels: Option<Tunnels>,
}

impl Server {
    /// Starts to listen, on the current tokio runtime. A slow reader of `events` slows the sites
    /// down and costs no memory.
    pub async fn bind(
        config: ServerConfig,
        events: mpsc::Sender<Inbound>,
    ) -> Result<Self, ServerError> {
        let expected = config.expected_sites.clone();
        let enrolment = Arc::new(Enrolment::open(&config.certificates, expected)?);
        let tls = tls::configuration(&config.certificates, enrolment.clone())?;
        tls::check_clock(&config.certificates, SystemTime::now())?;
        if let Err(reason) = transport::file_transfer::remove_whole_files(&config.incoming) {
            return Err(ServerError::Incoming {
                path: config.incoming,
                reason,
            });
        }
        let outer = match config.fallback {
            Some(listen) => Some((listen, tls::tunnel(&config.certificates)?)),
            None => None,
        };
        let origins = Origins::default();
        let endpoint = quic::Endpoint::open(config, tls, events, origins.clone(), enrolment)?;
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

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// The TCP address for sites whose network blocks UDP.
    #[must_use]
    pub fn fallback_addr(&self) -> Option<SocketAddr> {
        self.tunnels.as_ref().map(Tunnels::local_addr)
    }

    /// Queues a message. Never waits. Line breaks in a text for people become spaces.
    pub fn send(&self, site: &SiteName, mut message: CoordinatorMessage) -> Result<(), SendError> {
        match &mut message {
            CoordinatorMessage::Refused { reason: text }
            | CoordinatorMessage::NotCounted { reason: text, .. }
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

    /// Queues parameters, which are read from `file` when their turn comes: the file must stay
    /// until the transfer or the connection has ended. Never waits. A file that cannot be read, or
    /// has another length than `header` says, ends the connection.
    pub fn send_parameters(
        &self,
        site: &SiteName,
        header: TransferHeader,
        file: PathBuf,
    ) -> Result<(), SendError> {
        self.endpoint
            .peers()
            .queue(site, Outbound::Parameters(header, file))
    }

    /// Ends a site's connection after what was queued before. The site reads the reason.
    pub fn close(&self, site: &SiteName, reason: &str) -> Result<(), SendError> {
        self.endpoint
            .peers()
            .queue(site, Outbound::Close(CloseCode::Closed, reason.to_owned()))
    }

    /// Ends all connections after what was queued before, and stops listening. Takes a few seconds
    /// at most.
    pub async fn shutdown(self) {
        self.endpoint.shutdown().await;
    }
}
