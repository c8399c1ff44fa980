//! A simulation's run folder: what the coordinator and the sites need, written before they start.
//!
//! ```text
//! RUN/federation.toml          the configuration it was started with
//! RUN/pki/                     certificates of the coordinator and of each site
//! RUN/phantoms/SITE/           the synthetic cohorts
//! RUN/sites/SITE/              phantom.toml, site.toml, agent.log, work/ (prepared cases)
//! RUN/...                      what the coordinator keeps, and the report
//! ```

use super::plan::{Images, Plan, PlannedSite};
use crate::certificates::{self, CertificatesError, Request};
use program::private;
use program::{Class, Explain};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration that a run was started with, in its folder.
pub(crate) const SETTINGS: &str = "federation.toml";

#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot {action} {}: {source}", .path.display())]
    Disk {
        /// `read`, `write` ...
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not empty and not a run of this configuration", .0.display())]
    Foreign(PathBuf),
    #[error("{} holds a finished run", .0.display())]
    Finished(PathBuf),
    #[error("{} holds phantoms that were made with other settings", .0.display())]
    OtherPhantoms(PathBuf),
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A phantom cohort's `data.toml` is not one.
    #[error("{}: {source}", .path.display())]
    Cohort {
        /// Which.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    #[error("cannot write a site's configuration: {0}")]
    Encode(#[from] toml::ser::Error),
}

impl Explain for FolderError {
    fn class(&self) -> Class {
        match self {
            Self::Disk { .. } => Class::Disk,
            Self::Foreign(_) | Self::OtherPhantoms(_) | Self::Finished(_) => Class::Configuration,
            Self::Certificates(_) | Self::Encode(_) | Self::Cohort { .. } => Class::Internal,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Foreign(_) | Self::OtherPhantoms(_) => {
                Some("name another folder with --out".into())
            }
            Self::Finished(path) => Some(
                format!(
                    "write its report again with: coordinator report {}",
                    path.display()
                )
                .into(),
            ),
            Self::Disk { .. } | Self::Certificates(_) | Self::Encode(_) | Self::Cohort { .. } => {
                None
            }
        }
    }
}

/// A run folder that belongs to this run.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Where phantoms and prepared cases are: the run folder itself, or one that several runs
    /// share.
    store: PathBuf,
}

impl Folder {
    /// Makes the folder, or opens an unfinished run of the same configuration. Nothing is
    /// overwritten. Phantoms and prepared cases go into `store`, if it is given.
    ///
    /// # Errors
    /// [`FolderError`].
    pub(crate) fn open(
        path: &Path,
        plan: &Plan,
        store: Option<&Path>,
    ) -> Result<Self, FolderError> {
        private::create_folder(path).map_err(disk("create", path))?;
        let path = path.canonicalize().map_err(disk("find", path))?;
        let copy = path.join(SETTINGS);
        let empty = std::fs::read_dir(&path)
            .map_err(disk("read", &path))?
            .next()
            .is_none();
        if empty {
            write(&copy, &plan.text)?;
        } else if std::fs::read_to_string(&copy).ok().as_deref() != Some(&plan.text) {
            return Err(FolderError::Foreign(path));
        } else if path.join(crate::store::OUTCOME).exists() {
            return Err(FolderError::Finished(path));
        }
        let store = match store {
            Some(store) => {
                private::create_folder(store).map_err(disk("create", store))?;
                store.canonicalize().map_err(disk("find", store))?
            }
            None => path.clone(),
        };
        Ok(Self { root: path, store })
    }

    /// The absolute path.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The folder with the certificates of the coordinator and of each site.
    #[must_use]
    pub(crate) fn certificates(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The log of a site's agent.
    #[must_use]
    pub(crate) fn log(&self, site: &str) -> PathBuf {
        self.site(site).join("agent.log")
    }

    /// A site's configuration.
    #[must_use]
    pub(crate) fn site_file(&self, site: &str) -> PathBuf {
        self.site(site).join("site.toml")
    }

    /// A site's work folder.
    #[must_use]
    pub(crate) fn work(&self, site: &str) -> PathBuf {
        self.store.join("sites").join(site).join("work")
    }

    fn site(&self, site: &str) -> PathBuf {
        self.root.join("sites").join(site)
    }

    /// The settings of `site-agent phantom` for a site.
    #[must_use]
    pub(crate) fn phantom_file(&self, site: &str) -> PathBuf {
        self.site(site).join("phantom.toml")
    }

    /// The folder of all cohorts of phantoms, with one folder for each site.
    #[must_use]
    pub(crate) fn phantoms(&self) -> PathBuf {
        self.store.join("phantoms")
    }

    /// A cohort's `[data]` table. It is written last, so a cohort that has it is whole.
    fn cohort(&self, site: &str) -> PathBuf {
        self.phantoms().join(site).join("data.toml")
    }

    /// Makes the certificates that are missing.
    ///
    /// # Errors
    /// [`FolderError::Certificates`].
    pub(crate) fn issue(&self, plan: &Plan) -> Result<(), FolderError> {
        certificates::issue(&Request {
            out: self.certificates(),
            coordinator_names: vec!["127.0.0.1".into(), "localhost".into()],
            sites: plan
                .sites
                .iter()
                .map(|site| site.name.to_string())
                .collect(),
            days: 30,
        })?;
        Ok(())
    }

    /// Writes the settings of `site-agent phantom` for each site without a whole cohort, and
    /// removes the part of a cohort that an interrupted run left. Returns the sites whose phantoms
    /// must be made.
    ///
    /// # Errors
    /// [`FolderError::Disk`].
    pub(crate) fn write_phantoms<'p>(&self, plan: &'p Plan) -> Result<Vec<&'p str>, FolderError> {
        let mut missing = Vec::new();
        for (name, phantoms) in plan.cohorts() {
            let mut entry = phantoms.clone();
            entry.insert("name".into(), name.into());
            let mut table = toml::Table::new();
            table.insert("cohort".into(), plan.phantom.clone().into());
            table.insert("site".into(), toml::Value::Array(vec![entry.into()]));
            let text = toml::to_string(&table)?;
            let settings = self.phantoms().join(format!("{name}.toml"));
            if self.cohort(name).exists() {
                if std::fs::read_to_string(&settings).is_ok_and(|old| old != text) {
                    return Err(FolderError::OtherPhantoms(self.phantoms().join(name)));
                }
                continue;
            }
            let part = self.phantoms().join(name);
            if part.exists() {
                std::fs::remove_dir_all(&part).map_err(disk("clear", &part))?;
            }
            for folder in [self.site(name), self.phantoms()] {
                private::create_folder(&folder).map_err(disk("create", &folder))?;
            }
            write(&settings, &text)?;
            write(&self.phantom_file(name), &text)?;
            missing.push(name);
        }
        Ok(missing)
    }

    /// Writes a site's configuration for a coordinator at this address. Its phantoms must be made
    /// before.
    ///
    /// # Errors
    /// [`FolderError::Disk`], or [`FolderError::Cohort`].
    pub(crate) fn write_site(
        &self,
        plan: &Plan,
        site: &PlannedSite,
        coordinator: SocketAddr,
    ) -> Result<(), FolderError> {
        let home = self.site(site.name.as_str());
        private::create_folder(&home).map_err(disk("create", &home))?;
        let certificates = self.certificates().join(site.name.as_str());
        let work = self.work(site.name.as_str());
        let device = site.device.as_ref().unwrap_or(&plan.device);
        let mut table = toml::Table::new();
        table.insert("coordinator".into(), coordinator.to_string().into());
        table.insert("fallback".into(), "off".into());
        table.insert("certificates".into(), path_value(&certificates));
        table.insert("role".into(), toml::Value::try_from(site.role)?);
        table.insert("work_folder".into(), path_value(&work));
        table.insert("device".into(), device.clone().into());
        table.insert("threads".into(), (plan.threads_of(site.role) as i64).into());
        // If the coordinator is killed, its agents end soon after it.
        table.insert("reconnect_minutes".into(), 1.into());
        // All data is on this machine anyway.
        table.insert("overlays".into(), "send".into());
        table.insert("data".into(), self.data(site.name.as_str(), &site.images)?);
        write(
            &self.site_file(site.name.as_str()),
            &toml::to_string(&table)?,
        )
    }

    /// A site's `[data]` table: as configured, or as `site-agent phantom` wrote it; several tables
    /// where images are pooled.
    fn data(&self, site: &str, images: &Images) -> Result<toml::Value, FolderError> {
        let path = match images {
            Images::Folders(data) => return Ok(data.clone().into()),
            Images::Phantoms(_) => self.cohort(site),
            Images::Pooled(all) => {
                let mut archives = Vec::new();
                for (name, images) in all {
                    let mut archive = self.data(name.as_str(), images)?;
                    if let Some(table) = archive.as_table_mut() {
                        table.insert("name".into(), name.as_str().into());
                    }
                    archives.push(archive);
                }
                return Ok(archives.into());
            }
        };
        let text = std::fs::read_to_string(&path).map_err(disk("read", &path))?;
        let cohort: Cohort =
            toml::from_str(&text).map_err(|source| FolderError::Cohort { path, source })?;
        Ok(cohort.data.into())
    }
}

