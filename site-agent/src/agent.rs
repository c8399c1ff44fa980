//! A site at work: joins a federation and works for it until it is finished.
//!
//! The network runtime never trains: data is prepared and tasks are worked on threads of their own,
//! which tell the site's state machine ([`protocol::site`]) how they get on. What the machine says
//! is done in order.

mod config;
mod journal;
mod lock;
mod models;
mod session;
mod worker;

pub use config::{FallbackAddress, SiteConfig, SiteConfigError};
pub(crate) use session::work;
