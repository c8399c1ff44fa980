//! The `[simulate]` table: which sites there are, and where their images come from.

use serde::Deserialize;
use shared::case::Role;
use shared::federation::{Federation, SettingsError};
use std::collections::BTreeSet;

/// Everything that a simulation is about, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The federation's settings; its sites are those below.
    pub federation: Federation,
    /// The file it came from, as it stood.
    pub text: String,
    /// Threads of each site while it works.
    pub threads: usize,
    /// What `site-agent phantom` is told beside the sites.
    pub phantom: toml::Table,
    /// The sites.
    pub sites: Vec<PlannedSite>,
}

/// One site.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSite {
    /// Its name.
    pub name: String,
    /// Its part.
    pub role: Role,
    /// Its images.
    pub images: Images,
}

/// Where a site's images come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Images {
    /// Phantoms, made for this run.
    Phantoms {
        /// How many cases.
        cases: u32,
        /// Sequences that the site never acquires.
        lacks: Vec<String>,
    },
    /// Folders that are there: a site's `[data]` table.
    Folders(toml::Table),
}

/// Why a file cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The federation's settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The table is missing, has an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// There is nobody to train.
    #[error("simulate.sites has no site with role = \"train\"")]
    NobodyTrains,
    /// Two sites of one name.
    #[error("simulate.sites names {0:?} twice")]
    SameName(String),
    /// A site without images, or with two kinds.
    #[error("simulate.sites: {0} needs either cases = N (phantoms) or a data table (folders)")]
    NoImages(String),
    /// `lacks` beside folders.
    #[error("simulate.sites: {0} has a data table: name the sequences to leave out in its data.drop, not in lacks")]
    LacksFolders(String),
    /// A sequence that the federation does not have.
    #[error("simulate.sites: {site} lacks {sequence:?}, which does not stand in input.sequences")]
    UnknownSequence {
        /// The site.
        site: String,
        /// The name.
        sequence: String,
    },
    /// A number out of range.
    #[error("simulate.threads is 0: each site needs one at least")]
    NoThreads,
}

#[derive(Deserialize)]
struct File {
    simulate: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default = "one")]
    threads: usize,
    #[serde(default)]
    phantom: toml::Table,
    sites: Vec<SiteText>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteText {
    name: String,
    role: Role,
    cases: Option<u32>,
    #[serde(default)]
    lacks: Vec<String>,
    data: Option<toml::Table>,
}

impl Plan {
    /// Reads and checks a federation's file with its `[simulate]` table, for a machine with so many cores.
    ///
    /// # Errors
    /// [`PlanError`] names the key or the site.
    pub fn from_toml(text: &str, cores: usize) -> Result<Self, PlanError> {
        let mut federation = Federation::from_toml(text)?;
        let file: File = toml::from_str(text).map_err(|error| PlanError::Syntax(error.to_string()))?;
        let missing = "there is no [simulate] table: it names the sites to simulate";
        let simulate = file.simulate.ok_or_else(|| PlanError::Syntax(missing.into()))?;
        if simulate.threads == 0 {
            return Err(PlanError::NoThreads);
        }
        let known = &federation.input.sequences;
        let sites = simulate.sites.into_iter().map(|site| site.check(known)).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = sites.iter().find(|site| !names.insert(site.name.as_str())) {
            return Err(PlanError::SameName(twice.name.clone()));
        }
        if !sites.iter().any(|site| site.role == Role::Train) {
            return Err(PlanError::NobodyTrains);
        }
        federation.sites.expected = sites.iter().map(|site| site.name.clone()).collect();
        federation.sites.concurrent.get_or_insert((cores / simulate.threads).max(1));
        // Site names go into folders and certificates: the same rule as for typed ones.
        let federation = federation.check()?;
        Ok(Self { federation, text: text.into(), threads: simulate.threads, phantom: simulate.phantom, sites })
    }

    /// The sites whose phantoms must be made.
    pub fn phantoms(&self) -> impl Iterator<Item = (&PlannedSite, u32, &[String])> {
        self.sites.iter().filter_map(|site| match &site.images {
            Images::Phantoms { cases, lacks } => Some((site, *cases, lacks.as_slice())),
            Images::Folders(_) => None,
        })
    }
}

impl SiteText {
    fn check(self, known: &[String]) -> Result<PlannedSite, PlanError> {
        let images = match (self.cases, self.data) {
            (Some(cases), None) if cases > 0 => Images::Phantoms { cases, lacks: self.lacks },
            (None, Some(data)) if self.lacks.is_empty() => Images::Folders(data),
            (None, Some(_)) => return Err(PlanError::LacksFolders(self.name)),
            _ => return Err(PlanError::NoImages(self.name)),
        };
        if let Images::Phantoms { lacks, .. } = &images
            && let Some(sequence) = lacks.iter().find(|name| !known.contains(name))
        {
            return Err(PlanError::UnknownSequence { site: self.name, sequence: sequence.clone() });
        }
        Ok(PlannedSite { name: self.name, role: self.role, images })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'x'\nrounds = 1\n[input]\nsequences = ['bravo', 'flair']\n";
    const NORTH: &str = "[[simulate.sites]]\nname = 'north'\nrole = 'train'\ncases = 3\nlacks = ['flair']\n";

    fn plan(rest: &str) -> Result<Plan, PlanError> {
        Plan::from_toml(&format!("{HEAD}{rest}"), 4)
    }

    #[test]
    fn the_federation_expects_just_the_simulated_sites_and_shares_the_cores() {
        let folders = "[[simulate.sites]]\nname = 'south'\nrole = 'evaluate'\n[simulate.sites.data]\nroot = '/x'\n";
        let plan = plan(&format!("[simulate]\nthreads = 2\n{NORTH}{folders}")).unwrap();
        assert_eq!(plan.federation.sites.expected, ["north", "south"]);
        assert_eq!(plan.federation.sites.concurrent, Some(2));
        assert_eq!(plan.phantoms().map(|(site, cases, _)| (site.name.as_str(), cases)).collect::<Vec<_>>(), [("north", 3)]);
    }

    #[test]
    fn what_cannot_be_simulated_is_named() {
        let more = |rest: &str| plan(&format!("{NORTH}{rest}")).unwrap_err().to_string();
        assert!(plan("").unwrap_err().to_string().contains("[simulate]"));
        assert!(more(NORTH).contains("\"north\" twice"));
        assert!(more("[simulate]\nthreads = 0\n").contains("threads"));
        assert!(more("[[simulate.sites]]\nname = 'b'\nrole = 'train'\n").contains("b needs either"));
        let both = "[[simulate.sites]]\nname = 'b'\nrole = 'train'\ndata = {}\nlacks = ['flair']\n";
        assert!(more(both).contains("data.drop"));
        assert!(plan(&NORTH.replace("['flair']", "['swi']")).unwrap_err().to_string().contains("\"swi\""));
        assert!(plan(&NORTH.replace("train", "evaluate")).unwrap_err().to_string().contains("no site with role"));
        assert!(plan(&NORTH.replace("north", "../x")).unwrap_err().to_string().contains("sites"));
        assert!(plan(&NORTH.replace("lacks", "lack")).unwrap_err().to_string().contains("lack"));
    }
}
