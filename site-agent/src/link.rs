//! The site's connection to its coordinator: QUIC with mutual TLS 1.3. See
//! docs/developers/PROTOCOL.md.

mod enrol;
mod proxy;
mod quic;
mod race;
mod tls;
mod tunnel;

pub use enrol::{Joined, is_of_same_authority, join, renew};
use program::{Class, Explain};
use protocol::codec::{CodecError, Frame, sentence};
use protocol::message::{CoordinatorMessage, Hello, SiteMessage, TransferHeader};
use protocol::site::TWICE;
pub use proxy::Proxies;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::sync::mpsc;
pub use transport::certificates::Validity;
use transport::certificates::{CertificateError, validity};
use transport::{clock, file_transfer};

/// Where the coordinator is, and who we are.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// `host:port`. The coordinator's certificate must name the host.
    pub coordinator: String,
    /// The way where UDP is blocked, if there is to be one.
    pub fallback: Option<Fallback>,
    /// The folder with `ca.pem`, `certificate.pem` and `key.pem`.
    pub certificates: PathBuf,
    /// Where verified parameters are put; the receiver of [`LinkEvent::Parameters`] moves or
    /// removes them. What a broken connection brought of them is kept there for the next one.
    pub incoming: PathBuf,
    /// Where parameters are that came before, by [`protocol::parameters::ParametersId::hex`] and
    /// the extension `f32`: those do not travel again.
    pub models: PathBuf,
}

/// How the coordinator is reached where the network lets no UDP through: QUIC within TLS over TCP.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// `host:port` of the coordinator's TLS address. The certificate shown there must name the
    /// host.
    pub address: String,
    /// What is known about proxies on the way.
    pub proxies: Proxies,
}

/// One way to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// UDP, as it should be.
    Udp,
    /// The TLS tunnel.
    Tunnel,
}

/// What is learned from a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The seconds by which our clock is ahead of the coordinator's, where it said what time it is.
    pub ahead_s: Option<i64>,
    /// The group in which the keys were exchanged, such as X25519MLKEM768.
    pub key_exchange: Option<String>,
}

/// What reaches the site.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// The coordinator says something. The first one is its `Welcome`.
    Message(CoordinatorMessage),
    /// Parameters arrived: complete and verified. They can be had again, so nothing waits for the
    /// disk.
    Parameters {
        /// What they are.
        header: TransferHeader,
        /// Raw little-endian `f32`, in the incoming folder.
        file: PathBuf,
    },
    /// Parameters arrived and could not be stored. The connection ends; another one would fare no
    /// better while the disk is as it is.
    Unstored {
        /// Where they were to be.
        file: PathBuf,
        /// What the disk said.
        reason: String,
    },
    /// The connection ended; nothing comes after this.
    Closed {
        /// Why, as far as known.
        reason: String,
        /// Whether connecting again may help.
        again: bool,
    },
}

