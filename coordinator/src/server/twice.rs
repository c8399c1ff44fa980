//! A site that comes while a connection of its own stands: the same agent, whose line broke, or a
//! second one with the same certificate. The first must be let in at once; the second would throw
//! the first one out of its work.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the earlier connection may take to end by itself: an agent that comes again has ended
/// it a moment ago.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a sign of life is waited for. An agent that is there answers by itself, also while it
/// trains.
const SIGN: Duration = Duration::from_secs(2);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the agent of an earlier connection is there: `ask` makes it answer, `heard` counts what
/// came from it.
pub(super) async fn is_there(
    is_open: impl Fn() -> bool,
    heard: impl Fn() -> u64,
    ask: impl FnOnce(),
) -> bool {
    let until = Instant::now() + MOMENT;
    while Instant::now() < until {
        if !is_open() {
            return false;
        }
        sleep(LOOK).await;
    }
    // What was under way from before has arrived: now only somebody who is there is heard.
    let before = heard();
    ask();
    let until = Instant::now() + SIGN;
    while Instant::now() < until && is_open() {
        if heard() > before {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn only_an_agent_that_answers_is_there() {
        assert!(!is_there(|| false, || 0, || ()).await, "it has ended");
        assert!(
            !is_there(|| true, || 7, || ()).await,
            "nothing is heard of it"
        );
        let asked = Cell::new(0);
        assert!(is_there(|| true, || asked.get(), || asked.set(1)).await);
        // What came before it was asked says nothing.
        let looks = Cell::new(0);
        let early = || {
            looks.set(looks.get() + 1);
            true
        };
        assert!(!is_there(early, || u64::from(looks.get() > 5), || ()).await);
    }
}
