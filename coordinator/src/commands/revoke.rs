//! The `revoke` subcommand: no certificate that a site has so far is accepted any more.

use super::authority::Where;
use crate::certificates::check_site_name;
use crate::members;
use crate::nearest::nearest;
use program::{Class, Failure};
use protocol::identity::SiteName;
use std::path::PathBuf;

/// Arguments of `revoke`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's name.
    site: String,
    #[command(flatten)]
    place: Where,
    /// Also where the authority's folder knows no site of this name.
    #[arg(long)]
    force: bool,
}

/// Runs it.
///
/// # Errors
/// An unknown site, or a disk that refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    check_site_name(&args.site)?;
    let file = args.place.known_place()?.file;
    let mut locked = file.lock()?;
    let folder: PathBuf = file.folder().join(&args.site);
    if !args.force && !locked.members.knows(&args.site) && !folder.is_dir() {
        let mut names: Vec<SiteName> = Vec::new();
        for name in locked.members.sites.keys() {
            names.extend(name.parse::<SiteName>());
        }
        let meant = match nearest(&args.site, &names) {
            Some(name) => format!(": did you mean {name}?"),
            None => String::new(),
        };
        let what = format!(
            "no site {} is known in {}{meant}",
            args.site,
            file.folder().display()
        );
        let hint = "`coordinator sites` lists them; --force revokes the name all the same";
        return Err(Failure::new(Class::Configuration, what).hint(hint));
    }
    locked.members.revoke(&args.site, members::now());
    locked.save()?;
    println!(
        "{site} is revoked in {record}: a running coordinator disconnects it within a second, and none lets \
         it in again. `coordinator drop {site}` also keeps rounds from waiting for it; \
         `coordinator invite {site}` lets it join again.",
        site = args.site,
        record = file.path().display()
    );
    Ok(())
}
