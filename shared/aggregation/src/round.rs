//! What a rule reads: the models that the server has, and the updates of one round in site order.

use crate::check::Checked;
use crate::segment::Segment;
use crate::{AggregateError, Source};
use protocol::coordinator::Contribution;
use protocol::identity::{SiteName, Version};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What the server has stored before the next model is made.
#[derive(Debug)]
pub struct Models<S> {
    /// The newest version, which becomes the next one.
    pub newest: Version,
    /// Stored models by version: the newest, and every one that an update started from.
    pub stored: BTreeMap<Version, S>,
    /// What the rule kept with the newest model, see [`Rule::kept`](crate::Rule::kept); `None`
    /// where it kept nothing yet.
    pub state: Option<S>,
}

impl<S> Models<S> {
    /// One model alone, which all updates started from, and nothing kept.
    pub fn only(newest: Version, model: S) -> Self {
        Self {
            newest,
            stored: BTreeMap::from([(newest, model)]),
            state: None,
        }
    }
}

/// A source that one thread reads at a time.
#[derive(Debug)]
struct Shared<S>(Mutex<S>);

impl<S: Source> Shared<S> {
    fn new(source: S) -> Self {
        Self(Mutex::new(source))
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<(), AggregateError<S::Error>> {
        // A thread that panicked has broken off the whole average.
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.read(start, out).map_err(AggregateError::Storage)
    }
}

/// One site's update, and what it counts for.
#[derive(Debug)]
pub struct Update<S> {
    /// The site, its weight, its sequences, and the version that it started from.
    pub contribution: Contribution,
    /// What the rule made of its distances to the others, see
    /// [`Rule::compare`](crate::Rule::compare); 0 for a rule that does not compare.
    pub score: f64,
    values: Shared<S>,
}

impl<S: Source> Update<S> {
    /// Slices seen while training: the weight.
    pub fn slices(&self) -> f64 {
        self.contribution.slices as f64
    }

    /// Fills `out` with the site's parameters from index `start` of the model on.
    ///
    /// # Errors
    /// [`AggregateError::Storage`].
    pub fn read(&self, start: usize, out: &mut [f32]) -> Result<(), AggregateError<S::Error>> {
        self.values.read(start, out)
    }
}

/// All updates of one round, and the models that they started from. Several threads read it at a
/// time.
#[derive(Debug)]
pub struct Round<S> {
    newest: Version,
    models: BTreeMap<Version, Shared<S>>,
    state: Option<Shared<S>>,
    updates: Vec<Update<S>>,
}

impl<S: Source> Round<S> {
    /// Puts the updates in site order.
    ///
    /// # Errors
    /// [`AggregateError::Twice`] for two updates of a site from one version,
    /// [`AggregateError::Mismatch`] for values that are not those of their summary,
    /// [`AggregateError::Empty`] without weight.
    pub(crate) fn new(
        models: Models<S>,
        mut updates: Vec<(Contribution, Checked<S>)>,
    ) -> Result<Self, AggregateError<S::Error>> {
        fn origin(contribution: &Contribution) -> (&SiteName, Version) {
            (&contribution.site, contribution.base)
        }
        updates.sort_by(|(one, _), (other, _)| origin(one).cmp(&origin(other)));
        for pair in updates.windows(2) {
            let (first, second) = (&pair[0].0, &pair[1].0);
            if origin(first) == origin(second) {
                return Err(AggregateError::Twice {
                    site: first.site.clone(),
                    base: first.base,
                });
            }
        }
        let mut weighted = false;
        for (contribution, update) in &updates {
            if contribution.parameters != update.parameters {
                return Err(AggregateError::Mismatch(contribution.site.clone()));
            }
            weighted |= contribution.slices > 0;
        }
        if !weighted {
            return Err(AggregateError::Empty);
        }
        let mut shared = Vec::new();
        for (contribution, update) in updates {
            shared.push(Update {
                contribution,
                score: 0.0,
                values: Shared::new(update.source),
            });
        }
        let mut stored = BTreeMap::new();
        for (version, model) in models.stored {
            stored.insert(version, Shared::new(model));
        }
        Ok(Self {
            newest: models.newest,
            models: stored,
            state: models.state.map(Shared::new),
            updates: shared,
        })
    }

    /// The version of the newest model.
    pub fn newest(&self) -> Version {
        self.newest
    }

    /// All updates, in site order.
    pub(crate) fn all(&self) -> &[Update<S>] {
        &self.updates
    }

    /// Keeps what the rule made of the distances, in the same order.
    pub(crate) fn score(&mut self, scores: &[f64]) {
        for (update, score) in self.updates.iter_mut().zip(scores) {
            update.score = *score;
        }
    }

    /// The updates that have anything to say about a segment, in site order.
    pub fn updates(&self, segment: &Segment) -> impl Iterator<Item = &Update<S>> {
        self.updates
            .iter()
            .filter(|update| segment.is_taught_by(&update.contribution))
    }

    /// The slices of all updates that have anything to say about a segment.
    pub fn weight(&self, segment: &Segment) -> f64 {
        self.updates(segment).map(Update::slices).sum()
    }

    /// Fills `out` with the values of a version of the model from index `start` on.
    ///
    /// # Errors
    /// [`AggregateError::Base`] for a version that is not there, [`AggregateError::Storage`].
    pub fn read_model(
        &self,
        version: Version,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), AggregateError<S::Error>> {
        let Some(model) = self.models.get(&version) else {
            return Err(AggregateError::Base(version));
        };
        model.read(start, out)
    }

    /// Fills `out` with what was kept, from index `start` on; with zeros where nothing was.
    pub(crate) fn read_state(
        &self,
        start: usize,
        out: &mut [f32],
    ) -> Result<(), AggregateError<S::Error>> {
        match &self.state {
            Some(state) => state.read(start, out),
            None => {
                out.fill(0.0);
                Ok(())
            }
        }
    }
}
