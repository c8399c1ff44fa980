//! The way to the coordinator: certificates, clocks, names, UDP, and the tunnel for where UDP is
//! blocked.

use super::Finding;
use crate::agent::{FallbackAddress, SiteConfig};
use crate::link::{Link, LinkConfig, LinkError, Probed, Validity, Way};
use program::private;
use program::{Class, Failure};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Days before its end from which on a certificate should be renewed.
const SOON: u64 = 30;
/// Seconds by which two clocks may differ: certificates count in days, but who reads logs compares
/// them.
const SKEW: u64 = 60;

/// What was heard on the ways to the coordinator.
struct Heard {
    /// Whether its name has an address.
    name: io::Result<usize>,
    udp: Result<Probed, LinkError>,
    tunnel: Tunnel,
}

/// What was heard through the tunnel.
enum Tunnel {
    /// The settings want none.
    Off,
    Asked {
        address: String,
        /// Whether it is named in the settings.
        named: bool,
        proxy: Option<String>,
        answer: Result<Probed, LinkError>,
    },
}

/// All of it, in the order of the list.
pub(super) fn findings(config: &SiteConfig) -> Vec<Finding> {
    let validity = match Link::check(&config.certificates) {
        Ok(validity) => validity,
        Err(error) => return vec![Finding::bad("certificates", error.into())],
    };
    let now = SystemTime::now();
    let certificates = certificates(config, validity, now);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let heard = match runtime.map(|runtime| runtime.block_on(ask(config, &config.link()))) {
        Ok(heard) => heard,
        Err(error) => {
            return vec![
                certificates,
                Finding::bad("udp", Failure::new(Class::Internal, error)),
            ];
        }
    };
    let clock = clock(validity, now, heard.tunnel.ahead());
    let known = [certificates, clock]
        .into_iter()
        .chain(key(&config.certificates.join("key.pem")));
    known.chain(ways(&config.coordinator, heard)).collect()
}

async fn ask(config: &SiteConfig, link: &LinkConfig) -> Heard {
    let name = async {
        tokio::net::lookup_host(&link.coordinator)
            .await
            .map(Iterator::count)
    };
    let tunnel = async {
        let Some(fallback) = &link.fallback else {
            return Tunnel::Off;
        };
        let (proxy, answer) = match Link::proxy(fallback) {
            Ok(proxy) => (proxy, Link::probe(link, Way::Tunnel).await),
            Err(error) => (None, Err(error)),
        };
        let named = config.fallback != FallbackAddress::Usual;
        Tunnel::Asked {
            address: fallback.address.clone(),
            named,
            proxy,
            answer,
        }
    };
    let (name, udp, tunnel) = tokio::join!(name, Link::probe(link, Way::Udp), tunnel);
    Heard { name, udp, tunnel }
}

impl Tunnel {
    fn works(&self) -> bool {
        matches!(self, Self::Asked { answer: Ok(_), .. })
    }

    fn ahead(&self) -> Option<i64> {
        if let Self::Asked {
            answer: Ok(probed), ..
        } = self
        {
            probed.ahead_s
        } else {
            None
        }
    }
}

fn certificates(config: &SiteConfig, validity: Validity, now: SystemTime) -> Finding {
    let (folder, until) = (
        config.certificates.display(),
        httpdate::fmt_http_date(validity.until),
    );
    let remedy = "`site-agent run` renews it before it ends, where the coordinator can; otherwise \
                  ask the federation for an invitation (docs/users/OPERATIONS.md)";
    match validity
        .until
        .duration_since(now)
        .map(|left| left.as_secs() / 86_400)
    {
        Ok(days @ ..SOON) => Finding::warning(
            "certificates",
            format!("{folder}, only {days} days left, until {until}"),
            remedy,
        ),
        Ok(days) => Finding::good("certificates", format!("{folder}, {days} days left")),
        Err(_) => Finding::bad(
            "certificates",
            Failure::new(
                Class::Configuration,
                format!("{folder}: this site's certificate ended on {until}"),
            )
            .hint(remedy),
        ),
    }
}

