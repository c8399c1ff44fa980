//! The token, which lets its holder steer the federation and, where the page is not local, look at
//! it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file in the run folder.
pub(super) const FILE: &str = "status-token";
/// The fewest characters of a token; generated ones have twice as many.
const SHORTEST: usize = 32;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot {action} the status page's token {}: {reason}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} holds no token, which is {SHORTEST} or more letters, digits, '-' or '_' on one line", .0.display())]
    Unusable(PathBuf),
    #[error("the system provides no random bytes")]
    Random,
}

/// A token. It is compared by its hash, in constant time, and never shown.
#[derive(Clone)]
pub(super) struct Token {
    text: String,
    hash: blake3::Hash,
    cookie: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

impl Token {
    fn new(text: String) -> Self {
        // A browser stores the cookie, which lets it look and not steer.
        let cookie = blake3::Hash::from_bytes(blake3::derive_key(
            "lacuna 2026 status page cookie",
            text.as_bytes(),
        ));
        Self {
            hash: blake3::hash(text.as_bytes()),
            cookie: cookie.to_hex().to_string(),
            text,
        }
    }

    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path).map_err(file("read", path))?;
        let text = text.trim_end();
        if text.len() < SHORTEST || !text.bytes().all(is_allowed) {
            return Err(TokenError::Unusable(path.into()));
        }
        Ok(Self::new(text.into()))
    }

    /// Reads the run folder's token, or makes one that only its owner can read.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, TokenError> {
        let path = folder.join(FILE);
        if path.exists() {
            return Self::read(&path);
        }
        let token = Self::new(random()?);
        let written = create(&path).and_then(|mut file| {
            writeln!(file, "{}", token.text)?;
            file.sync_all()
        });
        written.map_err(file("write", &path))?;
        Ok(token)
    }

    /// The token as it is sent with a request.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == self.hash
    }

    /// The cookie of a browser that has shown the token.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(super) fn is_cookie(&self, given: &str) -> bool {
        blake3::hash(given.as_bytes()) == blake3::hash(self.cookie.as_bytes())
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// 256 random bits as text.
pub(super) fn random() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| TokenError::Random)?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TokenError {
    move |reason| TokenError::File {
        action,
        path: path.into(),
        reason,
    }
}

#[cfg(unix)]
fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
