//! Which build of a program this is: for `--version`, logs and reports of bugs.

/// What tells one build of a program from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    pub version: &'static str,
    /// The commit that it was built from. A release's build says it with `LACUNA_COMMIT`; other
    /// builds do not know it.
    pub commit: Option<&'static str>,
    /// The version of the protocol: coordinator and site need the same.
    pub protocol: u32,
    /// What the program can compute on; empty for one that computes no network.
    pub devices: &'static [&'static str],
}

impl About {
    /// For `--version`: the version, and a line for each other fact.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut text = format!(
            "{}\ncommit: {}\nprotocol: {}",
            self.version,
            self.commit.unwrap_or("unknown"),
            self.protocol
        );
        if !self.devices.is_empty() {
            text += "\ndevices: ";
            text += &self.devices.join(", ");
        }
        text
    }

    /// For logs: everything in one line.
    #[must_use]
    pub fn line(&self) -> String {
        self.lines().replace('\n', ", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_what_it_knows() {
        let coordinator = About {
            version: "1.2.3",
            commit: Some("0123456789ab"),
            protocol: 6,
            devices: &[],
        };
        assert_eq!(
            coordinator.lines(),
            "1.2.3\ncommit: 0123456789ab\nprotocol: 6"
        );
        let site = About {
            commit: None,
            devices: &["cpu", "cuda"],
            ..coordinator
        };
        assert_eq!(
            site.line(),
            "1.2.3, commit: unknown, protocol: 6, devices: cpu, cuda"
        );
    }
}
