//! The `[simulate]` table: which sites there are, and where their images come from.

use protocol::case::Role;
use protocol::identity::{InvalidSiteName, SiteName};
use protocol::settings::{Federation, LocalWork, SettingsError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The checked settings of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The federation's settings; its sites are those below.
    pub(crate) federation: Federation,
    /// The text of the settings file.
    pub(crate) text: String,
    /// Threads of each site.
    pub(crate) threads: usize,
    /// What each site computes on.
    pub(crate) device: String,
    /// The settings of `site-agent phantom` for all sites.
    pub(crate) phantom: toml::Table,
    pub(crate) sites: Vec<PlannedSite>,
}

/// The site that has the images of all training sites.
const POOLED: &str = "pooled";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedSite {
    pub(crate) name: SiteName,
    pub(crate) role: Role,
    /// What it computes on, where it differs from the other sites.
    pub(crate) device: Option<String>,
    pub(crate) images: Images,
}

/// Where a site's images come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Images {
    /// Phantoms, made for this run: the settings of `site-agent phantom` for this site, without its
    /// name.
    Phantoms(toml::Table),
    /// Existing folders: a site's `[data]` table.
    Folders(toml::Table),
    /// The images of several sites at one site, by the sites' names.
    Pooled(Vec<(SiteName, Images)>),
}

impl Images {
    /// Whether both have some of the same images: the same patterns below the same folder, however
    /// it is written, and no lists of cases that have nothing in common.
    fn share_images_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folders(one), Self::Folders(two)) => {
                let (one, one_cases) = normalised(one);
                let (two, two_cases) = normalised(two);
                let all = one_cases.is_empty() || two_cases.is_empty();
                let in_common = one_cases.iter().any(|case| two_cases.contains(case));
                one == two && (all || in_common)
            }
            _ => false,
        }
    }
}

