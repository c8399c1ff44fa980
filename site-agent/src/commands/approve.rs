//! The `approve` subcommand: a person at the site says yes to a federation, or to its changed
//! settings.

use crate::agent::SiteConfig;
use crate::policy::Approvals;
use program::{Class, Failure};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Arguments of `approve`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's settings, as `run` reads them.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Say yes without being asked, after the settings were printed.
    #[arg(long)]
    yes: bool,
}

/// Runs it.
///
/// # Errors
/// No federation waits for a yes, the person says no, or a disk fails.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = SiteConfig::read(&args.config)?;
    let approvals = Approvals::of_work_folder(&config.work_folder);
    let Some(proposal) = approvals.waiting()? else {
        let what = format!(
            "no federation waits for a yes in {}",
            config.work_folder.display()
        );
        let hint = "with policy.approval, `site-agent run` notes the federation that it meets";
        return Err(Failure::new(Class::Configuration, what).hint(hint));
    };
    let name = &proposal.federation;
    let before = approvals.before(name)?;
    match &before {
        None => println!("{name} is a new federation. All of its settings:"),
        Some(approval) => println!(
            "{name} has changed since the yes of {}:",
            httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(approval.at))
        ),
    }
    let lines = proposal.lines(before.as_ref().map(|approval| &approval.proposal));
    if lines.is_empty() {
        println!("no setting that this release knows");
    }
    for line in lines {
        println!("  {line}");
    }
    println!("hash of the settings: {}", proposal.settings);
    if !args.yes && !is_agreed()? {
        let what = format!("{name} was not approved, and this site does not work for it");
        return Err(Failure::new(Class::Configuration, what));
    }
    let at = SystemTime::now().duration_since(UNIX_EPOCH);
    let said = format!("{name} is approved: start the agent again with `site-agent run`");
    approvals.approve(proposal, at.unwrap_or_default().as_secs())?;
    println!("{said}");
    Ok(())
}

/// What the person at the terminal answers.
fn is_agreed() -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(
            Failure::new(Class::Configuration, "there is no terminal to ask at")
                .hint("--yes says yes to what is printed"),
        );
    }
    print!("May this site work for it with these settings? (yes or no) ");
    let mut answer = String::new();
    std::io::stdout()
        .flush()
        .and_then(|()| input.lock().read_line(&mut answer))
        .map_err(|error| Failure::new(Class::Configuration, error))?;
    Ok(answer.trim() == "yes")
}
