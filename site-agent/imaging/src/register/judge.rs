//! Whether a registration can be believed.

use super::information::Value;
use super::rigid::Rigid;
use serde::{Deserialize, Serialize};

/// The least share of the reference's foreground that the moved image must cover.
const LEAST_COVERED: f64 = 0.7;
/// A patient does not move further between two sequences.
const MOST_MM: f64 = 50.0;
const MOST_DEGREES: f64 = 30.0;
/// Two images of one head share more of their information than this.
const LEAST_SHARED: f64 = 0.05;
/// How much information must be lost by a wrong move, as a share.
const LEAST_LOST: f64 = 0.03;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Good,
    Doubtful,
}

/// What is known about how good a registration is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    pub verdict: Verdict,
    /// Why it is doubtful.
    pub why: Vec<String>,
    /// Mutual information as the files had it, and after the move, nats.
    pub information_before: f64,
    pub information_after: f64,
    /// The information after the move as a share of what the image with less entropy has.
    pub shared: f64,
    /// How much of the information a wrong move of 10 mm or 10 degrees loses at least, as a share.
    pub lost_by_wrong_moves: f64,
    /// Share of the reference's foreground that lies in the moved image.
    pub covered: f64,
    /// Size of the move: root of the mean square over a ball of 80 mm.
    pub moved_mm: f64,
    pub turned_degrees: f64,
}

/// What is judged.
pub(super) struct Evidence {
    pub(super) before: Option<Value>,
    pub(super) after: Value,
    /// The most information that a wrong move has.
    pub(super) wrong: f64,
    pub(super) has_converged: bool,
    /// The size of the difference to another move that is as good.
    pub(super) other: Option<f64>,
}

impl Judgement {
    pub(super) fn of(evidence: &Evidence, rigid: &Rigid) -> Self {
        let after = evidence.after.information;
        let before = evidence.before.map_or(0.0, |value| value.information);
        let shared = share(after, evidence.after.most);
        let lost = (1.0 - share(evidence.wrong, after)).max(0.0);
        let (moved, turned) = (rigid.size_mm(), rigid.degrees());
        let covered = evidence.after.covered;
        let mut why = Vec::new();
        if after < before {
            why.push(format!(
                "the mutual information did not rise ({before:.3} to {after:.3})"
            ));
        }
        if shared < LEAST_SHARED {
            why.push(format!(
                "the images have too little in common ({:.1} % of their information)",
                100.0 * shared
            ));
        }
        if lost < LEAST_LOST {
            why.push(format!(
                "wrong moves fit about as well (they lose {:.1} % of the information)",
                100.0 * lost
            ));
        }
        if let Some(mm) = evidence.other {
            why.push(format!("another move, {mm:.0} mm away, fits as well"));
        }
        if covered < LEAST_COVERED {
            why.push(format!(
                "the moved image covers only {:.0} % of the reference",
                100.0 * covered
            ));
        }
        if moved > MOST_MM || turned > MOST_DEGREES {
            why.push(format!(
                "the move is implausibly large ({moved:.0} mm, {turned:.0} degrees)"
            ));
        }
        if !evidence.has_converged {
            why.push("the search did not come to an end".into());
        }
        Self {
            verdict: if why.is_empty() {
                Verdict::Good
            } else {
                Verdict::Doubtful
            },
            why,
            information_before: before,
            information_after: after,
            shared,
            lost_by_wrong_moves: lost,
            covered,
            moved_mm: moved,
            turned_degrees: turned,
        }
    }
}

/// A part of a whole that may be nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
