//! A site's settings: where the coordinator and the data are. Everything about the model is the
//! coordinator's.

use super::models::Models;
use crate::data::{self, Archives};
use crate::link::{Fallback, LinkConfig, Proxies};
use crate::overlay::Overlays;
use crate::policy::Policy;
use program::{Class, Explain};
use protocol::case::Role;
use protocol::settings::Compute;
use protocol::text::{self, TextError};
use serde::Deserialize;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// A site's checked settings. Relative paths are from the file's own folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// `host:port` of the coordinator; its certificate must name the host.
    pub coordinator: String,
    /// Where the coordinator is reached when UDP is blocked.
    #[serde(default)]
    pub fallback: FallbackAddress,
    /// The folder with `ca.pem`, `certificate.pem` and `key.pem`.
    pub certificates: PathBuf,
    /// Whether the site trains, or only scores.
    pub role: Role,
    /// Where prepared cases, models and the skip report are kept.
    pub work_folder: PathBuf,
    /// `cpu`, `cuda`, `cuda:N`, `vulkan` or `vulkan:N`.
    #[serde(default = "SiteConfig::cpu")]
    pub device: String,
    /// The arithmetic of the network, where the device supports it; the federation's when left out.
    #[serde(default)]
    pub compute: Option<Compute>,
    /// Where programs compiled for a GPU are kept; the user's own cache folder when left out.
    #[serde(default)]
    pub kernel_cache: Option<PathBuf>,
    /// Threads for preparing data and for the model; all cores when left out.
    #[serde(default = "SiteConfig::cores")]
    pub threads: usize,
    /// Minutes without a coordinator after which the site gives up.
    #[serde(default = "SiteConfig::an_hour")]
    pub reconnect_minutes: u32,
    /// Whether pictures of representative cases are made, and sent; they stay at the site when left
    /// out.
    #[serde(default)]
    pub overlays: Overlays,
    /// What the coordinator may ask for.
    #[serde(default)]
    pub policy: Policy,
    /// Where the images are and what they are called.
    pub data: Archives,
}

/// `fallback`: the coordinator's TLS address, or `off`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum FallbackAddress {
    /// The coordinator's host, at the port of HTTPS.
    #[default]
    Usual,
    /// UDP only.
    Off,
    /// `host:port`.
    At(String),
}

/// A value of `fallback` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither host:port nor off")]
pub struct FallbackError(String);

impl TryFrom<String> for FallbackAddress {
    type Error = FallbackError;

    fn try_from(text: String) -> Result<Self, FallbackError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::At(text))
            }
            _ => Err(FallbackError(text)),
        }
    }
}

/// The port of HTTPS, which most networks let through.
const HTTPS: u16 = 443;

/// Why a site's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteConfigError {
    #[error("{}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Encoding { path: PathBuf, source: TextError },
    /// Not TOML, an unknown key, or a value of another kind.
    #[error("{}: {explained}", .path.display())]
    Syntax {
        path: PathBuf,
        /// `source` with its line, and what a Windows path may be missing.
        explained: String,
        source: Box<toml::de::Error>,
    },
    #[error("{}: threads is 0: expected 1 or more", .path.display())]
    NoThreads { path: PathBuf },
    /// A folder that begins with `~` and is not below the user's own.
    #[error("{}: {key} is {value:?}: expected {expected}", .path.display())]
    Home {
        path: PathBuf,
        /// The key that names the folder.
        key: &'static str,
        value: String,
        expected: &'static str,
    },
}

impl Explain for SiteConfigError {
    fn class(&self) -> Class {
        Class::Configuration
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("configs/site-train.toml shows every key; docs/users/DATA.md explains [data]".into())
    }
}

impl SiteConfig {
    fn cpu() -> String {
        "cpu".into()
    }

    fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn an_hour() -> u32 {
        60
    }

    /// Reads and checks a site's file.
    ///
    /// # Errors
    /// Names the file, and the key that is unknown or wrong.
    pub fn read(path: &Path) -> Result<Self, SiteConfigError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) => {
                let path = path.into();
                return Err(SiteConfigError::Unreadable { path, source });
            }
        };
        match text::decode(&bytes) {
            Ok(text) => Self::parse(text, path),
            Err(source) => {
                let path = path.into();
                Err(SiteConfigError::Encoding { path, source })
            }
        }
    }

    /// What a link needs to know. Proxies are read from the environment.
    #[must_use]
    pub fn link(&self) -> LinkConfig {
        let mut fallback = None;
        if let Some(address) = self.fallback_address() {
            let proxies = Proxies::read(|name| std::env::var(name).ok());
            fallback = Some(Fallback { address, proxies });
        }
        LinkConfig {
            coordinator: self.coordinator.clone(),
            fallback,
            certificates: self.certificates.clone(),
            incoming: self.work_folder.join("incoming"),
            models: Models::folder(&self.work_folder),
        }
    }

    /// `host:port`; `None` where the file says `off`, and where the coordinator's address has no
    /// port, which the link refuses.
    fn fallback_address(&self) -> Option<String> {
        match &self.fallback {
            FallbackAddress::Off => None,
            FallbackAddress::At(address) => Some(address.clone()),
            FallbackAddress::Usual => {
                let (host, _) = self.coordinator.rsplit_once(':')?;
                Some(format!("{host}:{HTTPS}"))
            }
        }
    }

    /// The settings in the text of the file `path`, which is not read.
    fn parse(text: &str, path: &Path) -> Result<Self, SiteConfigError> {
        let mut config: Self = match toml::from_str(text) {
            Ok(config) => config,
            Err(source) => {
                return Err(SiteConfigError::Syntax {
                    path: path.into(),
                    explained: text::explain(&source, text),
                    source: source.into(),
                });
            }
        };
        if config.threads == 0 {
            return Err(SiteConfigError::NoThreads { path: path.into() });
        }
        config.certificates = absolute(path, "certificates", &config.certificates)?;
        config.work_folder = absolute(path, "work_folder", &config.work_folder)?;
        if let Some(cache) = &config.kernel_cache {
            config.kernel_cache = Some(absolute(path, "kernel_cache", cache)?);
        }
        Ok(config)
    }
}

