//! The `[simulate]` table: which sites there are, and where their images come from.

use protocol::case::Role;
use protocol::settings::{Federation, LocalWork, SettingsError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that a simulation is about, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The federation's settings; its sites are those below.
    pub(crate) federation: Federation,
    /// The file it came from, as it stood.
    pub(crate) text: String,
    /// Threads of each site while it works.
    pub(crate) threads: usize,
    /// What each site computes on.
    pub(crate) device: String,
    /// What `site-agent phantom` is told about all sites.
    pub(crate) phantom: toml::Table,
    /// The sites.
    pub(crate) sites: Vec<PlannedSite>,
}

/// The site that has the images of all training sites.
const POOLED: &str = "pooled";

/// One site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedSite {
    /// Its name.
    pub(crate) name: String,
    /// Its part.
    pub(crate) role: Role,
    /// What it computes on, where not on what all sites do.
    pub(crate) device: Option<String>,
    /// Its images.
    pub(crate) images: Images,
}

/// Where a site's images come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Images {
    /// Phantoms, made for this run: what the maker is told about the site, beside its name.
    Phantoms(toml::Table),
    /// Folders that are there: a site's `[data]` table.
    Folders(toml::Table),
    /// Those of several sites in one place, by the sites' names.
    Pooled(Vec<(String, Images)>),
}

impl Images {
    /// Whether these are other folders' images once more: the same table, however its root is
    /// written.
    fn are_those_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folders(one), Self::Folders(two)) => plainly(one) == plainly(two),
            _ => false,
        }
    }
}

/// A table with its root in its shortest spelling.
fn plainly(data: &toml::Table) -> toml::Table {
    let mut data = data.clone();
    if let Some(toml::Value::String(root)) = data.get_mut("root") {
        // Components leave out `.` and doubled or trailing slashes.
        *root = Path::new(root.as_str())
            .components()
            .collect::<PathBuf>()
            .to_string_lossy()
            .into_owned();
    }
    data
}

/// Why a file cannot be simulated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum PlanError {
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
    /// Two sites with the same images.
    #[error(
        "simulate.sites: {0} and {1} have the same images (data.root and patterns): the same patients would train and judge, \
         or count twice"
    )]
    SameImages(String, String),
    /// A site without images, or with two kinds.
    #[error("simulate.sites: {0} needs either cases = N (phantoms) or a data table (folders)")]
    NoImages(String),
    /// `lacks` or `scanner` beside folders.
    #[error(
        "simulate.sites: {0} has a data table: lacks and scanner are for phantoms (leave sequences out by data.drop)"
    )]
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
    #[serde(default = "cpu")]
    device: String,
    #[serde(default)]
    phantom: toml::Table,
    sites: Vec<SiteText>,
}

fn one() -> usize {
    1
}