/// A key that others can read; nothing where none can.
fn key(path: &Path) -> Option<Finding> {
    let mode = private::open_to_others(path)?;
    let words = format!(
        "{} can be read by other users of this machine (mode {mode:o})",
        path.display()
    );
    let remedy = format!(
        "chmod 600 {}; if others may have read it, have this site revoked and invited again",
        path.display()
    );
    Some(Finding::warning("key", words, remedy))
}

fn clock(validity: Validity, now: SystemTime, ahead: Option<i64>) -> Finding {
    let here = httpdate::fmt_http_date(now);
    let remedy = "set this machine's clock, best by a time service (NTP)";
    if now < validity.from {
        let from = httpdate::fmt_http_date(validity.from);
        let words = format!("it is {here} here, and this site's certificate begins on {from}");
        return Finding::bad(
            "clock",
            Failure::new(Class::Configuration, words).hint(remedy),
        );
    }
    match ahead {
        Some(ahead) if ahead.unsigned_abs() > SKEW => {
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            let words = format!("{} seconds {side} the coordinator's", ahead.unsigned_abs());
            Finding::warning(
                "clock",
                words,
                format!("{remedy}, or ask whether the coordinator's is right"),
            )
        }
        Some(_) => Finding::good(
            "clock",
            format!("agrees with the coordinator's within {SKEW} seconds"),
        ),
        None => Finding::good(
            "clock",
            format!("{here}; the coordinator did not say what time it has"),
        ),
    }
}

/// What is bad of one way is only a warning when the other one leads there.
fn ways(coordinator: &str, heard: Heard) -> Vec<Finding> {
    let Heard { name, udp, tunnel } = heard;
    let (direct, around) = (udp.is_ok(), tunnel.works());
    let exchange = match (&udp, &tunnel) {
        (Ok(probed), _)
        | (
            Err(_),
            Tunnel::Asked {
                answer: Ok(probed), ..
            },
        ) => key_exchange(probed),
        (Err(_), Tunnel::Off | Tunnel::Asked { .. }) => None,
    };
    let name = match name {
        Ok(1..) => Finding::good("name", format!("{coordinator} is found")),
        outcome => {
            let reason = outcome.map_or_else(|error| error.to_string(), |_| "no address".into());
            let failure = Failure::new(
                Class::Configuration,
                format!("{coordinator} is not found: {reason}"),
            );
            Finding::bad_unless(
                "name",
                around,
                failure.hint("is it spelled right? Does this machine ask the right DNS?"),
            )
        }
    };
    let udp = match udp {
        Ok(_) => Finding::good(
            "udp",
            format!("{coordinator} answers over UDP and trusts this site"),
        ),
        Err(LinkError::Unreachable { reason, .. }) if around => Finding::warning(
            "udp",
            format!(
                "seems to be blocked: {coordinator}: {reason}. The TLS tunnel is used, which is \
                 slower"
            ),
            "ask the network's people to let UDP out to that port, and its answers in",
        ),
        Err(error) if around => Finding::warning(
            "udp",
            format!("not used: {error}"),
            "the TLS tunnel is used, which is slower",
        ),
        Err(error) => Finding::bad("udp", explained(error)),
    };
    let mut findings = vec![name, udp];
    findings.extend(exchange);
    findings.extend(detour(tunnel, direct));
    findings
}