#[derive(serde::Deserialize)]
struct Cohort {
    data: toml::Table,
}

fn path_value(path: &Path) -> toml::Value {
    path.to_string_lossy().into_owned().into()
}

fn write(path: &Path, text: &str) -> Result<(), FolderError> {
    std::fs::write(path, text).map_err(disk("write", path))
}

fn disk<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> FolderError + 'a {
    move |source| FolderError::Disk {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "name = 'x'\nrounds = 1\n[input]\nsequences = ['bravo', \
                          'flair']\n[simulate.phantom]\nplane = 32\n[[simulate.sites]]\nname = \
                          'north'\nrole = 'train'\ncases = 3\nlacks = ['flair']\n";

    fn plan() -> Plan {
        Plan::from_toml(CONFIG, 2).unwrap()
    }

    #[test]
    fn an_unfinished_run_is_taken_up_and_nothing_else_is_touched() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("run");
        Folder::open(&path, &plan(), None).unwrap();
        Folder::open(&path, &plan(), None).unwrap();
        let other = Plan::from_toml(&CONFIG.replace("rounds = 1", "rounds = 2"), 2).unwrap();
        assert!(matches!(
            Folder::open(&path, &other, None),
            Err(FolderError::Foreign(_))
        ));
        std::fs::write(path.join("outcome.json"), "{}").unwrap();
        assert!(matches!(
            Folder::open(&path, &plan(), None),
            Err(FolderError::Finished(_))
        ));
    }

    #[test]
    fn a_site_is_told_its_own_certificate_and_where_its_images_are() {
        let run = tempfile::tempdir().unwrap();
        let folder = Folder::open(run.path(), &plan(), None).unwrap();
        let read = |path: PathBuf| {
            toml::from_str::<toml::Table>(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        assert_eq!(folder.write_phantoms(&plan()).unwrap(), ["north"]);
        let wanted = read(folder.phantom_file("north"));
        assert_eq!(wanted["cohort"]["plane"].as_integer(), Some(32));
        assert_eq!(wanted["cohort"]["seed"].as_integer(), Some(1));
        assert_eq!(wanted["site"][0]["lacks"][0].as_str(), Some("flair"));

        std::fs::create_dir_all(folder.phantoms().join("north")).unwrap();
        std::fs::write(folder.cohort("north"), "[data]\nroot = '/phantoms/north'\n").unwrap();
        assert!(folder.write_phantoms(&plan()).unwrap().is_empty());
        folder
            .write_site(&plan(), &plan().sites[0], "127.0.0.1:4433".parse().unwrap())
            .unwrap();
        let site = read(folder.site_file("north"));
        assert_eq!(site["role"].as_str(), Some("train"));
        assert_eq!(site["overlays"].as_str(), Some("send"));
        assert_eq!(site["coordinator"].as_str(), Some("127.0.0.1:4433"));
        assert!(
            site["certificates"]
                .as_str()
                .unwrap()
                .ends_with("pki/north")
        );
        assert_eq!(site["data"]["root"].as_str(), Some("/phantoms/north"));
    }

    #[test]
    fn half_a_cohort_is_made_again() {
        let run = tempfile::tempdir().unwrap();
        let folder = Folder::open(run.path(), &plan(), None).unwrap();
        let half = folder.phantoms().join("north/north-0001");
        std::fs::create_dir_all(&half).unwrap();
        assert_eq!(folder.write_phantoms(&plan()).unwrap(), ["north"]);
        assert!(!half.exists());
    }
}
