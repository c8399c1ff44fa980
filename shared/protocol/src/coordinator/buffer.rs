//! The durable facts of buffered asynchronous rounds: who trains from which model, and which
//! updates wait to be counted.
//!
//! A site gives at most one update from a version of the model: so no two updates share a task, or
//! a file.

use super::TaskFailure;
use super::outliers::{Outlier, outliers};
use super::task_table::TaskResult;
use crate::identity::{SiteName, Version};
use crate::message::{TaskId, Trained};
use crate::parameters::ParametersId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state between two versions of a model. A restart continues with it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Buffer {
    /// Sites that were asked to train and have not answered, by name.
    pub asked: BTreeMap<SiteName, Asked>,
    /// Accepted updates that no version counts yet, with their sites, in the order of acceptance;
    /// each is stored.
    pub updates: Vec<(SiteName, Trained)>,
    /// How far each of them went from its model, by site and that model's version.
    #[serde(default)]
    pub distances: BTreeMap<SiteName, BTreeMap<Version, f64>>,
    /// Sites whose training from the newest version ended badly, or whose update was refused; they
    /// are missing as well.
    #[serde(default)]
    pub failed: BTreeSet<SiteName>,
    /// The newest version that each site gave an update from.
    pub answered: BTreeMap<SiteName, Version>,
    /// Failures that are not yet in the record of a round.
    pub missing: Vec<Missing>,
    /// The newest version, and older ones that a site trains from or an update started from.
    pub models: BTreeMap<Version, ParametersId>,
}

/// What a site was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The version to start from.
    pub base: Version,
    /// The most steps to do, where its speed says so.
    pub steps: Option<u32>,
}

/// A site that gave nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The site.
    pub site: SiteName,
    /// The version that it started from.
    pub base: Version,
    /// Why.
    pub reason: String,
}

impl Buffer {
    /// The oldest version that a site trains from, or whose updates wait; `newest` where there is
    /// none.
    #[must_use]
    pub fn oldest(&self, newest: Version) -> Version {
        self.bases().min().unwrap_or(newest).min(newest)
    }

    fn bases(&self) -> impl Iterator<Item = Version> {
        let asked = self.asked.values().map(|asked| asked.base);
        asked.chain(self.updates.iter().map(|(_, trained)| trained.task.base()))
    }

    /// Keeps the models that are still started from, and the newest.
    pub(super) fn forget_models(&mut self, newest: Version) {
        let used: BTreeSet<Version> = self.bases().chain([newest]).collect();
        self.models.retain(|version, _| used.contains(version));
    }

    /// A training ended. Returns whether the site was asked for it: then there are new facts to
    /// store.
    pub(super) fn settle(&mut self, site: &SiteName, task: TaskId, answer: TaskResult) -> bool {
        let base = task.base();
        if self.asked.get(site).is_none_or(|asked| asked.base != base) {
            return false;
        }
        self.asked.remove(site);
        match answer {
            TaskResult::Update { trained, distance } => {
                self.answered.insert(site.clone(), base);
                self.updates.push((site.clone(), trained));
                let distances = self.distances.entry(site.clone()).or_default();
                distances.insert(base, distance);
            }
            TaskResult::CountsAgainstModel(reason) => {
                self.failed.insert(site.clone());
                self.missing.push(Missing {
                    site: site.clone(),
                    base,
                    reason: reason.to_string(),
                });
            }
            TaskResult::Missing(reason) => self.missing.push(Missing {
                site: site.clone(),
                base,
                reason: reason.to_string(),
            }),
            TaskResult::Scores(_) => {}
        }
        true
    }

    /// Whether a site is free, and has neither given an update from this version nor failed to.
    pub(super) fn may_ask(&self, site: &SiteName, version: Version) -> bool {
        let failed = self
            .missing
            .iter()
            .any(|missing| missing.site == *site && missing.base == version);
        let answered = self
            .answered
            .get(site)
            .is_some_and(|answered| *answered >= version);
        !self.asked.contains_key(site) && !answered && !failed
    }

    /// How many of the updates make a version: the first `size`, or more until they are of
    /// `minimum` sites; `None` while there are fewer. The same after a restart, because the order
    /// of acceptance is kept.
    pub(super) fn complete(&self, size: usize, minimum: usize) -> Option<usize> {
        let mut sites = BTreeSet::new();
        for (index, (site, _)) in self.updates.iter().enumerate() {
            sites.insert(site);
            let count = index + 1;
            if count >= size && sites.len() >= minimum {
                return Some(count);
            }
        }
        None
    }

    /// How many sites' updates wait.
    pub(super) fn sites(&self) -> usize {
        let sites: BTreeSet<&SiteName> = self.updates.iter().map(|(site, _)| site).collect();
        sites.len()
    }

    /// Refuses those of the first `count` updates that went more than `most_times` as far as the
    /// median of them. Gives what is missing now.
    pub(super) fn refuse_outliers(&mut self, count: usize, most_times: f64) -> Vec<Missing> {
        let mut distances = Vec::new();
        for (site, trained) in &self.updates[..count] {
            distances.push(self.distance(site, trained.task.base()));
        }
        let mut refused = Vec::new();
        for Outlier { index, reason } in outliers(&distances, most_times).into_iter().rev() {
            let (site, trained) = self.updates.remove(index);
            let reason = TaskFailure::Update(reason).to_string();
            let missing = Missing {
                site,
                base: trained.task.base(),
                reason,
            };
            self.missing.push(missing.clone());
            refused.push(missing);
        }
        self.forget_distances();
        refused
    }

