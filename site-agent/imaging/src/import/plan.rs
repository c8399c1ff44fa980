//! Which series of each study becomes which sequence.

use super::answers::Answers;
use super::error::ImportError;
use super::folder::Folder;
use super::judge::{Certainty, Judgement, Timeline, judge};
use super::redact::Redactor;
use super::rules::Rules;
use super::scan::{Patient, Scan, Series};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Which of several series is suggested, in words.
const CHOICE: &str = "3D before 2D, then thinner slices, then the later one";

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// In the order of their names.
    pub cases: Vec<PlannedCase>,
    /// What should be known of patients.
    pub notes: Vec<String>,
}

/// One study.
#[derive(Debug)]
pub struct PlannedCase {
    /// `PATIENT_NUMBER`.
    pub case: String,
    pub patient: String,
    pub series: Vec<PlannedSeries>,
    /// Its places in [`Scan::patients`] and [`Patient::studies`].
    pub(super) place: [usize; 2],
}

/// One series and what the rules make of it. Holds no patient's data.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedSeries {
    /// Its name in answers.
    pub series: String,
    /// SeriesNumber.
    pub number: i64,
    /// SeriesDescription, with what could identify the patient hidden.
    pub description: String,
    pub slices: usize,
    pub certainty: Certainty,
    /// The sequence, or those that it could be.
    pub sequences: Vec<String>,
    /// The sequence that is converted from it.
    pub taken: Option<String>,
    pub why: Vec<String>,
    /// By which its images are known again.
    #[serde(skip)]
    pub(super) content: String,
    /// Whether a person said what it is.
    #[serde(skip)]
    answered: bool,
    #[serde(skip)]
    rank: Rank,
}

/// What decides which of several series is suggested; the smallest is.
#[derive(Clone, Debug, PartialEq)]
struct Rank {
    flat: bool,
    step_mm: f64,
    acquired_s: f64,
}

impl Rank {
    fn of(series: &Series) -> Self {
        let step = series.steps_mm.map(|[_, most]| most);
        Self {
            flat: series.facts.acquisition.as_deref() != Some("3D"),
            step_mm: step.or(series.facts.thickness_mm).unwrap_or(f64::MAX),
            acquired_s: series.facts.acquired_s.unwrap_or_default(),
        }
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        // Steps of 1.0 and 1.05 mm are no reason.
        let tenths = |step: f64| (step * 5.0).round();
        self.flat
            .cmp(&other.flat)
            .then(tenths(self.step_mm).total_cmp(&tenths(other.step_mm)))
            .then(other.acquired_s.total_cmp(&self.acquired_s))
    }
}

/// A series that a person must decide on.
#[derive(Clone, Debug)]
pub struct Doubt {
    pub case: String,
    pub series: PlannedSeries,
}

impl Plan {
    /// Applies rules and answers to all series, and gives cases their names.
    ///
    /// # Errors
    /// An answer names a sequence that the rules do not have, or the names cannot be kept.
    pub fn make(
        scan: &Scan,
        rules: &Rules,
        answers: &Answers,
        folder: &mut Folder,
    ) -> Result<Self, ImportError> {
        let known = rules.sequences();
        for sequence in answers.sequences() {
            if !known.contains(sequence) {
                let names: Vec<String> = known.into_iter().collect();
                return Err(ImportError::Answers {
                    path: folder.path().join("answers.toml"),
                    what: format!("{sequence:?} is none of {}", names.join(", ")),
                });
            }
        }
        let redactor = Redactor::of(scan);
        let mut plan = Self {
            cases: Vec::new(),
            notes: Vec::new(),
        };
        let mut same_person: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
        for (at, patient) in scan.patients.iter().enumerate() {
            let name = folder.names.patient(&patient.id);
            let uids: Vec<&str> = patient
                .studies
                .iter()
                .map(|study| study.uid.as_str())
                .collect();
            let (cases, out_of_order) = folder.cases(&name, &uids);
            plan.notes.extend(notes(patient, &name, out_of_order));
            for (one, other) in patient.names.iter().zip(&patient.birth_dates) {
                same_person
                    .entry((one, other))
                    .or_default()
                    .insert(name.clone());
            }
            for (place, (study, case)) in patient.studies.iter().zip(cases).enumerate() {
                let facts = study.series.iter().map(|series| &series.facts);
                let line = Timeline::of(facts, rules);
                let mut series = Vec::new();
                for one in &study.series {
                    let key = folder.names.series(&one.uid);
                    let answer = answers.of(&key);
                    let judgement = judged(one, &line, rules, answer);
                    series.push(PlannedSeries {
                        series: key,
                        number: one.number,
                        description: redactor.text(&one.facts.description),
                        slices: one.slices,
                        certainty: judgement.certainty,
                        sequences: judgement.sequences,
                        taken: None,
                        why: judgement.why,
                        content: folder.names.content(&one.content),
                        answered: answer.is_some(),
                        rank: Rank::of(one),
                    });
                }
                choose(&mut series, &known);
                plan.cases.push(PlannedCase {
                    case,
                    patient: name.clone(),
                    series,
                    place: [at, place],
                });
            }
        }
        for names in same_person.into_values() {
            if names.len() > 1 {
                let names: Vec<String> = names.into_iter().collect();
                plan.notes.push(format!(
                    "{} have the same name and day of birth: if they are one patient, cases of \
                     that patient could be used for training and for validation",
                    names.join(" and ")
                ));
            }
        }
        plan.cases.sort_by(|a, b| a.case.cmp(&b.case));
        folder.remember()?;
        Ok(plan)
    }

