//! A site at work: joins a federation and works for it until the federation is finished.
//!
//! Data is prepared, and models are trained and scored, on threads of their own, never in the
//! network runtime. The threads report to the site's state machine ([`protocol::site`]), whose
//! effects are executed in order.

mod config;
mod folder_lock;
mod journal;
mod memory;
mod models;
mod prepared;
mod renewal;
mod session;
mod tasks;
mod worker;

pub use config::{FallbackAddress, FallbackError, SiteConfig, SiteConfigError};
pub(crate) use session::work;
