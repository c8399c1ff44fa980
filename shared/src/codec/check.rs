//! What a well-spelt message must also fulfil. Messages come from machines that may be broken or hostile.

use super::CodecError;
use crate::message::{CoordinatorMessage, Hello, SiteMessage, Trained};
use crate::score::{AtThreshold, CaseScore};
use crate::sequence::{MAX_SEQUENCES, SequenceSet};

type Checked = Result<(), CodecError>;

const SITE: &str = "site message";
const COORDINATOR: &str = "coordinator message";

pub(super) fn site_message(message: &SiteMessage) -> Checked {
    match message {
        SiteMessage::Hello(hello) => check_hello(hello),
        SiteMessage::Ready(inventory) => check_set(inventory.sequences),
        SiteMessage::Trained(trained) => check_trained(trained),
        SiteMessage::Scored { score, .. } => check_score(score),
        SiteMessage::Failed { reason, .. } => check_text(SITE, "reason", reason),
        SiteMessage::Progress(_) | SiteMessage::Preparing { .. } | SiteMessage::Evaluated { .. } => Ok(()),
    }
}

pub(super) fn coordinator_message(message: &CoordinatorMessage) -> Checked {
    match message {
        CoordinatorMessage::Welcome { federation, site } => {
            check_text(COORDINATOR, "site", site)?;
            federation.as_ref().clone().check()?;
            Ok(())
        }
        CoordinatorMessage::Refused { reason } => check_text(COORDINATOR, "reason", reason),
        CoordinatorMessage::Finished { summary } => check_text(COORDINATOR, "summary", summary),
        CoordinatorMessage::Train { .. } => Ok(()),
        CoordinatorMessage::Evaluate { thresholds, .. } => {
            let sound = thresholds.iter().all(|&threshold| is_probability(threshold));
            ensure(sound, COORDINATOR, "thresholds", "not all probabilities")
        }
    }
}

fn check_hello(hello: &Hello) -> Checked {
    ensure(hello.sequences.len() <= MAX_SEQUENCES, SITE, "sequences", "too long")?;
    check_text(SITE, "software", &hello.software)?;
    hello.sequences.iter().try_for_each(|name| check_text(SITE, "sequences", name))
}

fn check_trained(trained: &Trained) -> Checked {
    check_set(trained.sequences)?;
    let numbers = [trained.mean_loss, trained.last_loss, trained.seconds];
    ensure(numbers.iter().all(|number| number.is_finite()), SITE, "loss or seconds", "not finite")
}

fn check_score(score: &CaseScore) -> Checked {
    check_set(score.subset)?;
    ensure(!score.subset.is_empty(), SITE, "subset", "empty")?;
    let volume = score.voxel_mm3;
    ensure(volume.is_finite() && volume > 0.0, SITE, "voxel_mm3", "not a volume")?;
    score.brain.check()?;
    score.outside.check()?;
    score.at.iter().try_for_each(check_counts)
}

/// Far more than any scanner gives (16384 cubed), and few enough that sums over millions of cases stay in a `u64`.
const MAX_VOXELS: u64 = 1 << 42;

fn check_counts(at: &AtThreshold) -> Checked {
    ensure(is_probability(at.threshold), SITE, "threshold", "not a probability")?;
    let counts = [at.true_positive, at.false_positive, at.false_negative];
    ensure(counts.iter().all(|&count| count <= MAX_VOXELS), SITE, "counts", "more voxels than a volume has")?;
    let lesions = &at.lesions;
    let sound = lesions.detected <= lesions.reference
        && lesions.false_positive <= lesions.predicted
        && lesions.false_positive_10mm3 <= lesions.false_positive;
    ensure(sound, SITE, "lesions", "a part larger than its whole")
}

fn check_set(set: SequenceSet) -> Checked {
    let known = SequenceSet::from_bits(set.bits()) == set;
    ensure(known, SITE, "sequence set", "wider than any federation")
}

/// Texts end up on terminals and in logs: no escape sequences, no invented log lines.
fn check_text(what: &'static str, field: &'static str, text: &str) -> Checked {
    ensure(!text.chars().any(char::is_control), what, field, "not plain text")
}

fn is_probability(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

fn ensure(holds: bool, what: &'static str, field: &'static str, reason: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(CodecError::Meaningless { what, field, reason }) }
}
