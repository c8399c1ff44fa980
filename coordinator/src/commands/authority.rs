//! Which authority a command is about: that of a coordinator's settings, or a folder.

use super::serve::{Listening, listening};
use crate::certificates::{COORDINATOR, CertificatesError};
use crate::members::MembersFile;
use program::Failure;
use std::path::PathBuf;

/// Which authority.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(super) struct Where {
    /// The coordinator's settings; the authority is in the folder above serve.certificates.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The authority's folder, as `init` wrote it.
    #[arg(long, value_name = "FOLDER", default_value = "pki")]
    authority: PathBuf,
}

/// An authority, and the coordinator that it is for.
pub(super) struct Place {
    pub(super) file: MembersFile,
    /// The coordinator's certificate folder.
    pub(super) certificates: PathBuf,
    /// What the settings say about the network, if there are any.
    pub(super) listening: Option<Listening>,
}

impl Where {
    /// The same, where there is an authority: who revokes a site in the wrong folder must not
    /// believe that it is out.
    ///
    /// # Errors
    /// The settings cannot be read, or there is no authority.
    pub(super) fn known_place(&self) -> Result<Place, Failure> {
        let place = self.place()?;
        let path = place.file.folder().join("ca.pem");
        if !path.exists() {
            return Err(CertificatesError::NoAuthority { path }.into());
        }
        Ok(place)
    }

    /// # Errors
    /// The settings cannot be read.
    pub(super) fn place(&self) -> Result<Place, Failure> {
        let Some(config) = &self.config else {
            return Ok(Place {
                file: MembersFile::of_authority(&self.authority),
                certificates: self.authority.join(COORDINATOR),
                listening: None,
            });
        };
        let listening = listening(config)?;
        Ok(Place {
            file: MembersFile::of_coordinator(&listening.certificates),
            certificates: listening.certificates.clone(),
            listening: Some(listening),
        })
    }
}