fn cpu() -> String {
    "cpu".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteText {
    name: String,
    role: Role,
    cases: Option<u32>,
    #[serde(default)]
    lacks: Vec<String>,
    scanner: Option<String>,
    device: Option<String>,
    data: Option<toml::Table>,
}

impl Plan {
    /// Puts the images of all training sites at one site called `pooled`, which does the work of
    /// all of them: as many steps, on all their threads.
    pub(crate) fn pooled(mut self) -> Self {
        let (train, mut rest): (Vec<_>, Vec<_>) = self
            .sites
            .into_iter()
            .partition(|site| site.role == Role::Train);
        let count = train.len();
        let images = Images::Pooled(
            train
                .into_iter()
                .map(|site| (site.name, site.images))
                .collect(),
        );
        rest.insert(
            0,
            PlannedSite {
                name: POOLED.into(),
                role: Role::Train,
                device: None,
                images,
            },
        );
        self.sites = rest;
        if let LocalWork::Steps(steps) = &mut self.federation.training.effort {
            *steps = steps.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        }
        let sites = &mut self.federation.sites;
        sites.expected = self.sites.iter().map(|site| site.name.clone()).collect();
        self.threads *= sites.concurrent.unwrap_or(1);
        (sites.minimum, sites.per_round, sites.concurrent) = (1, None, Some(1));
        // One site that does the work of all has nobody to keep up with.
        sites.deadline_s = None;
        self.federation.training.round_seconds = None;
        self.federation.buffered = None;
        self
    }

    /// How many threads a site of this part has. One that only scores mostly works while nobody
    /// else does.
    pub(crate) fn threads_of(&self, role: Role) -> usize {
        match role {
            Role::Train => self.threads,
            Role::Evaluate | Role::Validate => {
                self.threads * self.federation.sites.concurrent.unwrap_or(1)
            }
        }
    }

    /// Every cohort of phantoms to make: whose it is, and what the maker is told beside the name.
    pub(crate) fn cohorts(&self) -> impl Iterator<Item = (&str, &toml::Table)> {
        let own = self.sites.iter().flat_map(|site| match &site.images {
            Images::Pooled(all) => all
                .iter()
                .map(|(name, images)| (name.as_str(), images))
                .collect(),
            images => vec![(site.name.as_str(), images)],
        });
        own.filter_map(|(name, images)| match images {
            Images::Phantoms(table) => Some((name, table)),
            Images::Folders(_) | Images::Pooled(_) => None,
        })
    }

    /// Reads and checks a federation's file with its `[simulate]` table, for a machine with so many
    /// cores.
    ///
    /// # Errors
    /// [`PlanError`] names the key or the site.
    pub(crate) fn from_toml(text: &str, cores: usize) -> Result<Self, PlanError> {
        let mut federation = Federation::from_toml(text)?;
        let file: File =
            toml::from_str(text).map_err(|error| PlanError::Syntax(error.to_string()))?;
        let missing = "there is no [simulate] table: it names the sites to simulate";
        let simulate = file
            .simulate
            .ok_or_else(|| PlanError::Syntax(missing.into()))?;
        if simulate.threads == 0 {
            return Err(PlanError::NoThreads);
        }
        let known = &federation.input.sequences;
        let sites = simulate
            .sites
            .into_iter()
            .map(|site| site.check(known))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = sites.iter().find(|site| !names.insert(site.name.as_str())) {
            return Err(PlanError::SameName(twice.name.clone()));
        }
        for (index, site) in sites.iter().enumerate() {
            if let Some(other) = sites[..index]
                .iter()
                .find(|other| site.images.are_those_of(&other.images))
            {
                return Err(PlanError::SameImages(other.name.clone(), site.name.clone()));
            }
        }
        if !sites.iter().any(|site| site.role == Role::Train) {
            return Err(PlanError::NobodyTrains);
        }
        federation.sites.expected = sites.iter().map(|site| site.name.clone()).collect();
        federation
            .sites
            .concurrent
            .get_or_insert((cores / simulate.threads).max(1));
        let mut phantom = simulate.phantom;
        phantom.entry("seed").or_insert(toml::Value::Integer(
            (federation.seed & i64::MAX as u64) as i64,
        ));
        // Site names go into folders and certificates: the same rule as for typed ones.
        let federation = federation.check()?;
        Ok(Self {
            federation,
            text: text.into(),
            threads: simulate.threads,
            device: simulate.device,
            phantom,
            sites,
        })
    }
}

impl SiteText {
    fn check(self, known: &[String]) -> Result<PlannedSite, PlanError> {
        let foreign = self.lacks.iter().find(|name| !known.contains(name));
        if let Some(sequence) = foreign.cloned() {
            return Err(PlanError::UnknownSequence {
                site: self.name,
                sequence,
            });
        }
        let images = match (self.cases, self.data) {
            (Some(cases), None) if cases > 0 => {
                Images::Phantoms(phantoms(cases, self.lacks, self.scanner))
            }
            (None, Some(data)) if self.lacks.is_empty() && self.scanner.is_none() => {
                Images::Folders(data)
            }
            (None, Some(_)) => return Err(PlanError::LacksFolders(self.name)),
            _ => return Err(PlanError::NoImages(self.name)),
        };
        Ok(PlannedSite {
            name: self.name,
            role: self.role,
            device: self.device,
            images,
        })
    }
}

fn phantoms(cases: u32, lacks: Vec<String>, scanner: Option<String>) -> toml::Table {
    let mut table = toml::Table::new();
    table.insert("cases".into(), i64::from(cases).into());
    table.insert("lacks".into(), lacks.into());
    table.extend(scanner.map(|scanner| ("scanner".into(), scanner.into())));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = 'x'\nrounds = 1\n[input]\nsequences = ['bravo', 'flair']\n";
    const NORTH: &str =
        "[[simulate.sites]]\nname = 'north'\nrole = 'train'\ncases = 3\nlacks = ['flair']\n";

    fn plan(rest: &str) -> Result<Plan, PlanError> {
        Plan::from_toml(&format!("{HEAD}{rest}"), 4)
    }

    #[test]
    fn the_federation_expects_just_the_simulated_sites_and_shares_the_cores() {
        let folders = "[[simulate.sites]]\nname = 'south'\nrole = 'evaluate'\n[simulate.sites.data]\nroot = '/x'\n";
        let plan = plan(&format!("[simulate]\nthreads = 2\n{NORTH}{folders}")).unwrap();
        assert_eq!(plan.federation.sites.expected, ["north", "south"]);
        assert_eq!(plan.federation.sites.concurrent, Some(2));
        assert_eq!(
            [Role::Train, Role::Evaluate].map(|role| plan.threads_of(role)),
            [2, 4]
        );
        assert!(
            matches!(&plan.sites[0].images, Images::Phantoms(table) if table["cases"].as_integer() == Some(3))
        );
        assert!(
            matches!(&plan.sites[1].images, Images::Folders(table) if table["root"].as_str() == Some("/x"))
        );
    }

    #[test]
    fn a_pooled_site_has_everybodys_images_and_does_everybodys_work() {
        let south = NORTH.replace("north", "south");
        let held_out = NORTH
            .replace("north", "harbour")
            .replace("train", "evaluate");
        let text = format!("[training]\nsteps = 30\n[simulate]\n{NORTH}{south}{held_out}");
        let apart = plan(&text).unwrap();
        let names: Vec<String> = apart.cohorts().map(|(name, _)| name.to_owned()).collect();
        let pooled = apart.pooled();
        assert_eq!(pooled.federation.sites.expected, ["pooled", "harbour"]);
        assert_eq!(pooled.federation.training.effort, LocalWork::Steps(60));
        assert_eq!(
            (pooled.threads, pooled.federation.sites.concurrent),
            (4, Some(1))
        );
        assert_eq!(
            pooled
                .cohorts()
                .map(|(name, _)| name.to_owned())
                .collect::<Vec<_>>(),
            names
        );
        assert!(matches!(&pooled.sites[0].images, Images::Pooled(all) if all.len() == 2));
    }

    #[test]
    fn two_sites_with_the_same_images_are_refused_by_name() {
        let site = |name: &str, root: &str| {
            format!(
                "[[simulate.sites]]\nname = '{name}'\nrole = 'train'\n[simulate.sites.data]\nroot = '{root}'\n"
            )
        };
        for root in ["/mri/x", "/mri/x/", "/mri//x", "/mri/./x"] {
            let error = plan(&(site("north", "/mri/x") + &site("south", root))).unwrap_err();
            assert_eq!(
                error,
                PlanError::SameImages("north".into(), "south".into()),
                "{root}"
            );
        }
        assert!(plan(&(site("north", "/mri/x") + &site("south", "/mri/y"))).is_ok());
        let other = site("south", "/mri/x") + "label = '{case}/other.nii.gz'\n";
        assert!(
            plan(&(site("north", "/mri/x") + &other)).is_ok(),
            "other patterns below one root"
        );
    }

    #[test]
    fn what_cannot_be_simulated_is_named() {
        let more = |rest: &str| plan(&format!("{NORTH}{rest}")).unwrap_err().to_string();
        assert!(plan("").unwrap_err().to_string().contains("[simulate]"));
        assert!(more(NORTH).contains("\"north\" twice"));
        assert!(more("[simulate]\nthreads = 0\n").contains("threads"));
        assert!(
            more("[[simulate.sites]]\nname = 'b'\nrole = 'train'\n").contains("b needs either")
        );
        let both = "[[simulate.sites]]\nname = 'b'\nrole = 'train'\ndata = {}\nlacks = ['flair']\n";
        assert!(more(both).contains("data.drop"));
        assert!(
            plan(&NORTH.replace("['flair']", "['swi']"))
                .unwrap_err()
                .to_string()
                .contains("\"swi\"")
        );
        assert!(
            plan(&NORTH.replace("train", "evaluate"))
                .unwrap_err()
                .to_string()
                .contains("no site with role")
        );
        assert!(
            plan(&NORTH.replace("north", "../x"))
                .unwrap_err()
                .to_string()
                .contains("sites")
        );
        assert!(
            plan(&NORTH.replace("lacks", "lack"))
                .unwrap_err()
                .to_string()
                .contains("lack")
        );
    }
}
