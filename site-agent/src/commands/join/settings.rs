//! The settings file of a site that has joined.

use protocol::case::Role;
use std::path::Path;

/// What is written.
pub(super) struct Settings<'a> {
    pub(super) site: &'a str,
    pub(super) role: Role,
    pub(super) coordinator: &'a str,
    /// `host:port`, where the coordinator says one.
    pub(super) fallback: Option<&'a str>,
    pub(super) certificates: &'a str,
    /// The folder of the images, if it is known.
    pub(super) data: Option<&'a Path>,
    /// The `[data]` table, if the layout of the images is known.
    pub(super) table: Option<&'a str>,
}

impl Settings<'_> {
    pub(super) fn text(&self) -> String {
        let fallback = match self.fallback {
            Some(address) => format!("fallback = {}", quoted(address)),
            None => "# fallback = \"host:port\"".to_owned(),
        };
        let table = match self.table {
            Some(table) => table.to_owned(),
            None => self.example(),
        };
        format!(
            r#"# The settings of the site {site}, written by `site-agent join`.
#
#     site-agent doctor --config site.toml     checks them, the network and the images
#     site-agent run --config site.toml        takes part
#
# Relative paths are meant from this file's folder. All about the model is the coordinator's.

coordinator = {coordinator}
# TLS over TCP, where the network lets no UDP through. Without this key: the coordinator's host, port
# 443. "off": none.
{fallback}
# The key was made here and must not leave. The certificate is renewed by the agent.
certificates = {certificates}
# What this site was invited to do. The coordinator lets it in with no other role.
role = "{role}"
# Prepared cases, models, and skipped.json with the cases that cannot be used. Needs disk space.
work_folder = "work"
# cpu, cuda, cuda:N, vulkan or vulkan:N
device = "cpu"
# threads = 4                  # all cores without this key
# Pictures of the best, the median and the worst case. "off": none; "keep": only in
# work_folder/overlays; "send": also to the coordinator, for its report.
overlays = "keep"

# What this site permits; without it, whatever the federation's settings say. More keys are in
# docs/users/OPERATIONS.md.
# [policy]
# approval = "settings"        # a person must say yes (`site-agent approve`) to new or changed settings

# Where the images are. `site-agent inspect FOLDER` says what a folder holds.
{table}"#,
            site = self.site,
            coordinator = quoted(self.coordinator),
            certificates = quoted(self.certificates),
            role = self.role.word(),
        )
    }

    /// A table to be filled in.
    fn example(&self) -> String {
        let root = match self.data {
            Some(folder) => folder.display().to_string(),
            None => "images".to_owned(),
        };
        format!(
            r#"# One path pattern for each sequence that this site has. {{case}} is the case's folder or file
# name. Remove the lines of the others.
[data]
root = {}
label = "{{case}}/lesion.nii.gz"
lesion_labels = [1]              # the label values that mean lesion

[data.sequences]
bravo = "{{case}}/bravo.nii.gz"
t1_pre = "{{case}}/t1_pre.nii.gz"
t1_post = "{{case}}/t1_post.nii.gz"
flair = "{{case}}/flair.nii.gz"
"#,
            quoted(&root)
        )
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{FallbackAddress, SiteConfig};

    fn settings() -> Settings<'static> {
        Settings {
            site: "north",
            role: Role::Evaluate,
            coordinator: "lacuna.example.org:4433",
            fallback: None,
            certificates: "certificates",
            data: None,
            table: None,
        }
    }

    fn read(settings: &Settings<'_>) -> SiteConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, settings.text()).unwrap();
        let mut config = SiteConfig::read(&path).unwrap_or_else(|error| panic!("{error}"));
        for place in [&mut config.certificates, &mut config.work_folder] {
            *place = place.strip_prefix(folder.path()).unwrap().to_path_buf();
        }
        config
    }

    #[test]
    fn what_is_written_is_what_run_reads() {
        let config = read(&settings());
        assert_eq!(config.coordinator, "lacuna.example.org:4433");
        assert_eq!(config.fallback, FallbackAddress::Usual);
        assert_eq!(config.role, Role::Evaluate);
        assert_eq!(config.certificates, Path::new("certificates"));
        assert_eq!(config.work_folder, Path::new("work"));
        assert_eq!(
            config.data.sequences(),
            ["bravo", "flair", "t1_post", "t1_pre"]
        );
    }

    #[test]
    fn odd_folders_and_the_fallback_are_written_as_they_are() {
        let folder = Path::new("/srv/a \"b\" \\ {c}");
        let config = read(&Settings {
            fallback: Some("lacuna.example.org:8443"),
            data: Some(folder),
            ..settings()
        });
        let expected = FallbackAddress::At("lacuna.example.org:8443".into());
        assert_eq!(config.fallback, expected);
        let table = "[data]\nroot = '/x'\nlabel = '{case}/s.nii'\nlesion_labels = [2]\n\
            [data.sequences]\nflair = '{case}/f.nii'\n";
        let config = read(&Settings {
            table: Some(table),
            ..settings()
        });
        assert_eq!(config.data.sequences(), ["flair"]);
    }
}
