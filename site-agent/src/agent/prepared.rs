//! A site's prepared cases, and what each is for.

use crate::case::CachedCase;
use crate::data::Cohort;
use crate::train::{self, Origin};
use metrics::sequence::SequenceSet;
use program::{Class, Failure};
use protocol::case::{Cases, Role};
use protocol::message::Inventory;
use protocol::settings::Federation;

/// The cases with a reference. Without one, a case can neither train nor be scored.
#[derive(Debug)]
pub(super) struct Prepared {
    cases: Vec<CachedCase>,
    /// Indices of `cases`, ascending.
    training: Vec<usize>,
    /// Indices of `cases`, ascending.
    validation: Vec<usize>,
    pub(super) inventory: Inventory,
}

impl Prepared {
    pub(super) fn new(cohort: Cohort, role: Role, federation: &Federation, site: &str) -> Self {
        let mut skipped = cohort.skipped.len();
        let mut cases = Vec::new();
        let mut patients = Vec::new();
        for (case, patient) in cohort.cases.into_iter().zip(cohort.patients) {
            if case.has_label() {
                cases.push(case);
                patients.push(patient);
            } else {
                skipped += 1;
            }
        }
        let all: Vec<usize> = (0..cases.len()).collect();
        let mut training = Vec::new();
        let mut validation = Vec::new();
        let mut held_out = Vec::new();
        match role {
            Role::Train => {
                let mut origins = Vec::with_capacity(patients.len());
                for patient in &patients {
                    origins.push(Origin {
                        site: patient.archive.as_deref().unwrap_or(site),
                        patient: &patient.name,
                    });
                }
                let evaluation = &federation.evaluation;
                let seed = evaluation.split_seed(federation.seed);
                (training, validation) = train::split(&origins, evaluation.validation_share, seed);
            }
            Role::Validate => validation = all,
            Role::Evaluate => held_out = all,
        }
        let mut sequences = SequenceSet::EMPTY;
        for case in &cases {
            sequences = sequences.union(case.present());
        }
        let mut training_slices = 0;
        for &index in &training {
            training_slices += cases[index].lesion_views().len() as u64;
        }
        let inventory = Inventory {
            sequences,
            training_cases: count(training.len()),
            validation_cases: count(validation.len()),
            held_out_cases: count(held_out.len()),
            skipped_cases: count(skipped),
            training_slices,
            training_lesions: count_lesions(&cases, &training),
            validation_lesions: count_lesions(&cases, &validation),
            held_out_lesions: count_lesions(&cases, &held_out),
        };
        Self {
            cases,
            training,
            validation,
            inventory,
        }
    }

    /// Refuses a cohort that the role can do nothing with.
    pub(super) fn check(&self, role: Role) -> Result<(), Failure> {
        let none_usable = match role {
            Role::Train => self.training.is_empty(),
            Role::Evaluate | Role::Validate => self.cases.is_empty(),
        };
        if none_usable {
            return Err(
                Failure::new(Class::Data, "no case has a reference segmentation").hint(
                    "data.label and data.lesion_labels say where lesions are marked; without them \
                     no case can be used",
                ),
            );
        }
        Ok(())
    }

    pub(super) fn training_cases(&self) -> Vec<&CachedCase> {
        self.with_indices(&self.training)
    }

    /// The cases that the coordinator asked to score.
    pub(super) fn scored_cases(&self, cases: Cases) -> Vec<&CachedCase> {
        match cases {
            Cases::Validation => self.with_indices(&self.validation),
            // Only sites with the role `evaluate` are asked for these, and they train on none.
            Cases::HeldOut => self.cases.iter().collect(),
        }
    }

    fn with_indices(&self, indices: &[usize]) -> Vec<&CachedCase> {
        indices.iter().map(|&index| &self.cases[index]).collect()
    }
}

fn count_lesions(cases: &[CachedCase], indices: &[usize]) -> u32 {
    let lesions = indices.iter().map(|&index| cases[index].count_lesions());
    count(lesions.sum())
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Patient;
    use crate::device::Device;
    use crate::train::tests::{cohort, federation, fresh, spread_out};
    use crate::train::{Stop, TrainingTask, train};
    use protocol::message::{RunId, TaskId, TaskKind};
    use protocol::settings::Compute;
    use std::collections::BTreeSet;
    use std::ops::ControlFlow;

    /// The coordinator refuses an update of more steps than the inventory's slices give.
    #[test]
    fn a_case_of_several_views_a_slice_is_counted_as_training_draws_from_it() {
        let federation = federation("epochs = 1");
        let (_folder, cases) = cohort(&[spread_out()]);
        let patient = Patient {
            archive: None,
            name: "patient".into(),
        };
        let cohort = Cohort {
            cases,
            patients: vec![patient],
            skipped: Vec::new(),
            warnings: Vec::new(),
            ignored: BTreeSet::new(),
        };
        let prepared = Prepared::new(cohort, Role::Train, &federation, "north");
        // Five slices, each seen through three by three windows.
        assert_eq!(prepared.inventory.training_slices, 45);
        let start = fresh(&federation);
        let cases = prepared.training_cases();
        let training = TrainingTask {
            cases: &cases,
            federation: &federation,
            site: "north",
            id: TaskId {
                run: RunId(0),
                round: 1,
                kind: TaskKind::Train,
                pass: 0,
            },
            start: &start,
            most_steps: None,
            own: None,
            compute: Compute::F32,
        };
        let mut conclude = |_| ControlFlow::Break(Stop::Concluded);
        let update = train(&training, &Device::flex(), &mut conclude).unwrap();
        let batch = federation.training.batch as u64;
        let most_steps = prepared.inventory.training_slices.div_ceil(batch);
        assert_eq!(u64::from(update.asked_steps), most_steps);
    }
}