/// The folder that `key` in the file `path` names: relative to the file's own folder, and a `~` at
/// its start is the user's own.
fn absolute(path: &Path, key: &'static str, named: &Path) -> Result<PathBuf, SiteConfigError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let value = named.to_string_lossy();
    if !value.starts_with('~') {
        return Ok(folder.join(named));
    }
    match data::home(&value, |name| std::env::var(name).ok()) {
        Ok(home) => Ok(folder.join(home)),
        Err(expected) => Err(SiteConfigError::Home {
            path: path.into(),
            key,
            value: value.into_owned(),
            expected,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
coordinator = 'host:4433'
certificates = 'pki/north'
role = 'train'
work_folder = '/srv/work'
[data]
root = '/srv/mri'
sequences = { flair = '{case}/flair.nii.gz' }
label = '{case}/seg.nii.gz'
lesion_labels = [1]
";

    /// The settings with one more line before all others.
    fn with(line: &str) -> Result<SiteConfig, SiteConfigError> {
        SiteConfig::parse(&format!("{line}\n{TEXT}"), Path::new("site.toml"))
    }

    #[test]
    fn relative_folders_are_meant_from_the_files_own() {
        let config = SiteConfig::parse(TEXT, Path::new("/etc/site/site.toml")).unwrap();
        assert_eq!(config.certificates, Path::new("/etc/site/pki/north"));
        assert_eq!(config.work_folder, Path::new("/srv/work"));
        assert_eq!((config.role, config.device.as_str()), (Role::Train, "cpu"));
    }

    #[test]
    fn a_file_that_an_editor_of_windows_saved_is_read_or_its_encoding_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            SiteConfig::read(&path)
        };
        let marked = [b"\xef\xbb\xbf", TEXT.as_bytes()].concat();
        assert_eq!(read(&marked).unwrap().coordinator, "host:4433");
        let returns = TEXT.replace('\n', "\r\n");
        assert_eq!(read(returns.as_bytes()).unwrap().coordinator, "host:4433");
        let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let error = read(&wide).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
        let latin = [b"# K\xf6ln\n", TEXT.as_bytes()].concat();
        let error = read(&latin).unwrap_err().to_string();
        assert!(error.contains("Latin-1"), "{error}");
    }

    #[test]
    fn pictures_leave_only_where_the_site_says_so() {
        assert_eq!(with("").unwrap().overlays, Overlays::Keep);
        for (word, expected) in [
            ("off", Overlays::Off),
            ("keep", Overlays::Keep),
            ("send", Overlays::Send),
        ] {
            let config = with(&format!("overlays = '{word}'")).unwrap();
            assert_eq!(config.overlays, expected);
        }
        let error = with("overlays = true").unwrap_err().to_string();
        assert!(error.contains("overlays"), "{error}");
    }

    #[test]
    fn the_fallback_is_the_coordinators_host_unless_the_file_says_otherwise() {
        for (line, expected) in [
            ("", Some("host:443")),
            ("fallback = 'other:8443'", Some("other:8443")),
            ("fallback = 'off'", None),
        ] {
            let link = with(line).unwrap().link();
            let address = link.fallback.map(|fallback| fallback.address);
            assert_eq!(address.as_deref(), expected, "{line}");
        }
        for wrong in ["other", "other:", ":443", "other:70000", "none"] {
            let error = with(&format!("fallback = '{wrong}'")).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("fallback"), "{error}");
            assert!(error.contains("neither host:port nor off"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_and_no_threads_are_refused_by_name() {
        for (line, key) in [
            ("gpus = 1", "gpus"),
            ("threads = 0", "threads is 0"),
            ("role = 'judge'", "role"),
            ("policy = { max_step = 1 }", "max_step"),
            ("policy = { hours_utc = '20-6' }", "20:00-06:00"),
            ("policy = { approval = 'always' }", "always"),
            ("kernel_cache = '~otto/x'", "kernel_cache is \"~otto/x\""),
        ] {
            let error = with(line).unwrap_err().to_string();
            assert!(error.starts_with("site.toml: "), "{error}");
            assert!(error.contains(key), "{error}");
        }
    }
}
