//! A site that connects while it has a connection already: either the same agent, whose connection
//! broke, or a second agent with the same certificate. The first must be admitted at once; the
//! second would take the first one's work away.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the earlier connection may take to end by itself: an agent that reconnects has just
/// ended it.
const MOMENT: Duration = Duration::from_secs(1);
/// How long to wait for an answer. An agent that is there answers by itself, also while it trains.
const ANSWER: Duration = Duration::from_secs(2);
/// How often to look.
const INTERVAL: Duration = Duration::from_millis(50);

/// Whether the agent of an earlier connection still answers: `ask` sends it something that it must
/// answer, and `received` counts the datagrams that came from it.
pub(super) async fn answers(
    is_open: impl Fn() -> bool,
    received: impl Fn() -> u64,
    ask: impl FnOnce(),
) -> bool {
    let until = Instant::now() + MOMENT;
    while Instant::now() < until {
        if !is_open() {
            return false;
        }
        sleep(INTERVAL).await;
    }
    // Datagrams from before have arrived by now, so a new one means that the agent is there.
    let before = received();
    ask();
    let until = Instant::now() + ANSWER;
    while Instant::now() < until && is_open() {
        if received() > before {
            return true;
        }
        sleep(INTERVAL).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn only_an_agent_that_answers_is_there() {
        assert!(!answers(|| false, || 0, || ()).await, "it has ended");
        assert!(
            !answers(|| true, || 7, || ()).await,
            "nothing is heard of it"
        );
        let asked = Cell::new(0);
        assert!(answers(|| true, || asked.get(), || asked.set(1)).await);
        // What came before it was asked says nothing.
        let looks = Cell::new(0);
        let early = || {
            looks.set(looks.get() + 1);
            true
        };
        assert!(!answers(early, || u64::from(looks.get() > 5), || ()).await);
    }
}
