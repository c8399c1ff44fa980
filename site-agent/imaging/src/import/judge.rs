//! Which sequence a series is, by the rules, and why.

use super::facts::Facts;
use super::rules::{Checked, Rules};
use super::words;
use serde::Serialize;

/// Values that a header may lack where a series can still be used after a person looked at it.
const MAY_LACK: usize = 2;

/// How sure the rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    Sure,
    InDoubt,
    No,
}

impl Certainty {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::InDoubt => "in doubt",
            Self::No => "no",
        }
    }
}

/// What the rules make of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) certainty: Certainty,
    /// The sequence, or those that it could be; none for [`Certainty::No`].
    pub(super) sequences: Vec<String>,
    pub(super) why: Vec<String>,
}

impl Judgement {
    pub(super) fn no(why: Vec<String>) -> Self {
        Self {
            certainty: Certainty::No,
            sequences: Vec::new(),
            why,
        }
    }
}

/// When the contrast agent was given in a study, as its series tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Timeline {
    /// ContrastBolusStartTime, the earliest, in seconds.
    given_s: Option<f64>,
    /// When the first series with an agent was acquired.
    first_with_agent_s: Option<f64>,
}

/// Whether a series shows contrast agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contrast {
    Before(String),
    After(String),
    Unclear(String),
}

impl Timeline {
    pub(super) fn of<'a>(series: impl Iterator<Item = &'a Facts>, rules: &Rules) -> Self {
        let mut line = Self::default();
        let earlier = |known: Option<f64>, new: Option<f64>| match (known, new) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
        for facts in series {
            line.given_s = earlier(line.given_s, facts.contrast_s);
            let before = described(facts, rules).0.is_some();
            if has_agent(facts, rules) && !before {
                line.first_with_agent_s = earlier(line.first_with_agent_s, facts.acquired_s);
            }
        }
        line
    }
}

/// Whether an agent is named.
fn has_agent(facts: &Facts, rules: &Rules) -> bool {
    let Some(agent) = &facts.agent else {
        return false;
    };
    let agent = words::plain(agent);
    let none = |word: &String| match word.strip_suffix('*') {
        Some(start) => agent.starts_with(start),
        None => agent == *word,
    };
    !agent.is_empty() && !rules.contrast.no_agent.iter().any(none)
}

/// The words of the description for before and for after contrast.
fn described<'a>(facts: &Facts, rules: &'a Rules) -> (Option<&'a str>, Option<&'a str>) {
    let mut text = words::plain(&facts.description);
    let before = words::take(&mut text, &rules.contrast.before);
    let after = words::first(&text, &rules.contrast.after);
    (before, after)
}

/// Weighs all that a study says about the contrast of one of its series.
pub(super) fn contrast(facts: &Facts, line: &Timeline, rules: &Rules) -> Contrast {
    let mut after: Vec<String> = Vec::new();
    let mut before: Vec<String> = Vec::new();
    let agent = has_agent(facts, rules);
    if agent {
        after.push("ContrastBolusAgent names an agent".into());
    }
    let (word_before, word_after) = described(facts, rules);
    let quoted = |word: &str| format!("the description says \"{}\"", word.trim_matches('*'));
    before.extend(word_before.map(quoted));
    after.extend(word_after.map(quoted));
    if let Some(acquired) = facts.acquired_s {
        if let Some(given) = line.given_s {
            let minutes = ((acquired - given) / 60.0).round();
            if acquired < given {
                before.push(format!(
                    "acquired {} min before the contrast was given",
                    -minutes
                ));
            } else {
                after.push(format!(
                    "acquired {minutes} min after the contrast was given"
                ));
            }
        } else if let Some(first) = line.first_with_agent_s.filter(|_| !agent) {
            let minutes = ((acquired - first) / 60.0).round();
            if acquired < first {
                before.push(format!(
                    "acquired {} min before the first series with an agent",
                    -minutes
                ));
            } else {
                after.push(format!(
                    "acquired {minutes} min after the first series with an agent"
                ));
            }
        }
    }
    match (before.is_empty(), after.is_empty()) {
        (false, false) => Contrast::Unclear(format!(
            "contrast is contradictory: {}, but {}",
            before.join(", "),
            after.join(", ")
        )),
        (false, true) => Contrast::Before(format!("before contrast: {}", before.join(", "))),
        (true, false) if agent => Contrast::After(format!("after contrast: {}", after.join(", "))),
        (true, false) => Contrast::Unclear(format!(
            "contrast is unclear: {}, but ContrastBolusAgent is missing",
            after.join(", ")
        )),
        (true, true) => {
            Contrast::Unclear("contrast is unclear: nothing says whether it was given".into())
        }
    }
}

