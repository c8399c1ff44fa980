//! What missing sequences cost: every subset of sequences at every site.

use super::case_metrics::{CaseMetrics, Values, difference, hold_lesions, means, means_at};
use super::schema::{Cell, DiceAt, Matrix, MatrixRow, MeanSd, SiteCell, Thresholds, Without};
use super::schema::{Worst, WorstCell};
use metrics::sequence::SequenceSet;
use protocol::case::{Cases, Role};
use protocol::outcome::{Outcome, RunOutcome, SiteScores};
use std::collections::BTreeMap;

/// One patient: what he has, and the model's look at each subset of it.
struct Patient<'a> {
    site: &'a str,
    role: Role,
    has: SequenceSet,
    looks: BTreeMap<SequenceSet, CaseMetrics<'a>>,
}

/// The matrix at a threshold. `None` where no case was scored on a part of its sequences.
pub(super) fn matrix(
    run: &RunOutcome,
    outcome: &Outcome,
    threshold: Option<f32>,
) -> Option<Matrix> {
    if run.scores.iter().all(|site| site.subsets.is_empty()) {
        return None;
    }
    // A site without a lesion cannot be compared.
    let telling = run.scores.iter().filter(|site| hold_lesions(&site.cases));
    let patients: Vec<Patient<'_>> = telling.flat_map(patients).collect();
    let names = &outcome.federation.input.sequences;
    let mut sets: Vec<SequenceSet> = outcome.federation.input.all().non_empty_subsets().collect();
    sets.sort_by_key(|set| (std::cmp::Reverse(set.len()), set.bits()));
    let sites: Vec<(&str, Role)> = run
        .scores
        .iter()
        .map(|site| (site.site.as_str(), site.role))
        .collect();
    let table = Table {
        patients,
        threshold,
        thresholds: Thresholds::from(run),
    };
    let rows: Vec<MatrixRow> = sets
        .into_iter()
        .map(|set| table.row(set, names, &sites))
        .collect();
    let without: Vec<Without> = names
        .iter()
        .enumerate()
        .map(|(index, name)| table.without(index, name.clone()))
        .collect();
    let worst_missing = without
        .iter()
        .filter_map(|one| Some((one.change.mean?, &one.sequence)));
    Some(Matrix {
        worst_missing: worst_missing
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, sequence)| sequence.clone()),
        worst_site: table.worst_site(&sites),
        worst_cell: worst_cell(&rows),
        rows,
        without,
    })
}

fn patients(site: &SiteScores) -> impl Iterator<Item = Patient<'_>> {
    site.cases.iter().map(|case| {
        let parts = site.subsets.iter().filter(|part| part.case == case.case);
        let mut looks: BTreeMap<SequenceSet, CaseMetrics<'_>> = parts
            .map(|part| (part.subset, CaseMetrics::from(part)))
            .collect();
        looks.insert(case.subset, CaseMetrics::from(case));
        Patient {
            site: site.site.as_str(),
            role: site.role,
            has: case.subset,
            looks,
        }
    })
}

struct Table<'a> {
    patients: Vec<Patient<'a>>,
    threshold: Option<f32>,
    thresholds: Thresholds,
}

impl Table<'_> {
    fn row(&self, set: SequenceSet, names: &[String], sites: &[(&str, Role)]) -> MatrixRow {
        let site = |&(site, role): &(&str, Role)| SiteCell {
            site: site.into(),
            role,
            cell: self.cell(set, |patient| patient.site == site),
        };
        MatrixRow {
            sequences: set
                .iter()
                .filter_map(|index| names.get(index))
                .cloned()
                .collect(),
            sites: sites
                .iter()
                .map(site)
                .filter(|site| site.cell.cases > 0)
                .collect(),
            held_out: self.cell(set, |patient| patient.role.judges() == Cases::HeldOut),
            validation: self.cell(set, |patient| patient.role.judges() == Cases::Validation),
        }
    }

    fn cell(&self, set: SequenceSet, which: impl Fn(&Patient<'_>) -> bool) -> Cell {
        let able = self.patients.iter().filter(|patient| which(patient));
        let pairs: Vec<(CaseMetrics<'_>, CaseMetrics<'_>)> =
            able.filter_map(|patient| patient.pair(set)).collect();
        let looks: Vec<CaseMetrics<'_>> = pairs.iter().map(|pair| pair.0).collect();
        let dice = |threshold| MeanSd::of(looks.iter().map(|look| look.values(threshold).dice));
        let change = |(part, all): &(CaseMetrics<'_>, CaseMetrics<'_>)| {
            difference(&self.values(part), &self.values(all))
        };
        Cell {
            cases: looks.len(),
            metrics: means_at(&looks, self.threshold),
            dice_at: DiceAt {
                youden_pooled: dice(self.thresholds.youden_pooled),
                dice: dice(self.thresholds.dice),
            },
            change: means(&pairs.iter().map(change).collect::<Vec<_>>()),
        }
    }

    fn values(&self, look: &CaseMetrics<'_>) -> Values {
        look.values(self.threshold)
    }

    fn without(&self, index: usize, sequence: String) -> Without {
        let holders = self
            .patients
            .iter()
            .filter(|patient| patient.has.contains(index));
        let able: Vec<_> = holders
            .filter_map(|patient| Some((patient.site, patient.pair(patient.has.without(index))?)))
            .collect();
        let dice = |look: &CaseMetrics<'_>| self.values(look).dice;
        let mut sites: Vec<String> = able.iter().map(|(site, _)| (*site).to_owned()).collect();
        sites.dedup();
        Without {
            sequence,
            cases: able.len(),
            sites,
            dice: MeanSd::of(able.iter().map(|(_, (_, all))| dice(all))),
            dice_without: MeanSd::of(able.iter().map(|(_, (part, _))| dice(part))),
            change: MeanSd::of(
                able.iter()
                    .map(|(_, (part, all))| Some(dice(part)? - dice(all)?)),
            ),
        }
    }

    fn worst_site(&self, sites: &[(&str, Role)]) -> Option<Worst> {
        let worst = |&(site, _): &(&str, Role)| {
            let own = self.patients.iter().filter(|patient| patient.site == site);
            let dice =
                MeanSd::of(own.map(|patient| self.values(patient.looks.get(&patient.has)?).dice));
            Some(Worst {
                site: site.into(),
                dice: dice.mean?,
            })
        };
        sites
            .iter()
            .filter_map(worst)
            .min_by(|a, b| a.dice.total_cmp(&b.dice))
    }
}

impl<'a> Patient<'a> {
    /// The look at a subset, and at everything the patient has.
    fn pair(&self, set: SequenceSet) -> Option<(CaseMetrics<'a>, CaseMetrics<'a>)> {
        Some((*self.looks.get(&set)?, *self.looks.get(&self.has)?))
    }
}

pub(super) fn worst_cell(rows: &[MatrixRow]) -> Option<WorstCell> {
    let cells = rows
        .iter()
        .flat_map(|row| row.sites.iter().map(move |site| (row, site)));
    let worst = cells.filter_map(|(row, site)| {
        let dice = site.cell.metrics.dice.mean?;
        Some(WorstCell {
            site: site.site.clone(),
            sequences: row.sequences.clone(),
            dice,
        })
    });
    worst.min_by(|a, b| a.dice.total_cmp(&b.dice))
}
