//! The federation's settings from the coordinator's own file.

use super::Finding;
use crate::policy::Policy;
use program::{Class, Failure};
use protocol::settings::Federation;
use protocol::text;
use std::path::Path;

/// Reads the coordinator's TOML file.
///
/// # Errors
/// A file that cannot be read, is not TOML, or whose settings cannot work.
pub(super) fn read(path: &Path) -> Result<Federation, Failure> {
    let wrong = |reason: String| {
        Failure::new(
            Class::Configuration,
            format!("{}: {reason}", path.display()),
        )
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let text = text::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    Federation::from_toml(text).map_err(|error| wrong(error.to_string()))
}

/// Whether the site's own settings permit the federation's.
pub(super) fn policy(policy: &Policy, federation: &Federation) -> Finding {
    match policy.judge(federation) {
        Ok(()) => Finding::good("policy", "the site's [policy] permits these settings"),
        Err(refusal) => Finding::bad(
            "policy",
            Failure::new(Class::Federation, refusal.to_string())
                .hint("change [policy] of the site, or ask the federation for other settings"),
        ),
    }
}