/// The tunnel, and the proxy on its way.
fn detour(tunnel: Tunnel, direct: bool) -> [Finding; 2] {
    let (address, named, proxy, answer) = match tunnel {
        Tunnel::Asked {
            address,
            named,
            proxy,
            answer,
        } => (address, named, proxy, answer),
        Tunnel::Off => {
            let unused = Finding::good("proxy", "not used: the fallback is off");
            return [
                Finding::good("fallback", "off: this site uses UDP or nothing"),
                unused,
            ];
        }
    };
    let through = match (proxy, &answer) {
        (None, _) => Finding::good("proxy", format!("HTTPS_PROXY names none for {address}")),
        (Some(proxy), Err(LinkError::Proxy { reason, .. })) => {
            let error = LinkError::Proxy {
                proxy,
                address: address.clone(),
                reason: reason.clone(),
            };
            Finding::bad_unless("proxy", direct, error.into())
        }
        (Some(proxy), _) => Finding::good(
            "proxy",
            format!("{proxy} lets this site through to {address}"),
        ),
    };
    let fallback = match answer {
        Ok(_) => Finding::good(
            "fallback",
            format!("{address} carries QUIC through TLS over TCP"),
        ),
        Err(error) if direct && !named => Finding::good(
            "fallback",
            format!("{error}; not needed while UDP gets through"),
        ),
        Err(LinkError::Proxy { .. }) => {
            let words = format!("{address} was not reached: see proxy");
            Finding::bad_unless("fallback", direct, Failure::new(Class::Federation, words))
        }
        Err(error) => Finding::bad_unless("fallback", direct, error.into()),
    };
    [through, fallback]
}

/// The group that keys were exchanged in. One with a part for the time of quantum computers is
/// preferred: what is recorded today cannot be read then.
fn key_exchange(probed: &Probed) -> Option<Finding> {
    let group = probed.key_exchange.as_ref()?;
    Some(if group.contains("MLKEM") {
        Finding::good(
            "key exchange",
            format!("{group}, also safe from quantum computers"),
        )
    } else {
        Finding::warning(
            "key exchange",
            format!("{group}, which a quantum computer could break"),
            "use the same release of both programs",
        )
    })
}