/// Why there is no connection, or something could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The coordinator's address is not one, or its name is unknown.
    #[error("{coordinator} is no address to connect to: {reason}")]
    Address {
        /// What was configured.
        coordinator: String,
        /// Why.
        reason: String,
    },
    /// A certificate or key of ours is missing or does not work.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The folder for incoming parameters does not work.
    #[error("{}: {source}", .path.display())]
    Incoming { path: PathBuf, source: io::Error },
    /// There is no answer.
    #[error("the coordinator at {coordinator} cannot be reached: {reason}")]
    Unreachable {
        /// The address.
        coordinator: String,
        /// Why, as far as known.
        reason: String,
    },
    /// The coordinator's TLS address gives no way for what UDP would carry.
    #[error("no way through TLS at {address}: {reason}")]
    Tunnel {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The proxy gives no way to the coordinator's TLS address.
    #[error("the proxy {proxy} gives no way to {address}: {reason}")]
    Proxy {
        /// The proxy's host and port.
        proxy: String,
        /// The address behind it.
        address: String,
        /// Why.
        reason: String,
    },
    /// The coordinator refuses our certificate.
    #[error("the coordinator does not accept our certificate: {reason}")]
    OurCertificate {
        /// Why.
        reason: String,
    },
    /// We refuse the coordinator's certificate.
    #[error("the coordinator's certificate cannot be trusted: {reason}")]
    TheirCertificate {
        /// Why.
        reason: String,
    },
    /// The certificate that the coordinator signed for us is not what it should be.
    #[error("the certificate that the coordinator sent is not taken: {reason}")]
    NewCertificate {
        /// Why.
        reason: String,
    },
    /// The other end speaks another protocol, or another version of ours.
    #[error("the coordinator does not speak our protocol: {reason}")]
    Protocol {
        /// What differs.
        reason: String,
    },
    /// The coordinator does not let this site in.
    #[error("the coordinator refuses this site: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The connection ended.
    #[error("the connection to the coordinator ended: {reason}")]
    Closed {
        /// Why, as far as known.
        reason: String,
    },
    /// Parameters were not taken, or could not be read.
    #[error("the parameters could not be sent: {reason}")]
    Transfer {
        /// Why.
        reason: String,
    },
    /// The message may not travel.
    #[error("a message that may not be sent: {0}")]
    Message(#[from] CodecError),
}

impl Explain for LinkError {
    fn class(&self) -> Class {
        match self {
            Self::Certificates(_) | Self::Address { .. } => Class::Configuration,
            Self::Incoming { .. } => Class::Disk,
            Self::Message(_) => Class::Internal,
            _ => Class::Federation,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unreachable { .. } => {
                "is the coordinator running, and does the firewall let UDP through?"
            }
            Self::Tunnel { .. } => {
                "`fallback` is where the coordinator's serve.fallback listens; \"off\" leaves it \
                 out"
            }
            Self::Proxy { .. } => {
                "HTTPS_PROXY=http://user:password@host:port names the proxy, NO_PROXY who needs \
                 none"
            }
            Self::OurCertificate { .. } => {
                "if the dates are over, ask the federation for an invitation, move site.toml and \
                 the certificates away, and join again; if a clock is wrong, set it (`site-agent \
                 doctor` compares both)"
            }
            Self::TheirCertificate { .. } => {
                "`coordinator` must be a name in its certificate, `certificates` the folder of \
                 this federation (or the token one of it), and this machine's clock right"
            }
            Self::Refused { reason } if reason.contains(TWICE) => {
                "stop one of the two agents, or give each site its own certificate folder \
                 (`coordinator init --sites`)"
            }
            Self::NewCertificate { .. } => {
                "no key and no certificate here was changed; ask the federation's operator"
            }
            Self::Protocol { .. } => "coordinator and site-agent must be of the same release",
            _ => return None,
        };
        Some(hint.into())
    }
}

impl LinkError {
    /// Whether trying again later, with nothing changed here, may help.
    #[must_use]
    pub fn again(&self) -> bool {
        self.silent() || matches!(self, Self::Closed { .. } | Self::Transfer { .. })
    }

    /// Says what there is to compare where a certificate or a clock is at fault: this machine's
    /// time, and how long the site's own certificate is valid.
    fn with_times(self, certificates: &Path) -> Self {
        match self {
            Self::OurCertificate { reason } if reason.starts_with(quic::EXPIRED) => {
                let here = httpdate::fmt_http_date(SystemTime::now());
                let mut valid = String::new();
                if let Ok(Validity { from, until }) =
                    validity(&certificates.join("certificate.pem"))
                {
                    let from = httpdate::fmt_http_date(from);
                    let until = httpdate::fmt_http_date(until);
                    valid = format!(", this site's certificate is valid from {from} until {until}");
                }
                Self::OurCertificate {
                    reason: format!(
                        "{reason}: it is {here} by this machine's clock{valid}; the coordinator's \
                         clock decides"
                    ),
                }
            }
            Self::TheirCertificate { reason } => Self::TheirCertificate {
                reason: clock::in_words(&reason),
            },
            error => error,
        }
    }

    /// Whether the coordinator was not heard at all, so that another way to it may do better.
    fn silent(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Address { .. }
                | Self::Tunnel { .. }
                | Self::Proxy { .. }
        )
    }
}

