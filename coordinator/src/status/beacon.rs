//! `status-page.json` in the run folder: how the commands find the coordinator that works there. It
//! is there while the coordinator is, and a leftover of one that was killed says nothing: whether
//! one is there, the folder's lock tells.

use super::StatusError;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file's name.
pub(super) const FILE: &str = "status-page.json";

/// Where the page is, and where its token lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beacon {
    pub(super) address: SocketAddr,
    pub(super) token_file: PathBuf,
}

/// A beacon that is lit. Dropped, it goes out.
#[derive(Debug)]
pub(super) struct Lit(PathBuf);

impl Beacon {
    /// Tells whoever reads the run folder.
    pub(super) fn light(&self, folder: &Path) -> Result<Lit, StatusError> {
        let (path, beside) = (folder.join(FILE), folder.join(".status-page.json.tmp"));
        let text = serde_json::to_vec(self).map_err(std::io::Error::other);
        let written = text.and_then(|text| {
            std::fs::write(&beside, text)?;
            std::fs::rename(&beside, &path)
        });
        let failed = |reason| StatusError::Beacon {
            action: "write",
            path: path.clone(),
            reason,
        };
        written.map_err(failed)?;
        Ok(Lit(path))
    }

    /// What the run folder says, if anything that can be understood.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Where to knock: a coordinator that listens everywhere is on this machine too.
    pub(super) fn door(&self) -> SocketAddr {
        let mut door = self.address;
        if door.ip().is_unspecified() {
            door.set_ip(if door.is_ipv6() {
                std::net::Ipv6Addr::LOCALHOST.into()
            } else {
                [127, 0, 0, 1].into()
            });
        }
        door
    }
}

impl Drop for Lit {
    fn drop(&mut self) {
        // What stays is not believed.
        let _ = std::fs::remove_file(&self.0);
    }
}
