//! What a well-spelt message must also fulfil. Messages come from machines that may be broken or
//! hostile.

use super::CodecError;
use crate::message::{
    CoordinatorMessage, EvaluationRequest, Hello, Inventory, MAX_MODELS, SiteMessage, Trained,
};
use metrics::score::{AtThreshold, CaseScore, LesionCounts, SizeBinCounts, SubsetScore};
use metrics::sequence::{MAX_SEQUENCES, SequenceSet};

type Checked = Result<(), CodecError>;

const SITE: &str = "site message";
const COORDINATOR: &str = "coordinator message";

pub(super) fn site_message(message: &SiteMessage) -> Checked {
    match message {
        SiteMessage::Hello(hello) => check_hello(hello),
        SiteMessage::Ready(inventory) => check_inventory(inventory),
        SiteMessage::Trained(trained) => check_trained(trained),
        SiteMessage::Scored { score, .. } => check_score(score),
        SiteMessage::SubsetScored { score, .. } => check_subset_score(score),
        SiteMessage::Failed { reason, .. } => check_text(SITE, "reason", reason),
        // A picture is valid by type.
        SiteMessage::Overlay { .. } => Ok(()),
        SiteMessage::Progress(_)
        | SiteMessage::Preparing { .. }
        | SiteMessage::Evaluated { .. } => Ok(()),
    }
}

pub(super) fn coordinator_message(message: &CoordinatorMessage) -> Checked {
    match message {
        // The name of the site is valid by type.
        CoordinatorMessage::Welcome { federation, .. } => {
            federation.as_ref().clone().check()?;
            Ok(())
        }
        CoordinatorMessage::Refused { reason } => check_text(COORDINATOR, "reason", reason),
        CoordinatorMessage::NotCounted { reason, .. } => check_text(COORDINATOR, "reason", reason),
        CoordinatorMessage::Finished { summary } => check_text(COORDINATOR, "summary", summary),
        CoordinatorMessage::Train { steps, .. } => {
            ensure(*steps != Some(0), COORDINATOR, "steps", "none")
        }
        CoordinatorMessage::Conclude { .. } => Ok(()),
        CoordinatorMessage::Evaluate {
            models,
            wanted: EvaluationRequest {
                thresholds, sweep, ..
            },
            ..
        } => {
            ensure(
                (1..=MAX_MODELS).contains(&models.len()),
                COORDINATOR,
                "models",
                "too few or too many",
            )?;
            let sound = thresholds
                .iter()
                .chain(sweep)
                .all(|&threshold| is_probability(threshold));
            ensure(sound, COORDINATOR, "thresholds", "not all probabilities")
        }
    }
}

fn check_hello(hello: &Hello) -> Checked {
    ensure(
        hello.sequences.len() <= MAX_SEQUENCES,
        SITE,
        "sequences",
        "too long",
    )?;
    check_text(SITE, "software", &hello.software)?;
    hello
        .sequences
        .iter()
        .try_for_each(|name| check_text(SITE, "sequences", name))
}

/// Far more patients than any site has. What a site may send follows from how many it has.
const MAX_CASES: u32 = 1_000_000;
/// Training examples of one case: its planes have 2^27 pixels at most, and windows of 16 x 16
/// pixels, the least that settings allow, begin 8 pixels apart.
const MAX_EXAMPLES: u64 = 1 << 21;

fn check_inventory(inventory: &Inventory) -> Checked {
    check_set(inventory.sequences)?;
    let Inventory {
        training_cases,
        validation_cases,
        held_out_cases,
        skipped_cases,
        ..
    } = *inventory;
    let cases = [
        training_cases,
        validation_cases,
        held_out_cases,
        skipped_cases,
    ];
    ensure(
        cases.iter().all(|&count| count <= MAX_CASES),
        SITE,
        "inventory",
        "more cases than a site can have",
    )?;
    let examples = u64::from(training_cases) * MAX_EXAMPLES;
    ensure(
        inventory.training_slices <= examples,
        SITE,
        "inventory",
        "more slices than its cases can have",
    )
}