/// A site that has no connection yet needs to hear more than one that has lost one.
fn explained(error: LinkError) -> Failure {
    let silent = matches!(error, LinkError::Unreachable { .. });
    let failure = Failure::from(error);
    if silent {
        failure.hint(
            "is the coordinator running? May this machine send UDP to that port, and do answers \
             come back through the firewall?",
        )
    } else {
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;
    use std::time::Duration;

    fn heard(udp: bool, tunnel: bool, named: bool) -> Heard {
        let silent = || LinkError::Unreachable {
            coordinator: "host:4433".into(),
            reason: "no answer".into(),
        };
        let shut = || LinkError::Tunnel {
            address: "host:443".into(),
            reason: "connection refused".into(),
        };
        let probed = Probed {
            ahead_s: Some(2),
            key_exchange: Some("X25519MLKEM768".into()),
        };
        let answer = if tunnel {
            Ok(probed.clone())
        } else {
            Err(shut())
        };
        let udp = if udp { Ok(probed) } else { Err(silent()) };
        Heard {
            name: Ok(1),
            udp,
            tunnel: Tunnel::Asked {
                address: "host:443".into(),
                named,
                proxy: None,
                answer,
            },
        }
    }

    /// What is said of `check`.
    fn said(findings: Vec<Finding>, check: &str) -> (State, String, Option<Class>) {
        let finding = findings
            .into_iter()
            .find(|finding| finding.check == check)
            .unwrap();
        let class = (!finding.good).then_some(finding.class);
        (finding.state, finding.line(), class)
    }

    #[test]
    fn one_way_is_enough_and_none_is_a_failure() {
        let state =
            |udp, tunnel, named, check| said(ways("host:4433", heard(udp, tunnel, named)), check);
        for named in [true, false] {
            assert_eq!(state(true, true, named, "udp").0, State::Ok);
            assert_eq!(state(true, true, named, "fallback").0, State::Ok);
            let (blocked, words, class) = state(false, true, named, "udp");
            assert_eq!((blocked, class), (State::Warning, None));
            assert!(
                words.contains("seems to be blocked") && words.contains("let UDP out"),
                "{words}"
            );
            assert_eq!(state(false, false, named, "udp").2, Some(Class::Federation));
            assert_eq!(
                state(false, false, named, "fallback").2,
                Some(Class::Federation)
            );
        }
        // A site that names a fallback wants to hear that it does not work; others may never need one.
        assert_eq!(state(true, false, true, "fallback").0, State::Warning);
        assert_eq!(state(true, false, false, "fallback").0, State::Ok);
    }

    #[test]
    fn the_key_exchange_is_shown_of_the_way_that_works() {
        for (udp, tunnel) in [(true, true), (true, false), (false, true)] {
            let found = ways("host:4433", heard(udp, tunnel, true));
            let (state, words, _) = said(found, "key exchange");
            assert_eq!(state, State::Ok);
            assert!(words.contains("X25519MLKEM768"), "{words}");
        }
        let mut old = heard(true, false, true);
        old.udp = Ok(Probed {
            ahead_s: None,
            key_exchange: Some("X25519".into()),
        });
        assert_eq!(
            said(ways("host:4433", old), "key exchange").0,
            State::Warning
        );
    }

    #[test]
    fn a_proxy_that_refuses_is_told_from_what_is_behind_it() {
        let mut asked = heard(false, false, true);
        let refusing = |answer| Tunnel::Asked {
            address: "host:443".into(),
            named: true,
            proxy: Some("proxy:3128".into()),
            answer,
        };
        let reason = "it wants another user name or password".to_owned();
        let error = LinkError::Proxy {
            proxy: "proxy:3128".into(),
            address: "host:443".into(),
            reason,
        };
        asked.tunnel = refusing(Err(error));
        let (state, words, class) = said(ways("host:4433", asked), "proxy");
        assert_eq!((state, class), (State::Failure, Some(Class::Federation)));
        assert!(
            words.contains("password") && words.contains("HTTPS_PROXY"),
            "{words}"
        );
        let mut asked = heard(false, false, true);
        asked.tunnel = refusing(Err(LinkError::Tunnel {
            address: "host:443".into(),
            reason: "TLS".into(),
        }));
        assert_eq!(said(ways("host:4433", asked), "proxy").0, State::Ok);
    }

    #[test]
    fn a_name_that_only_the_proxy_knows_is_a_warning() {
        let unknown = || Err(io::Error::other("unknown"));
        let (state, _, class) = said(
            ways(
                "host:4433",
                Heard {
                    name: unknown(),
                    ..heard(false, true, true)
                },
            ),
            "name",
        );
        assert_eq!((state, class), (State::Warning, None));
        let (_, _, class) = said(
            ways(
                "host:4433",
                Heard {
                    name: unknown(),
                    ..heard(false, false, true)
                },
            ),
            "name",
        );
        assert_eq!(class, Some(Class::Configuration));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_a_warning_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, "secret").unwrap();
        for (mode, warned) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o644, true),
            (0o602, true),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = key(&path);
            assert_eq!(finding.is_some(), warned, "{mode:o}");
            if let Some(finding) = finding {
                assert!(
                    finding.state == State::Warning && finding.line().contains("chmod 600"),
                    "{}",
                    finding.line()
                );
            }
        }
    }

    #[test]
    fn clocks_and_certificates_are_judged_by_the_days_they_have() {
        let day = |days: u64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + days * 86_400)
        };
        let validity = Validity {
            from: day(10),
            until: day(100),
        };
        let table = "coordinator = 'host:4433'\ncertificates = 'pki'\nrole = \
                     'train'\nwork_folder = 'work'\n[data]\nroot = 'mri'\nsequences = { flair = \
                     '{case}/flair.nii.gz' }\nlabel = '{case}/seg.nii.gz'\nlesion_labels = [1]\n";
        let config: SiteConfig = toml::from_str(table).unwrap();
        let states =
            [10, 69, 70, 71, 101].map(|now| certificates(&config, validity, day(now)).state);
        assert_eq!(
            states,
            [
                State::Ok,
                State::Ok,
                State::Ok,
                State::Warning,
                State::Failure
            ]
        );
        assert_eq!(clock(validity, day(9), Some(0)).state, State::Failure);
        let skews = [None, Some(0), Some(-60), Some(61), Some(-61)]
            .map(|ahead| clock(validity, day(50), ahead).state);
        assert_eq!(
            skews,
            [
                State::Ok,
                State::Ok,
                State::Ok,
                State::Warning,
                State::Warning
            ]
        );
        assert!(
            clock(validity, day(50), Some(-90))
                .words
                .contains("90 seconds behind")
        );
    }
}
