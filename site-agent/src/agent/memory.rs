//! What a site remembers of its own trainings for the next one.

use protocol::message::RunId;
use protocol::parameters::{Parameters, ParametersId};

/// The site's last update of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastUpdate {
    pub(super) run: RunId,
    pub(super) update: ParametersId,
}

/// The site's last model of a run.
#[derive(Debug)]
pub(super) struct OwnModel {
    pub(super) run: RunId,
    pub(super) parameters: Parameters,
}

/// A training whose update is stored, but not final: its task may have been withdrawn meanwhile.
#[derive(Debug)]
pub(super) struct PendingUpdate {
    pub(super) run: RunId,
    pub(super) update: ParametersId,
    /// The model itself, if the site keeps its normalisation layers.
    pub(super) learnt: Option<Parameters>,
}

#[derive(Debug)]
pub(super) struct TrainingMemory {
    /// The last final update. What its rounding lost is added to the next one.
    last: Option<LastUpdate>,
    /// It never becomes final if its task was withdrawn.
    pending: Option<PendingUpdate>,
    /// The model of the last update, if the site keeps its normalisation layers.
    own: Option<OwnModel>,
}

impl TrainingMemory {
    pub(super) fn new(last: Option<LastUpdate>, own: Option<OwnModel>) -> Self {
        Self {
            last,
            pending: None,
            own,
        }
    }

    /// The last final update of `run`.
    pub(super) fn last_update(&self, run: RunId) -> Option<ParametersId> {
        match &self.last {
            Some(last) if last.run == run => Some(last.update),
            _ => None,
        }
    }

    /// The site's own last model of `run`.
    pub(super) fn own_model(&self, run: RunId) -> Option<Parameters> {
        match &self.own {
            Some(own) if own.run == run => Some(own.parameters.clone()),
            _ => None,
        }
    }

    /// A training has ended.
    pub(super) fn trained(&mut self, training: PendingUpdate) {
        self.pending = Some(training);
    }

    /// This update is the result of its task: the next training builds on it.
    pub(super) fn update_is_final(&mut self, update: ParametersId) {
        let Some(training) = self.pending.take() else {
            return;
        };
        if training.update != update {
            return;
        }
        let run = training.run;
        self.last = Some(LastUpdate { run, update });
        if let Some(parameters) = training.learnt {
            self.own = Some(OwnModel { run, parameters });
        }
    }
}
