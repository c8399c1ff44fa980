//! Where the status page is: from the settings to a listening socket.

use super::StatusError;
use crate::address::OptionalAddress;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the page is unless the settings say otherwise; another free port when this one is taken.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8433);

/// A page that is going to be served.
#[derive(Clone, Debug)]
pub struct Page {
    pub(super) listener: Arc<TcpListener>,
    pub(super) address: SocketAddr,
    /// The token's file; `None` for the one in the run folder.
    pub(super) token_file: Option<PathBuf>,
}

impl Page {
    /// The page's URL for people, and the token's file where a token is needed.
    #[must_use]
    pub fn greeting(&self, run_folder: &Path) -> String {
        let page = format!("status page: http://{}/", self.address);
        if self.is_local() {
            return page;
        }
        let file = match &self.token_file {
            Some(file) => file.clone(),
            None => run_folder.join(super::token::FILE),
        };
        format!("{page}?token=TOKEN with the token in {}", file.display())
    }

    /// Whether only this machine can reach it. Then looking needs no token.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Listens for the page. Without an address it uses the default or, when that is taken, any free
/// port of this machine; an address that was given must be free.
///
/// # Errors
/// [`StatusError::Listen`].
pub fn bind(
    address: Option<OptionalAddress>,
    token_file: Option<PathBuf>,
) -> Result<Option<Page>, StatusError> {
    let listener = match address {
        Some(OptionalAddress::Off) => return Ok(None),
        Some(OptionalAddress::At(address)) => listen(address)?,
        None => listen(DEFAULT).or_else(|_| listen(SocketAddr::new(DEFAULT.ip(), 0)))?,
    };
    let address = listener
        .local_addr()
        .map_err(|reason| StatusError::Listen {
            address: DEFAULT,
            reason,
        })?;
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
