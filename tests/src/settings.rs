//! The text of settings: simulations with phantoms, and the files of sites.

use std::fmt::Write as _;

/// A federation that `coordinator simulate` trains within seconds: four sequences, planes of 32
/// pixels, the network `tiny` of width 4, batches of 4, and phantoms of 8 slices.
#[derive(Clone, Debug)]
pub struct Simulation<'a> {
    pub name: &'a str,
    pub seed: u64,
    pub rounds: u32,
    /// Slices of an example.
    pub slices: usize,
    /// Optimiser steps of a site in a round.
    pub steps: u32,
    pub validation_share: f32,
    pub sites: &'a [SimulatedSite<'a>],
}

/// A site of a [`Simulation`].
#[derive(Clone, Debug)]
pub struct SimulatedSite<'a> {
    name: &'a str,
    role: &'a str,
    cases: usize,
    lacks: &'a [&'a str],
    device: Option<&'a str>,
    scanner: Option<&'a str>,
}

impl Simulation<'_> {
    /// The settings as TOML.
    #[must_use]
    pub fn toml(&self) -> String {
        self.toml_with("")
    }

    /// The settings as TOML, with more settings before the first table.
    #[must_use]
    pub fn toml_with(&self, more: &str) -> String {
        let mut text = format!(
            "\
name = '{}'
seed = {}
rounds = {}
{more}

[input]
sequences = ['bravo', 't1_pre', 't1_post', 'flair']
slices = {}
plane = 32

[model]
preset = 'tiny'
width = 4

[training]
steps = {}
batch = 4

[evaluation]
validation_share = {:?}

[simulate.phantom]
plane = 32
slices = 8
",
            self.name, self.seed, self.rounds, self.slices, self.steps, self.validation_share
        );
        for site in self.sites {
            text += &site.toml();
        }
        text
    }
}

impl<'a> SimulatedSite<'a> {
    #[must_use]
    pub fn training(name: &'a str, cases: usize) -> Self {
        Self::new(name, "train", cases)
    }

    #[must_use]
    pub fn validating(name: &'a str, cases: usize) -> Self {
        Self::new(name, "validate", cases)
    }

    #[must_use]
    pub fn evaluating(name: &'a str, cases: usize) -> Self {
        Self::new(name, "evaluate", cases)
    }

    fn new(name: &'a str, role: &'a str, cases: usize) -> Self {
        Self {
            name,
            role,
            cases,
            lacks: &[],
            device: None,
            scanner: None,
        }
    }

    /// The sequences that the site never acquires.
    #[must_use]
    pub fn lacking(self, lacks: &'a [&'a str]) -> Self {
        Self { lacks, ..self }
    }

    #[must_use]
    pub fn on_device(self, device: &'a str) -> Self {
        let device = Some(device);
        Self { device, ..self }
    }

    #[must_use]
    pub fn with_scanner(self, scanner: &'a str) -> Self {
        let scanner = Some(scanner);
        Self { scanner, ..self }
    }

    fn toml(&self) -> String {
        let mut text = format!(
            "
[[simulate.sites]]
name = '{}'
role = '{}'
cases = {}
lacks = {:?}
",
            self.name, self.role, self.cases, self.lacks
        );
        // Writing to a string cannot fail.
        if let Some(device) = self.device {
            let _ = writeln!(text, "device = '{device}'");
        }
        if let Some(scanner) = self.scanner {
            let _ = writeln!(text, "scanner = '{scanner}'");
        }
        text
    }
}

/// The file of a site whose agent has one thread.
#[derive(Clone, Debug)]
pub struct SiteFile<'a> {
    pub coordinator: &'a str,
    /// The folder with the site's certificate and key.
    pub certificates: &'a str,
    pub role: &'a str,
    pub work_folder: &'a str,
    /// The `[data]` table with its heading.
    pub data: &'a str,
}

impl SiteFile<'_> {
    /// The file as TOML.
    #[must_use]
    pub fn toml(&self) -> String {
        format!(
            "\
coordinator = '{}'
certificates = '{}'
role = '{}'
work_folder = '{}'
threads = 1
{}",
            self.coordinator, self.certificates, self.role, self.work_folder, self.data
        )
    }
}
