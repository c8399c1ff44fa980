//! The `join` subcommand: a hospital becomes a site of a federation with one line.

mod settings;

use super::doctor;
use crate::inspect;
use crate::link::{self, Joined};
use program::{Class, Failure};
use protocol::case::Role;
use protocol::enrol::Token;
use settings::Settings;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// The files and folders that are written.
const SETTINGS: &str = "site.toml";
const CERTIFICATES: &str = "certificates";
/// Bytes of standard input that can be a token.
const LONGEST_INPUT: u64 = 4096;

/// Arguments of `join`.
#[derive(clap::Args)]
pub struct Args {
    /// The token that the federation's operator sent. It works once. Without it, or with "-", it
    /// is asked for, or read from standard input: other users of this machine see the arguments of
    /// commands.
    token: Option<String>,
    /// The folder of the images. Without it, it is asked for.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The folder to write: the key, the certificate and site.toml.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Runs it.
///
/// # Errors
/// A token that is mistyped or refused, no way to the coordinator, a folder in which a site of
/// another federation is, or something that `doctor` finds.
pub fn run(args: &Args) -> Result<(), Failure> {
    let token = match args.token.as_deref() {
        None | Some("-") => ask_for_token()?,
        Some(token) => token.to_owned(),
    };
    let token = Token::parse(&token).map_err(|error| {
        let what = format!("this is not a token: {error}");
        Failure::new(Class::Configuration, what)
            .hint("paste the line that the federation's operator sent, all of it")
    })?;
    // Without "./" in what is printed.
    let out = args.out.strip_prefix(".").unwrap_or(&args.out);
    let path = out.join(SETTINGS);
    let certificates = out.join(CERTIFICATES);
    let is_again = link::is_of_same_authority(&token, &certificates)?;
    if is_again == Some(false) || (is_again.is_none() && path.exists()) {
        let what = format!(
            "there is a site of another federation in {}",
            args.out.display()
        );
        let hint = "join in another folder (--out)";
        return Err(Failure::new(Class::Configuration, what).hint(hint));
    }
    // A site that joins once more, because its certificate has expired or was revoked, keeps its
    // settings. So does one whose first attempt broke off after the settings were written.
    let keeps_settings = path.exists();
    // Asked before the token is used up.
    let data = match &args.data {
        Some(_) if keeps_settings => {
            let what = format!("{} is there already and is kept", path.display());
            let hint = "leave --data out, and change the [data] table of that file instead";
            return Err(Failure::new(Class::Configuration, what).hint(hint));
        }
        Some(folder) => Some(folder.clone()),
        None if keeps_settings => None,
        None => ask_for_data()?,
    };
    if let Some(folder) = &data
        && !folder.is_dir()
    {
        let what = format!("there is no folder {}", folder.display());
        return Err(Failure::new(Class::Data, what).hint("--data is the folder of the images"));
    }
    println!("joining the federation at {}", token.coordinator);
    let runtime = program::threads::runtime(Some(2))?;
    let joined = runtime.block_on(link::join(&token, &certificates))?;
    let text = if keeps_settings {
        format!("{} stays as it was", path.display())
    } else {
        write_settings(&path, &token, &joined, data.as_deref())?
    };
    println!(
        "joined as {}, to {}: the key was made here and stays in {}\n{text}",
        joined.site,
        joined.role.unwrap_or(Role::Train).word(),
        certificates.display(),
    );
    println!(
        "checking with: site-agent doctor --config {}",
        path.display()
    );
    if let Err(found) = doctor::check(&path) {
        let what = format!("{} has joined; {}", joined.site, found.what);
        let hint = format!(
            "see above what to do; then run `site-agent doctor --config {}` again. The token is \
             not needed any more",
            path.display()
        );
        return Err(Failure::new(found.class, what).hint(hint));
    }
    println!("all is ready: site-agent run --config {}", path.display());
    Ok(())
}

/// Writes the settings, and says what their `[data]` table is.
fn write_settings(
    path: &Path,
    token: &Token,
    joined: &Joined,
    data: Option<&Path>,
) -> Result<String, Failure> {
    let found = match data {
        Some(folder) => inspect::data_table(folder)?,
        None => None,
    };
    let said = match (&found, data) {
        (Some(found), _) => format!("the images are laid out as in {}", found.layout),
        (None, Some(folder)) => format!(
            "the images in {} have no layout that is known: write the [data] table of {}",
            folder.display(),
            path.display()
        ),
        (None, None) => format!("write where the images are into {}", path.display()),
    };
    let settings = Settings {
        site: &joined.site,
        role: joined.role.unwrap_or(Role::Train),
        coordinator: &token.coordinator,
        fallback: joined.fallback.as_deref(),
        certificates: CERTIFICATES,
        data,
        table: found.as_ref().map(|found| found.table.as_str()),
    };
    let written = program::files::replace(path, |file| file.write_all(settings.text().as_bytes()));
    written.map_err(|error| Failure::new(Class::Disk, format!("{}: {error}", path.display())))?;
    Ok(said)
}

/// The token that the person at the terminal pastes, or what another program says.
fn ask_for_token() -> Result<String, Failure> {
    let input = std::io::stdin();
    let mut token = String::new();
    let read = if input.is_terminal() {
        print!("The token that the federation's operator sent: ");
        std::io::stdout()
            .flush()
            .and_then(|()| input.lock().read_line(&mut token))
    } else {
        // It may have been wrapped into several lines.
        input.lock().take(LONGEST_INPUT).read_to_string(&mut token)
    };
    read.map_err(|error| Failure::new(Class::Configuration, format!("no token: {error}")))?;
    Ok(token)
}

/// The folder that the person at the terminal names; `None` without a terminal or an answer.
fn ask_for_data() -> Result<Option<PathBuf>, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(None);
    }
    print!("Where are the images? (a folder; leave it empty to write it into site.toml later) ");
    let mut answer = String::new();
    let read = std::io::stdout()
        .flush()
        .and_then(|()| input.lock().read_line(&mut answer));
    read.map_err(|error| Failure::new(Class::Disk, error))?;
    match answer.trim() {
        "" => Ok(None),
        folder => Ok(Some(folder.into())),
    }
}
