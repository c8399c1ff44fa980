//! `status-page.json` in the run folder: how the commands find the coordinator that works there. It
//! exists while the coordinator runs. A file left by a coordinator that was killed does no harm:
//! whether one runs is decided by the folder's lock.

use super::StatusError;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The file's name.
pub(super) const FILE: &str = "status-page.json";

/// Where the page and its token are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageFile {
    pub(super) address: SocketAddr,
    pub(super) token_file: PathBuf,
}

/// A file that was written. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct WrittenPageFile(PathBuf);

impl PageFile {
    pub(super) fn write(&self, folder: &Path) -> Result<WrittenPageFile, StatusError> {
        let path = folder.join(FILE);
        match self.replace(folder, &path) {
            Ok(()) => Ok(WrittenPageFile(path)),
            Err(reason) => Err(StatusError::PageFile {
                action: "write",
                path,
                reason,
            }),
        }
    }

    fn replace(&self, folder: &Path, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        let draft = folder.join(".status-page.json.tmp");
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, path)
    }

    /// The folder's file; `None` when there is none that can be understood.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// The address to connect to. A coordinator that listens on all addresses is reached on this
    /// machine's own.
    pub(super) fn reachable_address(&self) -> SocketAddr {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            match address {
                SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            }
        }
        address
    }
}

impl Drop for WrittenPageFile {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