fn check_trained(trained: &Trained) -> Checked {
    check_set(trained.sequences)?;
    let numbers = [trained.mean_loss, trained.last_loss, trained.seconds];
    ensure(
        numbers.iter().all(|number| number.is_finite()),
        SITE,
        "loss or seconds",
        "not finite",
    )
}

fn check_score(score: &CaseScore) -> Checked {
    check_subset(score.subset)?;
    let volume = score.voxel_mm3;
    ensure(
        volume.is_finite() && volume > 0.0,
        SITE,
        "voxel_mm3",
        "not a volume",
    )?;
    score.brain.check()?;
    score.outside.check()?;
    score.at.iter().try_for_each(check_counts)?;
    score.sweep.iter().try_for_each(|point| {
        ensure(
            is_probability(point.threshold),
            SITE,
            "threshold",
            "not a probability",
        )?;
        check_lesions(&point.lesions)
    })
}

fn check_subset_score(score: &SubsetScore) -> Checked {
    check_subset(score.subset)?;
    let shares = [score.auc_brain, score.auc_volume]
        .into_iter()
        .flatten()
        .all(is_share);
    ensure(shares, SITE, "AUC", "not between 0 and 1")?;
    score.at.iter().try_for_each(check_counts)
}

fn check_subset(subset: SequenceSet) -> Checked {
    check_set(subset)?;
    ensure(!subset.is_empty(), SITE, "subset", "empty")
}

/// Far more than any scanner gives (16384 cubed), and few enough that sums over millions of cases
/// stay in a `u64`.
const MAX_VOXELS: u64 = 1 << 42;

fn check_counts(at: &AtThreshold) -> Checked {
    ensure(
        is_probability(at.threshold),
        SITE,
        "threshold",
        "not a probability",
    )?;
    let counts = [at.true_positive, at.false_positive, at.false_negative];
    ensure(
        counts.iter().all(|&count| count <= MAX_VOXELS),
        SITE,
        "counts",
        "more voxels than a volume has",
    )?;
    check_lesions(&at.lesions)?;
    check_sizes(&at.by_size, &at.lesions)?;
    let shared = at
        .dice_detected
        .is_none_or(|dice| is_share(dice) && at.lesions.detected > 0);
    ensure(
        shared,
        SITE,
        "Dice of detected lesions",
        "not between 0 and 1, or of none",
    )
}

fn check_lesions(lesions: &LesionCounts) -> Checked {
    let sound = lesions.detected <= lesions.reference
        && lesions.false_positive <= lesions.predicted
        && lesions.false_positive_10mm3 <= lesions.false_positive;
    ensure(sound, SITE, "lesions", "a part larger than its whole")
}

/// Every lesion has one size.
fn check_sizes(by_size: &[SizeBinCounts; 4], lesions: &LesionCounts) -> Checked {
    let sum = |count: fn(&SizeBinCounts) -> u32| {
        by_size.iter().map(|bin| u64::from(count(bin))).sum::<u64>()
    };
    let sound = by_size.iter().all(|bin| bin.found <= bin.lesions)
        && sum(|bin| bin.lesions) == u64::from(lesions.reference)
        && sum(|bin| bin.found) == u64::from(lesions.detected);
    ensure(
        sound,
        SITE,
        "lesions by size",
        "not the lesions that there are",
    )
}

fn check_set(set: SequenceSet) -> Checked {
    let known = SequenceSet::from_bits(set.bits()) == set;
    ensure(known, SITE, "sequence set", "wider than any federation")
}

/// Texts end up on terminals and in logs: no escape sequences, no invented log lines.
fn check_text(what: &'static str, field: &'static str, text: &str) -> Checked {
    ensure(
        !text.chars().any(char::is_control),
        what,
        field,
        "not plain text",
    )
}

fn is_probability(value: f32) -> bool {
    is_share(f64::from(value))
}

fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn ensure(holds: bool, what: &'static str, field: &'static str, reason: &'static str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(CodecError::Meaningless {
            what,
            field,
            reason,
        })
    }
}