    fn distance(&self, site: &SiteName, base: Version) -> Option<f64> {
        self.distances.get(site)?.get(&base).copied()
    }

    /// Keeps the distances of the updates that are there.
    fn forget_distances(&mut self) {
        let mut kept: BTreeMap<SiteName, BTreeMap<Version, f64>> = BTreeMap::new();
        for (site, trained) in &self.updates {
            let base = trained.task.base();
            if let Some(distance) = self.distance(site, base) {
                kept.entry(site.clone()).or_default().insert(base, distance);
            }
        }
        self.distances = kept;
    }

    /// A version was made of the first `counted` updates, and its record names the first `missing`
    /// failures.
    pub(super) fn counted(&mut self, counted: usize, missing: usize) {
        self.failed.clear();
        self.updates.drain(..counted.min(self.updates.len()));
        self.forget_distances();
        self.missing.drain(..missing.min(self.missing.len()));
    }

    /// Removes updates that are lost. Their sites are asked again, unless they gave a newer one.
    pub fn forget_updates(&mut self, mut lost: impl FnMut(&SiteName, &Trained) -> bool) {
        let answered = &mut self.answered;
        self.updates.retain(|(site, trained)| {
            let gone = lost(site, trained);
            if gone && answered.get(site) == Some(&trained.task.base()) {
                answered.remove(site);
            }
            !gone
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::site_name;
    use crate::message::RunId;
    use metrics::sequence::SequenceSet;

    fn task(base: u32) -> TaskId {
        TaskId::training(RunId::FEDERATION, Version(base))
    }

    fn update(from: u32) -> TaskResult {
        let trained = Trained {
            task: task(from),
            parameters: ParametersId([1; 32]),
            slices: 8,
            steps: 1,
            asked_steps: 1,
            mean_loss: 1.0,
            last_loss: 1.0,
            seconds: 1.0,
            sequences: SequenceSet::full(1),
            compute: crate::settings::Compute::F32,
        };
        TaskResult::Update {
            trained,
            distance: 1.0,
        }
    }

    fn ask(buffer: &mut Buffer, site: &str, from: u32) {
        let base = Version(from);
        buffer
            .asked
            .insert(site_name(site), Asked { base, steps: None });
    }

    fn give(buffer: &mut Buffer, site: &str, from: u32) {
        ask(buffer, site, from);
        assert!(buffer.settle(&site_name(site), task(from), update(from)));
    }

    #[test]
    fn an_update_counts_once_and_only_for_what_was_asked() {
        let mut buffer = Buffer::default();
        assert!(
            !buffer.settle(&site_name("north"), task(0), update(0)),
            "the site was not asked"
        );
        ask(&mut buffer, "north", 1);
        assert!(
            !buffer.settle(&site_name("north"), task(0), update(0)),
            "it was asked for another one"
        );
        give(&mut buffer, "north", 1);
        assert!(
            !buffer.settle(&site_name("north"), task(1), update(1)),
            "it has answered"
        );
        assert!(
            !buffer.may_ask(&site_name("north"), Version(1))
                && buffer.may_ask(&site_name("north"), Version(2))
                && buffer.may_ask(&site_name("south"), Version(1))
        );
        assert_eq!(buffer.updates.len(), 1);
    }

    #[test]
    fn a_buffer_is_complete_with_so_many_updates_of_enough_sites() {
        let mut buffer = Buffer::default();
        give(&mut buffer, "north", 0);
        give(&mut buffer, "north", 1);
        assert_eq!(
            (buffer.complete(2, 1), buffer.complete(2, 2), buffer.sites()),
            (Some(2), None, 1)
        );
        give(&mut buffer, "south", 0);
        give(&mut buffer, "west", 0);
        assert_eq!(
            (buffer.complete(2, 2), buffer.complete(5, 2), buffer.sites()),
            (Some(3), None, 3)
        );
    }

    #[test]
    fn a_model_is_kept_as_long_as_an_update_starts_from_it() {
        let mut buffer = Buffer::default();
        buffer
            .models
            .extend((0..6).map(|version| (Version(version), ParametersId([version as u8; 32]))));
        give(&mut buffer, "north", 2);
        ask(&mut buffer, "south", 3);
        buffer.forget_models(Version(5));
        assert_eq!(
            buffer.models.keys().copied().collect::<Vec<_>>(),
            [Version(2), Version(3), Version(5)]
        );
        assert_eq!(buffer.oldest(Version(5)), Version(2));
        buffer.counted(1, 0);
        assert_eq!(
            (
                buffer.oldest(Version(5)),
                Buffer::default().oldest(Version(5))
            ),
            (Version(3), Version(5))
        );
    }

    #[test]
    fn a_lost_update_is_asked_for_again_unless_the_site_gave_a_newer_one() {
        let mut buffer = Buffer::default();
        give(&mut buffer, "north", 0);
        give(&mut buffer, "north", 1);
        give(&mut buffer, "south", 1);
        buffer.forget_updates(|site, trained| trained.task.base().is_initial() || site == "south");
        assert_eq!(buffer.updates.len(), 1);
        assert!(
            !buffer.may_ask(&site_name("north"), Version(1))
                && buffer.may_ask(&site_name("south"), Version(1))
        );
    }
}
