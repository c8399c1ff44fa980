//! Federations whose sites really train: a tiny network on a few phantoms.

use crate::program::done;
use crate::settings::SiteFile;
use crate::simulated::Setup;
use std::path::Path;

/// Draws two phantom patients into the folder `data` of a folder.
///
/// # Panics
/// When the folder cannot be written.
pub fn draw_patients(folder: &Path) {
    let size = ["--cases", "2", "--slices", "8", "--plane", "32"];
    done(
        "site-agent",
        &[&["phantom", "--out", "data", "--site", "north"], &size[..]].concat(),
        folder,
    );
}

/// As [`Setup::prepare`], with a network that trains in a moment on such patients.
///
/// # Panics
/// When the folder cannot be written.
#[must_use]
pub fn prepare(folder: &Path, sites: usize, rounds: u32) -> Setup {
    let model = "preset = 'tiny'\nwidth = 4\n[training]\nsteps = 2\nbatch = 4";
    let setup = Setup::prepare(folder, sites, rounds, model);
    let file = folder.join("coordinator.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let settings = settings.replace("[model]", "slices = 1\nplane = 32\n[model]");
    let settings = settings.replace("[evaluation]", "[evaluation]\nvalidation_share = 0.5");
    std::fs::write(file, settings).unwrap();
    setup
}

/// Writes `NAME.toml` for a site-agent that trains on the patients in a folder, in the work folder
/// `work-NAME`.
///
/// # Panics
/// When there are no patients.
pub fn write_site(setup: &Setup, name: &str, patients: &Path) {
    let data = std::fs::read_to_string(patients.join("data/data.toml")).unwrap();
    let file = SiteFile {
        coordinator: &setup.address.to_string(),
        certificates: &format!("pki/{name}"),
        role: "train",
        work_folder: &format!("work-{name}"),
        data: &data,
    };
    std::fs::write(setup.folder.join(format!("{name}.toml")), file.toml()).unwrap();
}
