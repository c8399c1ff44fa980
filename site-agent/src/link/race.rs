//! UDP first, and the tunnel when UDP seems to be blocked.

use super::LinkError;

/// Returns the first of the two ways that reaches the coordinator. The tunnel is opened when
/// `patience` ends, or when UDP fails before. A refusal by either way is an answer: the other way
/// would bring the same one.
///
/// # Errors
/// A refusal, or why neither way reaches the coordinator.
pub(super) async fn race<T>(
    direct: impl Future<Output = Result<T, LinkError>>,
    tunnel: impl Future<Output = Result<T, LinkError>>,
    patience: impl Future<Output = ()>,
) -> Result<T, LinkError> {
    tokio::pin!(direct, tunnel);
    tokio::select! {
        outcome = &mut direct => match outcome {
            Err(udp) if udp.silent() => tunnel.await.map_err(|tls| neither(udp, tls)),
            answer => answer,
        },
        outcome = async { patience.await; (&mut tunnel).await } => match outcome {
            Err(tls) if tls.silent() => direct.await.map_err(|udp| neither(udp, tls)),
            answer => answer,
        },
    }
}

/// Both reasons, or only the one that is an answer.
fn neither(udp: LinkError, tls: LinkError) -> LinkError {
    match (udp, tls) {
        (
            LinkError::Unreachable {
                coordinator,
                reason,
            },
            tls,
        ) if tls.silent() => LinkError::Unreachable {
            coordinator,
            reason: format!("{reason} over UDP; {tls}"),
        },
        (udp, tls) if tls.silent() => udp,
        (_, tls) => tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    fn unreachable() -> LinkError {
        LinkError::Unreachable {
            coordinator: "host:4433".into(),
            reason: "no answer".into(),
        }
    }

    fn no_tunnel() -> LinkError {
        LinkError::Tunnel {
            address: "host:443".into(),
            reason: "connection refused".into(),
        }
    }

    fn refusal() -> LinkError {
        LinkError::Refused {
            reason: "a stranger".into(),
        }
    }

    /// The outcome after so many turns, the clock of these tests.
    async fn after<T>(turns: u32, outcome: T) -> T {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        outcome
    }

    #[tokio::test]
    async fn a_quick_answer_over_udp_begins_no_tunnel() {
        let unwanted = || async { panic!("a tunnel was begun") };
        assert_eq!(
            race(after(2, Ok("udp")), unwanted(), after(3, ()))
                .await
                .unwrap(),
            "udp"
        );
        let error = race(after(2, Err(refusal())), unwanted(), after(3, ()))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), refusal().to_string());
    }

    #[tokio::test]
    async fn when_udp_says_nothing_the_first_way_that_leads_there_wins() {
        assert_eq!(
            race(pending(), after(1, Ok("tls")), after(3, ()))
                .await
                .unwrap(),
            "tls"
        );
        assert_eq!(
            race(after(6, Ok("udp")), pending(), after(3, ()))
                .await
                .unwrap(),
            "udp"
        );
        assert_eq!(
            race(
                after(9, Ok("udp")),
                after(1, Err(no_tunnel())),
                after(3, ())
            )
            .await
            .unwrap(),
            "udp"
        );
        // What has failed is not waited for.
        assert_eq!(
            race(after(1, Err(unreachable())), after(1, Ok("tls")), pending())
                .await
                .unwrap(),
            "tls"
        );
    }

    #[tokio::test]
    async fn an_end_without_a_way_names_both_and_a_refusal_alone() {
        let both = "the coordinator at host:4433 cannot be reached: no answer over UDP; \
            no way through TLS at host:443: connection refused";
        for (udp, tls) in [(1, 9), (9, 1)] {
            let error = race::<()>(
                after(udp, Err(unreachable())),
                after(tls, Err(no_tunnel())),
                after(3, ()),
            )
            .await
            .unwrap_err();
            assert_eq!(error.to_string(), both);
            assert!(error.again());
            for (direct, tunnel) in [(refusal(), no_tunnel()), (unreachable(), refusal())] {
                let error = race::<()>(
                    after(udp, Err(direct)),
                    after(tls, Err(tunnel)),
                    after(3, ()),
                )
                .await
                .unwrap_err();
                assert_eq!(error.to_string(), refusal().to_string());
            }
        }
    }
}