    /// What is in doubt, the suggested series first.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for case in &self.cases {
            let mut open: Vec<&PlannedSeries> = Vec::new();
            for series in &case.series {
                if series.certainty == Certainty::InDoubt {
                    open.push(series);
                }
            }
            open.sort_by(|a, b| a.rank.compare(&b.rank));
            for series in open {
                doubts.push(Doubt {
                    case: case.case.clone(),
                    series: series.clone(),
                });
            }
        }
        doubts
    }
}

/// What should be known of a patient.
fn notes(patient: &Patient, name: &str, out_of_order: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if !patient.has_id {
        notes.push(format!(
            "{name} has no PatientID: each such study counts as a patient of its own"
        ));
    }
    if patient.birth_dates.len() > 1 {
        notes.push(format!(
            "{name} has {} different days of birth: one PatientID may stand for several patients",
            patient.birth_dates.len()
        ));
    }
    if out_of_order {
        notes.push(format!(
            "{name} has a study from before one that was imported earlier: the numbers of its \
             cases are not in order of date"
        ));
    }
    notes
}

/// What a series is by an answer, or else by the rules.
fn judged(
    series: &Series,
    line: &Timeline,
    rules: &Rules,
    answer: Option<Option<&str>>,
) -> Judgement {
    if let Some(why) = series.impossible() {
        return Judgement::no(vec![why]);
    }
    match answer {
        Some(Some(sequence)) => {
            return Judgement {
                certainty: Certainty::Sure,
                sequences: vec![sequence.to_owned()],
                why: vec!["as answered".into()],
            };
        }
        Some(None) => return Judgement::no(vec!["as answered".into()]),
        None => {}
    }
    let mut judgement = judge(&series.facts, series.slices, line, rules);
    let odd = series.oddities();
    if judgement.certainty != Certainty::No && !odd.is_empty() {
        judgement.certainty = Certainty::InDoubt;
        judgement.why.extend(odd);
    }
    judgement
}

/// Gives each sequence to the one series that is sure of it; a sequence that several series claim is
/// in doubt.
fn choose(series: &mut [PlannedSeries], sequences: &BTreeSet<String>) {
    for sequence in sequences {
        let claims = |one: &PlannedSeries| {
            one.certainty == Certainty::Sure && one.sequences.contains(sequence)
        };
        let mut sure: Vec<usize> = (0..series.len())
            .filter(|&at| claims(&series[at]))
            .collect();
        let answered: Vec<usize> = sure
            .iter()
            .copied()
            .filter(|&at| series[at].answered)
            .collect();
        if !answered.is_empty() {
            sure = answered;
        }
        match sure.as_slice() {
            [] => {}
            [one] => {
                series[*one].taken = Some(sequence.clone());
                let number = series[*one].number;
                for (at, other) in series.iter_mut().enumerate() {
                    if at != *one {
                        lose(other, sequence, number);
                    }
                }
            }
            several => {
                let mut best = several[0];
                for &at in several {
                    if series[at].rank.compare(&series[best].rank).is_lt() {
                        best = at;
                    }
                }
                let numbers: Vec<String> = several
                    .iter()
                    .map(|&at| series[at].number.to_string())
                    .collect();
                let words = format!(
                    "series {} all claim {sequence}; series {} is suggested ({CHOICE})",
                    numbers.join(", "),
                    series[best].number
                );
                for &at in several {
                    series[at].certainty = Certainty::InDoubt;
                    series[at].why.push(words.clone());
                }
            }
        }
    }
}

/// A series does not get a sequence that another one has.
fn lose(series: &mut PlannedSeries, sequence: &str, to: i64) {
    if !series.sequences.iter().any(|one| one == sequence) {
        return;
    }
    series.sequences.retain(|one| one != sequence);
    series.why.push(format!("series {to} is {sequence}"));
    if series.sequences.is_empty() {
        series.certainty = Certainty::No;
    }
}
