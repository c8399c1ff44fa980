//! The subcommands that steer a running federation: `stop`, `pause`, `resume` and `drop`.

use super::status::Where;
use program::{Class, Failure};

/// Arguments of `drop`.
#[derive(clap::Args)]
pub struct DropArgs {
    /// The site's name, as in its certificate.
    site: String,
    /// Also where too few training sites would be left, so that the federation would stop.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Where,
}

/// Asks the coordinator to stop as SIGTERM does.
///
/// # Errors
/// No coordinator, or one that refuses.
pub fn stop(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/stop")
}

/// Asks the coordinator to hand out no new tasks.
///
/// # Errors
/// As [`stop`].
pub fn pause(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/pause")
}

/// Asks the coordinator to hand out tasks again.
///
/// # Errors
/// As [`stop`].
pub fn resume(place: &Where) -> Result<(), Failure> {
    steer(place, "/control/resume")
}

/// Asks the coordinator to exclude a site.
///
/// # Errors
/// As [`stop`].
pub fn drop_site(args: &DropArgs) -> Result<(), Failure> {
    if !protocol::identity::is_valid_name(&args.site) {
        return Err(Failure::new(
            Class::Configuration,
            format!("{:?} is not a name that a site can have", args.site),
        ));
    }
    let force = if args.force { "/force" } else { "" };
    steer(&args.place, &format!("/control/drop/{}{force}", args.site))
}

fn steer(place: &Where, path: &str) -> Result<(), Failure> {
    println!("{}", crate::status::steer(&place.folder()?, path)?);
    Ok(())
}
