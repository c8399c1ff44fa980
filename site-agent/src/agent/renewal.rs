//! Renews the site's certificate before it expires, also in the middle of a round.

use crate::link::{self, LinkConfig, Validity};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::sleep;
use transport::certificates::validity;

/// The longest time without a look at the certificate: it may be replaced by hand, and a machine
/// that sleeps does not count this time.
const LOOK: Duration = Duration::from_secs(3600);
/// The shortest and the longest pause after a renewal that failed; the shortest after any.
const SHORTEST_PAUSE: Duration = Duration::from_secs(600);
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// Renews in the background, for as long as the receiver is held. Each message says that the
/// certificate was renewed.
pub(super) fn start(link: LinkConfig) -> mpsc::Receiver<()> {
    let (tell, renewed) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = renew_always(&link, &tell) => {}
            () = tell.closed() => {}
        }
    });
    renewed
}

async fn renew_always(link: &LinkConfig, tell: &mpsc::Sender<()>) {
    loop {
        let validity = match validity(&link.certificates.join("certificate.pem")) {
            Ok(validity) => validity,
            Err(error) => {
                tracing::warn!(%error, "it is not known when the certificate expires");
                sleep(LOOK).await;
                continue;
            }
        };
        let wait = until_due(validity, SystemTime::now());
        if !wait.is_zero() {
            sleep(wait.min(LOOK)).await;
            continue;
        }
        match link::renew(link).await {
            Ok(()) => {
                tracing::info!("the certificate was renewed; connecting again with it");
                if tell.send(()).await.is_err() {
                    return;
                }
                // If the new one is due already, because a clock is wrong, others must not be kept
                // busy by that.
                sleep(SHORTEST_PAUSE).await;
            }
            Err(error) => {
                let until = httpdate::fmt_http_date(validity.until);
                tracing::warn!(
                    %error,
                    "the certificate was not renewed: the one before stays in use and is valid \
                     until {until}. Trying again later"
                );
                sleep(pause(validity, SystemTime::now())).await;
            }
        }
    }
}

/// How long until a certificate is to be renewed: when a third of its time is left.
fn until_due(validity: Validity, now: SystemTime) -> Duration {
    let Ok(lifetime) = validity.until.duration_since(validity.from) else {
        return LOOK;
    };
    let due = validity.until - lifetime / 3;
    due.duration_since(now).unwrap_or_default()
}

/// How long to wait after a renewal that failed: the hundredth part of the time that is left.
fn pause(validity: Validity, now: SystemTime) -> Duration {
    let left = validity.until.duration_since(now).unwrap_or_default();
    (left / 100).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * day);
        let validity = Validity {
            from: day(1000),
            until: day(1090),
        };
        let days = |days: u64| Duration::from_secs(86_400 * days);
        assert_eq!(until_due(validity, day(1000)), days(60));
        assert_eq!(until_due(validity, day(1059)), days(1));
        for now in [1060, 1089, 1091] {
            assert_eq!(until_due(validity, day(now)), Duration::ZERO);
        }
        assert_eq!(pause(validity, day(1060)), days(30) / 100);
        assert_eq!(pause(validity, day(1089)), days(1) / 100);
        assert_eq!(pause(validity, day(1091)), SHORTEST_PAUSE);
        let backwards = Validity {
            from: day(2),
            until: day(1),
        };
        assert_eq!(until_due(backwards, day(5)), LOOK);
    }
}
