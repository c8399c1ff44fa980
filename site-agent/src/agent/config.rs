//! A site's settings: where the coordinator and the data are. Everything about the model is the
//! coordinator's.

use super::models::Models;
use crate::data::{self, Archives};
use crate::link::{Fallback, LinkConfig, Proxies};
use crate::overlay::Overlays;
use program::{Class, Explain};
use protocol::case::Role;
use protocol::settings::Compute;
use protocol::text;
use serde::Deserialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A site's checked settings; relative paths are meant from the file's own folder.
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
    /// What training computes in, where the device can; what the federation says when left out.
    #[serde(default)]
    pub compute: Option<Compute>,
    /// Where programs compiled for a card are kept; the user's own cache folder when left out.
    #[serde(default)]
    pub kernel_cache: Option<PathBuf>,
    /// Threads for preparing data and for the model; all cores when left out.
    #[serde(default = "SiteConfig::cores")]
    pub threads: usize,
    /// Minutes without a coordinator after which the site gives up.
    #[serde(default = "SiteConfig::an_hour")]
    pub reconnect_minutes: u32,
    /// What may be made of pictures of representative cases; they stay at the site when left out.
    #[serde(default)]
    pub overlays: Overlays,
    /// Where the images are and what they are called.
    pub data: Archives,
}

/// `fallback`: the coordinator's TLS address, or `off`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum FallbackAddress {
    /// Nothing said: the coordinator's host, at the port of HTTPS.
    #[default]
    Usual,
    /// UDP or nothing.
    Off,
    /// `host:port`.
    At(String),
}

impl TryFrom<String> for FallbackAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.rsplit_once(':') {
            _ if text == "off" => Ok(Self::Off),
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::At(text))
            }
            _ => Err(format!("{text:?} is neither host:port nor off")),
        }
    }
}

/// The port of HTTPS, which most networks let through.
const HTTPS: u16 = 443;

/// Why a site's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SiteConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value that cannot work; the text names line and key.
    #[error("{}: {reason}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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
        let bytes = std::fs::read(path).map_err(|error| SiteConfigError::Unreadable {
            path: path.into(),
            error,
        })?;
        let wrong = |reason| SiteConfigError::Syntax {
            path: path.into(),
            reason,
        };
        let text = text::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(text, folder).map_err(wrong)
    }

    /// What a link needs to know; what there is to know about proxies is read from the environment.
    #[must_use]
    pub fn link(&self) -> LinkConfig {
        let address = match &self.fallback {
            FallbackAddress::Off => None,
            FallbackAddress::At(address) => Some(address.clone()),
            FallbackAddress::Usual => self
                .coordinator
                .rsplit_once(':')
                .map(|(host, _)| format!("{host}:{HTTPS}")),
        };
        let proxies = Proxies::read(|name| std::env::var(name).ok());
        LinkConfig {
            coordinator: self.coordinator.clone(),
            fallback: address.map(|address| Fallback { address, proxies }),
            certificates: self.certificates.clone(),
            incoming: self.work_folder.join("incoming"),
            models: Models::folder(&self.work_folder),
        }
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|error| text::explain(&error, text))?;
        if config.threads == 0 {
            return Err("threads is 0: expected 1 or more".into());
        }
        config.certificates = folder.join(at_home("certificates", &config.certificates)?);
        config.work_folder = folder.join(at_home("work_folder", &config.work_folder)?);
        if let Some(cache) = &config.kernel_cache {
            config.kernel_cache = Some(folder.join(at_home("kernel_cache", cache)?));
        }
        Ok(config)
    }
}

/// A folder of the file; a `~` at its start is the user's own.
fn at_home(key: &str, folder: &Path) -> Result<PathBuf, String> {
    let text = folder.to_string_lossy();
    if !text.starts_with('~') {
        return Ok(folder.into());
    }
    let home = data::home(&text, |name| std::env::var(name).ok());
    home.map(PathBuf::from)
        .map_err(|expected| format!("{key} is {text:?}: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "coordinator = 'host:4433'\ncertificates = 'pki/north'\nrole = 'train'\nwork_folder = '/srv/work'\n\
        [data]\nroot = '/srv/mri'\nsequences = { flair = '{case}/flair.nii.gz' }\nlabel = '{case}/seg.nii.gz'\n\
        lesion_labels = [1]\n";

    #[test]
    fn relative_folders_are_meant_from_the_files_own() {
        let config = SiteConfig::parse(TEXT, Path::new("/etc/site")).unwrap();
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
                .map(|config| config.coordinator)
                .map_err(|error| error.to_string())
        };
        let marked = [b"\xef\xbb\xbf", TEXT.as_bytes()].concat();
        assert_eq!(read(&marked), Ok("host:4433".into()));
        assert_eq!(
            read(TEXT.replace('\n', "\r\n").as_bytes()),
            Ok("host:4433".into())
        );
        let wide: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&wide).unwrap_err().contains("UTF-16"));
        let latin = [b"# K\xf6ln\n", TEXT.as_bytes()].concat();
        assert!(read(&latin).unwrap_err().contains("Latin-1"), "{latin:?}");
    }

    #[test]
    fn pictures_leave_only_where_the_site_says_so() {
        let read = |line: &str| {
            SiteConfig::parse(&format!("{line}{TEXT}"), Path::new("")).map(|config| config.overlays)
        };
        assert_eq!(read(""), Ok(Overlays::Keep));
        let said = ["off", "keep", "send"].map(|word| read(&format!("overlays = '{word}'\n")));
        assert_eq!(
            said,
            [Overlays::Off, Overlays::Keep, Overlays::Send].map(Ok)
        );
        assert!(read("overlays = true\n").unwrap_err().contains("overlays"));
    }

    #[test]
    fn the_fallback_is_the_coordinators_host_unless_the_file_says_otherwise() {
        let read = |line: &str| SiteConfig::parse(&format!("{line}{TEXT}"), Path::new(""));
        let address = |line: &str| {
            read(line)
                .unwrap()
                .link()
                .fallback
                .map(|fallback| fallback.address)
        };
        assert_eq!(address("").as_deref(), Some("host:443"));
        assert_eq!(
            address("fallback = 'other:8443'\n").as_deref(),
            Some("other:8443")
        );
        assert_eq!(address("fallback = 'off'\n"), None);
        for wrong in ["other", "other:", ":443", "other:70000", "none"] {
            let error = read(&format!("fallback = '{wrong}'\n")).unwrap_err();
            assert!(
                error.contains("fallback") && error.contains("neither host:port nor off"),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_keys_and_no_threads_are_refused_by_name() {
        for (addition, word) in [
            ("gpus = 1\n", "gpus"),
            ("threads = 0\n", "threads"),
            ("role = 'judge'\n", "role"),
            ("kernel_cache = '~otto/x'\n", "kernel_cache"),
        ] {
            let error = SiteConfig::parse(&format!("{addition}{TEXT}"), Path::new("")).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