/// Which sequence a series of so many slices is.
pub(super) fn judge(facts: &Facts, slices: usize, line: &Timeline, rules: &Rules) -> Judgement {
    for exclusion in &rules.exclude {
        for conditions in &exclusion.any {
            let checked = conditions.check(facts, slices);
            if checked.fail.is_empty() && checked.unknown.is_empty() {
                let reason = format!("{}: {}", exclusion.reason, checked.hold.join(", "));
                return Judgement::no(vec![reason]);
            }
        }
    }
    let contrast = contrast(facts, line, rules);
    let mut claims: Vec<Judgement> = Vec::new();
    let mut refusals = Vec::new();
    for rule in &rules.sequence {
        let always = rule.always.check(facts, slices);
        if !always.fail.is_empty() {
            refusals.push(format!("not {}: {}", rule.spoken(), always.fail.join(", ")));
            continue;
        }
        let Some((kind, checked)) = first_kind(rule, &always, facts, slices) else {
            let fails: Vec<String> = rule
                .one_of
                .iter()
                .map(|kind| kind.when.check(facts, slices).fail.join(", "))
                .collect();
            let fails = fails.join("; ");
            refusals.push(format!("not {}: {fails}", rule.spoken()));
            continue;
        };
        let Checked { hold, unknown, .. } = checked;
        if unknown.len() > MAY_LACK {
            refusals.push(format!("not {}: {}", rule.spoken(), unknown.join(", ")));
            continue;
        }
        let mut certainty = Certainty::Sure;
        let mut why = vec![format!("{}: {}", kind.kind, hold.join(", "))];
        for reason in unknown.into_iter().chain(kind.doubt.clone()) {
            certainty = Certainty::InDoubt;
            why.push(reason);
        }
        let mut sequences: Vec<String> = Vec::new();
        if let Some(name) = &rule.whatever {
            sequences.push(name.clone());
        } else {
            match &contrast {
                Contrast::Before(words) => {
                    sequences.extend(rule.before.clone());
                    why.push(words.clone());
                }
                Contrast::After(words) => {
                    sequences.extend(rule.after.clone());
                    why.push(words.clone());
                }
                Contrast::Unclear(words) => {
                    sequences.extend(rule.before.clone());
                    sequences.extend(rule.after.clone());
                    why.push(words.clone());
                    certainty = Certainty::InDoubt;
                }
            }
        }
        if sequences.is_empty() {
            refusals.push(format!("not {}: {}", rule.spoken(), why.join("; ")));
        } else {
            claims.push(Judgement {
                certainty,
                sequences,
                why,
            });
        }
    }
    join(claims, refusals)
}

/// The first kind that holds without a doubt, or else the first that can hold.
fn first_kind<'a>(
    rule: &'a super::rules::SequenceRule,
    always: &Checked,
    facts: &Facts,
    slices: usize,
) -> Option<(&'a super::rules::Kind, Checked)> {
    let mut possible = None;
    for kind in &rule.one_of {
        let checked = kind.when.check(facts, slices);
        if !checked.fail.is_empty() {
            continue;
        }
        let known = checked.unknown.is_empty();
        let both = always.clone().and(checked);
        if known && kind.doubt.is_none() {
            return Some((kind, both));
        }
        possible = possible.or(Some((kind, both)));
    }
    possible
}

/// One judgement of what several rules say.
fn join(mut claims: Vec<Judgement>, refusals: Vec<String>) -> Judgement {
    if claims.len() > 1 {
        let mut joined = Judgement {
            certainty: Certainty::InDoubt,
            sequences: Vec::new(),
            why: vec!["it fits more than one rule".into()],
        };
        for claim in claims {
            joined.sequences.extend(claim.sequences);
            joined.why.extend(claim.why);
        }
        return joined;
    }
    match claims.pop() {
        Some(claim) => claim,
        None => Judgement::no(refusals),
    }
}
