//! Where the status page is: what the coordinator's file says, and the socket that comes of it.

use super::StatusError;
use crate::address::OptionalAddress;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the page is unless the file says otherwise; any other free port when this one is taken.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8433);

/// A page to be shown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it listens.
    pub(super) listener: Arc<TcpListener>,
    /// The same in words.
    pub(super) address: SocketAddr,
    /// The token's file; without one it lies in the run folder.
    pub(super) token_file: Option<PathBuf>,
}

impl Page {
    /// Where to look, and where the token lies where one is needed.
    #[must_use]
    pub fn greeting(&self, run_folder: &Path) -> String {
        let page = format!("status page: http://{}/", self.address);
        if self.is_local() {
            return page;
        }
        let file = self
            .token_file
            .clone()
            .unwrap_or_else(|| run_folder.join(super::token::FILE));
        format!("{page}?token=TOKEN with the token in {}", file.display())
    }

    /// Whether only this machine can reach it: then looking needs no token.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Listens for the page. Without a wish it is at its usual place or, when that is taken, at any
/// other of this machine; a place that was asked for must be free.
///
/// # Errors
/// [`StatusError::Listen`].
pub fn bind(
    wish: Option<OptionalAddress>,
    token_file: Option<PathBuf>,
) -> Result<Option<Page>, StatusError> {
    let listener = match wish {
        Some(OptionalAddress::Off) => return Ok(None),
        Some(OptionalAddress::At(address)) => listen(address)?,
        None => listen(USUAL).or_else(|_| listen(SocketAddr::new(USUAL.ip(), 0)))?,
    };
    let unknown = |reason| StatusError::Listen {
        address: USUAL,
        reason,
    };
    let address = listener.local_addr().map_err(unknown)?;
    Ok(Some(Page {
        listener: Arc::new(listener),
        address,
        token_file,
    }))
}

fn listen(address: SocketAddr) -> Result<TcpListener, StatusError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|reason| StatusError::Listen { address, reason })
}
