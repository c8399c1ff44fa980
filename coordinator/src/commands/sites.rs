//! The `sites` subcommand: who was invited, who has joined, and who was revoked.

use super::authority::Where;
use crate::members::{self, MembersFile};
use program::{Class, Failure};
use protocol::enrol::{InvitationState, Members};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use transport::certificates::validity;

/// Arguments of `sites`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// A site that the authority's folder knows.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Row {
    role: Option<&'static str>,
    /// Seconds since 1970: when its newest certificate expires, if it has one that is accepted.
    certificate_until: Option<u64>,
    /// Whether that certificate is in a folder that `init` made.
    has_folder: bool,
    revoked: Option<u64>,
    invitation: Option<&'static str>,
    invitation_until: Option<u64>,
}

/// Runs it.
///
/// # Errors
/// The record of members cannot be read.
pub fn run(args: &Args) -> Result<(), Failure> {
    let file = args.place.known_place()?.file;
    let mut rows = rows(&file.read()?, members::now());
    add_folders(&mut rows, &file);
    if args.json {
        let text = serde_json::to_string_pretty(&rows);
        println!(
            "{}",
            text.map_err(|error| Failure::new(Class::Internal, error))?
        );
        return Ok(());
    }
    if rows.is_empty() {
        let folder = file.folder().display();
        println!("no site was invited yet in {folder}: `coordinator invite SITE`");
    }
    for (site, row) in &rows {
        println!("{site:20} {:10} {}", row.role.unwrap_or("-"), row.words());
    }
    Ok(())
}

fn rows(members: &Members, now: u64) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (site, member) in &members.sites {
        let row = rows.entry(site.clone()).or_default();
        row.role = member.role.map(protocol::case::Role::word);
        row.revoked = member.revoked;
        row.certificate_until = member
            .certificates
            .iter()
            .map(|certificate| certificate.until)
            .max();
    }
    for invitation in &members.invitations {
        let state = match invitation.state(now) {
            InvitationState::Open => "open",
            InvitationState::Expired => "expired",
            InvitationState::Closed => "closed after wrong attempts",
            // Then the site has joined.
            InvitationState::Used => continue,
        };
        let row = rows.entry(invitation.site.clone()).or_default();
        row.role = Some(invitation.role.word());
        row.invitation = Some(state);
        row.invitation_until = Some(invitation.expires);
    }
    rows
}

/// Adds the sites whose folders `init` made.
fn add_folders(rows: &mut BTreeMap<String, Row>, file: &MembersFile) {
    for entry in std::fs::read_dir(file.folder())
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(site) = entry.file_name().into_string() else {
            continue;
        };
        if crate::certificates::check_site_name(&site).is_err() {
            continue;
        }
        let Ok(validity) = validity(&entry.path().join("certificate.pem")) else {
            continue;
        };
        let row = rows.entry(site).or_default();
        row.has_folder = true;
        if row.revoked.is_none() {
            let until = members::seconds(validity.until);
            row.certificate_until = row.certificate_until.max(Some(until));
        }
    }
}

impl Row {
    fn words(&self) -> String {
        let mut words = Vec::new();
        match (self.certificate_until, self.has_folder) {
            (Some(until), false) => {
                words.push(format!("joined, certificate until {}", date(until)))
            }
            (Some(until), true) => {
                words.push(format!("has a certificate folder, until {}", date(until)));
            }
            (None, _) => {}
        }
        if let Some(revoked) = self.revoked {
            words.push(format!("revoked on {}", date(revoked)));
        }
        if let (Some(invitation), Some(until)) = (self.invitation, self.invitation_until) {
            words.push(format!("invitation {invitation}, until {}", date(until)));
        }
        words.join("; ")
    }
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::case::Role;
    use protocol::enrol::{Certificate, Site};

    #[test]
    fn each_site_is_listed_with_what_holds_for_it_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = MembersFile::of_authority(folder.path());
        let now = 1_800_000_000;
        file.invite("south", Role::Evaluate, now, now + 60).unwrap();
        let mut locked = file.lock().unwrap();
        for name in ["north", "west"] {
            let site = Site {
                name: name.into(),
                role: Some(Role::Train),
            };
            let certificate = Certificate {
                serial: "01".into(),
                until: now + 100,
                renews: None,
            };
            locked.members.certified(&site, certificate, now);
        }
        locked.members.revoke("west", now);
        locked.save().unwrap();
        let said = |at: u64| {
            let rows = rows(&file.read().unwrap(), at);
            rows.into_iter()
                .map(|(site, row)| format!("{site} {}", row.words()))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let text = said(now);
        assert!(text.contains("north joined, certificate until "), "{text}");
        assert!(text.contains("south invitation open, until "), "{text}");
        assert!(text.contains("west revoked on "), "{text}");
        assert!(said(now + 60).contains("south invitation expired"));
    }
}