/// The table with its root in its shortest spelling and without the list of cases, and that list.
fn normalised(data: &toml::Table) -> (toml::Table, Vec<toml::Value>) {
    let mut data = data.clone();
    if let Some(toml::Value::String(root)) = data.get_mut("root") {
        // `components` leaves out `.` and doubled or trailing slashes.
        let shortest: PathBuf = Path::new(root.as_str()).components().collect();
        let folder = shortest.canonicalize().unwrap_or(shortest);
        *root = folder.to_string_lossy().into_owned();
    }
    let cases = match data.remove("cases") {
        Some(toml::Value::Array(cases)) => cases,
        _ => Vec::new(),
    };
    (data, cases)
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The table is missing, has an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    #[error("simulate.sites: {0}")]
    Name(#[from] InvalidSiteName),
    #[error("simulate.sites has no site with role = \"train\"")]
    NoTrainingSite,
    #[error("simulate.sites names \"{0}\" twice")]
    SameName(SiteName),
    #[error(
        "simulate.sites: {0} and {1} have the same images (data.root, patterns and cases): the \
         same patients would train and evaluate, or count twice"
    )]
    SameImages(SiteName, SiteName),
    #[error("simulate.sites: {0} needs either cases = N (phantoms) or a data table (folders)")]
    NoImages(SiteName),
    /// `lacks` or `scanner` together with folders.
    #[error(
        "simulate.sites: {0} has a data table: lacks and scanner are for phantoms (leave \
         sequences out by data.drop)"
    )]
    LacksFolders(SiteName),
    #[error("simulate.sites: {site} lacks {sequence:?}, which is not in input.sequences")]
    UnknownSequence { site: SiteName, sequence: String },
    #[error("simulate.threads is 0; expected at least 1")]
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
    ///
    /// # Errors
    /// [`PlanError::Name`].
    pub(crate) fn pooled(mut self) -> Result<Self, PlanError> {
        let mut images = Vec::new();
        let mut others = Vec::new();
        for site in self.sites {
            if site.role == Role::Train {
                images.push((site.name, site.images));
            } else {
                others.push(site);
            }
        }
        let count = images.len();
        self.sites = vec![PlannedSite {
            name: POOLED.parse()?,
            role: Role::Train,
            device: None,
            images: Images::Pooled(images),
        }];
        self.sites.extend(others);
        if let LocalWork::Steps(steps) = &mut self.federation.training.effort {
            *steps = steps.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        }
        let sites = &mut self.federation.sites;
        sites.expected = self.sites.iter().map(|site| site.name.clone()).collect();
        self.threads *= sites.concurrent.unwrap_or(1);
        sites.minimum = 1;
        sites.per_round = None;
        sites.concurrent = Some(1);
        // A single training site needs none of the means against slow sites.
        sites.deadline_s = None;
        self.federation.training.round_seconds = None;
        self.federation.buffered = None;
        Ok(self)
    }

    /// How many threads a site of this role has. A site that only scores mostly works while no
    /// other site does.
    pub(crate) fn threads_of(&self, role: Role) -> usize {
        match role {
            Role::Train => self.threads,
            Role::Evaluate | Role::Validate => {
                self.threads * self.federation.sites.concurrent.unwrap_or(1)
            }
        }
    }

    /// Every cohort of phantoms to make: the site's name, and the settings of `site-agent phantom`
    /// for it.
    pub(crate) fn cohorts(&self) -> impl Iterator<Item = (&str, &toml::Table)> {
        let mut cohorts = Vec::new();
        for site in &self.sites {
            match &site.images {
                Images::Phantoms(table) => cohorts.push((site.name.as_str(), table)),
                Images::Folders(_) => {}
                Images::Pooled(all) => {
                    for (name, images) in all {
                        if let Images::Phantoms(table) = images {
                            cohorts.push((name.as_str(), table));
                        }
                    }
                }
            }
        }
        cohorts.into_iter()
    }

    /// Reads and checks a federation's settings with their `[simulate]` table, for a machine with
    /// this many cores.
    ///
    /// # Errors
    /// [`PlanError`] names the key or the site.
    pub(crate) fn from_toml(text: &str, cores: usize) -> Result<Self, PlanError> {
        let mut federation = Federation::from_toml(text)?;
        let file: File =
            toml::from_str(text).map_err(|error| PlanError::Syntax(error.to_string()))?;
        let Some(simulate) = file.simulate else {
            let what = "there is no [simulate] table: it names the sites to simulate";
            return Err(PlanError::Syntax(what.into()));
        };
        if simulate.threads == 0 {
            return Err(PlanError::NoThreads);
        }
        let known = &federation.input.sequences;
        let mut sites: Vec<PlannedSite> = Vec::new();
        for site in simulate.sites {
            sites.push(site.check(known)?);
        }
        for (index, site) in sites.iter().enumerate() {
            for other in &sites[..index] {
                if site.name == other.name {
                    return Err(PlanError::SameName(site.name.clone()));
                }
            }
        }
        for (index, site) in sites.iter().enumerate() {
            for other in &sites[..index] {
                if site.images.share_images_with(&other.images) {
                    return Err(PlanError::SameImages(other.name.clone(), site.name.clone()));
                }
            }
        }
        let trains = sites.iter().any(|site| site.role == Role::Train);
        if !trains && federation.rounds > 0 {
            return Err(PlanError::NoTrainingSite);
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
        let name: SiteName = self.name.parse()?;
        let foreign = self.lacks.iter().find(|name| !known.contains(name));
        if let Some(sequence) = foreign.cloned() {
            return Err(PlanError::UnknownSequence {
                site: name,
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
            (None, Some(_)) => return Err(PlanError::LacksFolders(name)),
            _ => return Err(PlanError::NoImages(name)),
        };
        Ok(PlannedSite {
            name,
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
        let folders = "[[simulate.sites]]\nname = 'south'\nrole = \
                       'evaluate'\n[simulate.sites.data]\nroot = '/x'\n";
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
        let pooled = apart.pooled().unwrap();
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
                "[[simulate.sites]]\nname = '{name}'\nrole = \
                 'train'\n[simulate.sites.data]\nroot = '{root}'\n"
            )
        };
        for root in ["/mri/x", "/mri/x/", "/mri//x", "/mri/./x"] {
            let error = plan(&(site("north", "/mri/x") + &site("south", root))).unwrap_err();
            assert_eq!(
                error,
                PlanError::SameImages("north".parse().unwrap(), "south".parse().unwrap()),
                "{root}"
            );
        }
        assert!(plan(&(site("north", "/mri/x") + &site("south", "/mri/y"))).is_ok());
        let listed = |name: &str, cases: &str| site(name, "/mri/x") + &format!("cases = {cases}\n");
        assert!(plan(&(listed("north", "['a', 'b']") + &listed("south", "['c']"))).is_ok());
        assert!(plan(&(listed("north", "['a', 'b']") + &listed("south", "['b', 'c']"))).is_err());
        assert!(plan(&(site("north", "/mri/x") + &listed("south", "['c']"))).is_err());
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