/// A connection that the coordinator welcomed. Clones speak over the same connection; when the last
/// one is dropped, the connection ends after what was queued before.
#[derive(Clone, Debug)]
pub struct Link {
    connection: quic::Connection,
    outbox: mpsc::Sender<SiteMessage>,
}

impl Link {
    /// Connects, greets, and waits to be welcomed. Events wait to be read: a slow reader slows the
    /// coordinator's stream down and costs no memory.
    pub async fn connect(
        config: LinkConfig,
        hello: Hello,
    ) -> Result<(Self, mpsc::Receiver<LinkEvent>), LinkError> {
        let tls = tls::configuration(&config.certificates)?;
        if let Err(source) = file_transfer::remove_whole_files(&config.incoming) {
            return Err(LinkError::Incoming {
                path: config.incoming,
                source,
            });
        }
        let certificates = config.certificates.clone();
        let opened = quic::connect(config, tls, hello)
            .await
            .map_err(|error| error.with_times(&certificates))?;
        let link = Self {
            connection: opened.connection,
            outbox: opened.outbox,
        };
        Ok((link, opened.events))
    }

    /// Whether a folder holds the certificates and the key that a site needs, fitting each other;
    /// gives how long the site's own is valid.
    ///
    /// # Errors
    /// [`LinkError::Certificates`].
    pub fn check(certificates: &Path) -> Result<Validity, LinkError> {
        tls::configuration(certificates)?;
        Ok(validity(&certificates.join("certificate.pem"))?)
    }

    /// Whether the coordinator answers one way, and both ends accept each other's certificates.
    /// No greeting is sent: a site that is at work meanwhile is not disturbed. Gives the seconds by
    /// which our clock is ahead of the coordinator's, where it said what time it is.
    ///
    /// # Errors
    /// As [`Link::connect`], as far as it gets.
    pub async fn probe(config: &LinkConfig, way: Way) -> Result<Probed, LinkError> {
        let tls = tls::configuration(&config.certificates)?;
        quic::probe(config, tls, way)
            .await
            .map_err(|error| error.with_times(&config.certificates))
    }

    /// The proxy on the way to the fallback, as `host:port`.
    ///
    /// # Errors
    /// The fallback's address is none.
    pub fn proxy(fallback: &Fallback) -> Result<Option<String>, LinkError> {
        tunnel::proxy(fallback)
    }

    /// Ends the connection at once, and tells the coordinator why.
    pub fn leave(&self, reason: &str) {
        self.connection.leave(&sentence(reason));
    }

    /// Says how many bytes the model's parameters take ([`protocol::parameters::Manifest::bytes`]),
    /// as soon as the settings are known. Until then transfers wait, and then any other length is
    /// refused.
    pub fn set_model_bytes(&self, bytes: u64) {
        self.connection.set_model_bytes(bytes);
    }

    /// Queues a message; waits while the queue is full. A reason's line breaks become spaces.
    pub async fn send(&self, mut message: SiteMessage) -> Result<(), LinkError> {
        if let SiteMessage::Failed { reason, .. } = &mut message {
            *reason = sentence(reason);
        }
        message.check()?;
        self.outbox
            .send(message)
            .await
            .map_err(|_| self.connection.closed())
    }

    /// Sends a file of raw little-endian `f32`, as far as the coordinator does not have it from a
    /// connection that broke; done when the coordinator has all of it on its disk.
    pub async fn send_parameters(
        &self,
        header: TransferHeader,
        file: PathBuf,
    ) -> Result<(), LinkError> {
        self.connection.send_parameters(header, file).await
    }
}
