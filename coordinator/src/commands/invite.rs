//! The `invite` subcommand: prints the token with which one hospital joins.

use super::authority::{Place, Where};
use super::serve::DEFAULT_PORT;
use crate::certificates::{Authority, check_site_name, hosts};
use crate::members::{self, Invited, authority_of};
use program::{Class, Failure, private};
use protocol::case::Role;
use protocol::enrol::{Token, is_address};
use std::time::{Duration, SystemTime};

/// The longest time that a token may be valid.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Arguments of `invite`.
#[derive(clap::Args)]
pub struct Args {
    /// The site's name.
    site: String,
    #[command(flatten)]
    place: Where,
    /// How long the token is valid: minutes, hours or days, such as 30m, 48h or 7d.
    #[arg(long, value_name = "TIME", default_value = "48h", value_parser = duration)]
    expires: Duration,
    /// What the site is to do.
    #[arg(long, value_enum, default_value = "train")]
    role: RoleArgument,
    /// The address that the hospital reaches the coordinator by. Without it: the first name of the
    /// coordinator's certificate, and the port of serve.listen.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// A site's role on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RoleArgument {
    /// Trains, and keeps some cases for validation.
    Train,
    /// Never trains: the model is scored on its cases.
    Evaluate,
    /// Never trains: its cases help to choose thresholds and rounds.
    Validate,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Train => Self::Train,
            RoleArgument::Evaluate => Self::Evaluate,
            RoleArgument::Validate => Self::Validate,
        }
    }
}

/// Runs it.
///
/// # Errors
/// A site that would not be let in, an address that is not the coordinator's, or an authority that
/// cannot sign.
pub fn run(args: &Args) -> Result<(), Failure> {
    check_site_name(&args.site)?;
    let place = args.place.place()?;
    if let Some(listening) = &place.listening
        && !listening.expected.is_empty()
        && !listening.expected.iter().any(|name| *name == *args.site)
    {
        let what = format!("{} is not in sites.expected of these settings", args.site);
        let hint = "the coordinator would not let it in: add the name there first";
        return Err(Failure::new(Class::Configuration, what).hint(hint));
    }
    // A token is of no use where the coordinator cannot sign.
    let authority = Authority::of(place.file.folder())?;
    let of_coordinator = authority_of(&place.certificates)
        .map_err(|error| Failure::new(Class::Configuration, error))?;
    if authority.key_hash() != of_coordinator {
        let folder = place.file.folder().to_path_buf();
        return Err(members::MembersError::OtherAuthority { folder }.into());
    }
    let coordinator = address(args, &place)?;
    let now = members::now();
    let expires = now + args.expires.as_secs();
    let members = place.file.read()?;
    let was_revoked = members.is_revoked(&args.site);
    let valid_until = members.valid_until(&args.site, now);
    private::warn("the authority's key", &place.file.folder().join("ca.key"));
    let Invited { invitation, secret } =
        place
            .file
            .invite(&args.site, args.role.into(), now, expires)?;
    let token = Token {
        coordinator,
        fallback: place
            .listening
            .as_ref()
            .and_then(|listening| listening.fallback),
        authority: authority.key_hash(),
        invitation,
        secret,
    };
    if was_revoked {
        eprintln!(
            "{} was revoked; with this token it can join again.",
            args.site
        );
    }
    if let Some(until) = valid_until {
        eprintln!(
            "{site} has joined already. Its present certificate stays accepted until {until}, also \
             after it has joined with this token; if its key may be in other hands, `coordinator \
             revoke {site}` first, and then invite it.",
            site = args.site,
            until = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(until))
        );
    }
    eprintln!(
        "{} can join until {}, once, while the coordinator runs, with `site-agent join TOKEN`. \
         Send it this token over a channel that no one else can read:",
        args.site,
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(expires))
    );
    println!("{}", token.text());
    Ok(())
}

/// The address that a hospital is told: one that the coordinator's certificate names.
fn address(args: &Args, place: &Place) -> Result<String, Failure> {
    let hosts = hosts(&place.certificates)?;
    let wrong = |what: String| {
        Failure::new(Class::Configuration, what).hint(
            "give the address that hospitals reach the coordinator by with --address HOST:PORT",
        )
    };
    if let Some(address) = &args.address {
        let host = match address.rsplit_once(':') {
            Some((host, _)) => host.trim_start_matches('[').trim_end_matches(']'),
            None => address,
        };
        if !is_address(address) {
            return Err(wrong(format!("{address:?} is not HOST:PORT")));
        }
        if !hosts.iter().any(|known| known == host) {
            let what = format!(
                "{host} is not in the coordinator's certificate, which names {}",
                hosts.join(", ")
            );
            return Err(wrong(what));
        }
        return Ok(address.clone());
    }
    let port = match &place.listening {
        Some(listening) => listening.port,
        None => DEFAULT_PORT,
    };
    let Some(host) = hosts.first() else {
        return Err(wrong("the coordinator's certificate has no name".into()));
    };
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    if !is_address(&address) {
        return Err(wrong(format!("{address} is not an address to connect to")));
    }
    Ok(address)
}

/// A text that is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number with s, m, h or d, such as 48h, 30 days at most")]
struct NoTime;

/// A time such as `48h`.
fn duration(text: &str) -> Result<Duration, NoTime> {
    let seconds = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(NoTime),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| NoTime)?;
    let time = Duration::from_secs(count.saturating_mul(seconds));
    if time.is_zero() || time > LONGEST {
        return Err(NoTime);
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [
            ("1s", 1),
            ("30m", 1800),
            ("48h", 172_800),
            ("30d", 2_592_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for text in [
            "",
            "h",
            "48",
            "0h",
            "-1h",
            "31d",
            "1.5h",
            "48 h",
            "99999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
