//! The run folder: everything a federation leaves on disk. Each file is replaced completely or not
//! at all.
//!
//! ```text
//! settings.json            the federation's settings; another federation is refused
//! state.json               the checkpoint that a restart needs, with its checksum
//! state.previous.json      the checkpoint before
//! federation/round-0000/   global.f32: the initial model
//! federation/round-NNNN/   global.f32: the model that the round made
//!                          updates/SITE.f32, or SITE.bf16, SITE.int8: trained from the model before
//!                          updates.json: what each update counts for, and its base
//!                          rule.f32: what the aggregation rule keeps for the next model, if anything
//! alone-SITE/round-NNNN/   the same for a site's own training run
//! records/RUN/             round-NNNN.json: the record of a round, with its checksum, written when
//!                          the next round is finished
//! models/                  the best and the last model of each training run as safetensors
//! outcome.json             what the report is made of
//! incoming/                updates on their way in
//! status-page.json         where the status page is while a coordinator works here
//! status-token             the token that steering needs
//! ```

mod atomic;
mod checkpoint;
mod lock;
mod records;
mod remedy;
mod settings;
mod source;
mod updates;

use aggregation::Source;
use aggregation::{BLOCK, CheckError, Checked};
use atomic::AtomicFile;
pub(crate) use atomic::write_whole;
pub use checkpoint::peek;
pub(crate) use lock::in_use;
pub use lock::is_held;
use program::private;
use protocol::architecture::manifest;
use protocol::coordinator::{Checkpoint, RunProgress, UpdateRejection};
use protocol::identity::Version;
use protocol::model_file::{ModelCard, prelude};
use protocol::outcome::{Outcome, RoundRecord, RunKind};
use protocol::parameters::{Manifest, Parameters, ParametersId, to_bytes};
use protocol::settings::{Federation, Precision};
use protocol::update_encoding::Encoding;
pub use records::records;
pub use source::FileSource;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use updates::{CheckOutcome, Offered};

/// What the report is made of, in a run folder.
pub(crate) const OUTCOME: &str = "outcome.json";

/// Why the run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refuses.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another coordinator works in the folder.
    #[error("{} is in use by another coordinator{}", folder.display(), in_brackets(*process))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Its process, as far as known.
        process: Option<u32>,
    },
    /// The checkpoint that a restart needs is gone, and rounds are there.
    #[error("{} is missing, and the folder holds rounds of a run", path.display())]
    NoFacts {
        /// Where it should be.
        path: PathBuf,
        /// Whether the checkpoint before it is there.
        previous: bool,
    },
    /// The folder belongs to a federation with other settings.
    #[error("{} holds a run with other settings: {}", folder.display(), differences.join("; "))]
    Settings {
        /// The folder.
        folder: PathBuf,
        /// Each key with what the folder says and what is asked for.
        differences: Vec<String>,
    },
    /// A file is torn or changed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// What a round did cannot be read any more.
    #[error("{} is damaged: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// A sound file that this release does not understand.
    #[error("{} was written by another release: {reason}", path.display())]
    Release {
        /// The file.
        path: PathBuf,
        /// What is not understood.
        reason: String,
    },
}

fn in_brackets(process: Option<u32>) -> String {
    match process {
        Some(id) => format!(" (process {id})"),
        None => String::new(),
    }
}

impl StoreError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            action,
            path: path.into(),
            error,
        }
    }
}

/// A run folder, held by one coordinator at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    keep_updates: bool,
    /// How updates are stored; `None` as vectors.
    encoding: Option<Arc<Encoding>>,
    precision: Precision,
    /// Released when the coordinator ends, however it ends.
    _lock: File,
}

/// Which model of the run folder is meant.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub run: &'a RunKind,
    pub version: Version,
}

/// For what a model of a run is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// As the best model so far.
    Best,
    /// As the model of the last round.
    Last,
}

impl Export {
    /// The end of the file's name, before its type.
    fn ending(self) -> &'static str {
        match self {
            Self::Best => "",
            Self::Last => "-last",
        }
    }
}

impl Place<'static> {
    /// The model that every run starts from.
    pub const INITIAL: Self = Self {
        run: &RunKind::Federation,
        version: Version::INITIAL,
    };
}

impl Place<'_> {
    /// The model before this one; the initial model has none.
    fn before(self) -> Self {
        Self {
            version: Version(self.version.0.saturating_sub(1)),
            ..self
        }
    }

    /// The model that is made of trainings from this one.
    fn next(self) -> Self {
        Self {
            version: self.version.next(),
            ..self
        }
    }
}

impl Store {
    /// Opens a run folder, new or with a run of the same settings to go on with. With
    /// `keep_updates` every round's models and updates stay; otherwise the last two rounds', the
    /// best model and the last round's updates do, and the models that a site still trains from.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        root: &Path,
        federation: &Federation,
        keep_updates: bool,
    ) -> Result<(Self, Option<Checkpoint>), StoreError> {
        private::create_folder(root).map_err(StoreError::io("create", root))?;
        private::warn("the run folder", root);
        let lock = lock::lock(root)?;
        let network = manifest(&federation.model, &federation.input);
        let encoding = Encoding::new(&network, federation.updates).map(Arc::new);
        let store = Self {
            root: root.into(),
            keep_updates,
            encoding,
            precision: federation.updates,
            _lock: lock,
        };
        let settings = root.join("settings.json");
        match fs::read(&settings) {
            Ok(text) => store.compare_settings(&settings, &text, federation)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_whole(&settings, &json(federation, &settings)?)?;
            }
            Err(error) => return Err(StoreError::io("read", &settings)(error)),
        }
        let checkpoint = checkpoint::read(root)?;
        if checkpoint.is_none() && checkpoint::had_rounds(root) {
            let previous = root.join(checkpoint::PREVIOUS).exists();
            return Err(StoreError::NoFacts {
                path: root.join(checkpoint::STATE),
                previous,
            });
        }
        // The report needs the records at the end. What is wrong with one is said at the start.
        if let Some(checkpoint) = &checkpoint {
            for run in &checkpoint.runs {
                store.records(run)?;
            }
        }
        Ok((store, checkpoint))
    }

    /// Where received parameters arrive: on the same disk, so that they can be moved.
    #[must_use]
    pub fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// Where a model is.
    #[must_use]
    pub fn model(&self, place: Place<'_>) -> PathBuf {
        let place = if place.version.is_initial() {
            Place::INITIAL
        } else {
            place
        };
        self.round(place).join("global.f32")
    }

    /// The folder of the round that made a model.
    fn round(&self, place: Place<'_>) -> PathBuf {
        let round = format!("round-{:04}", place.version.0);
        self.root.join(file_name(place.run)).join(round)
    }

    /// Stores a model.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_model(&self, place: Place<'_>, parameters: &Parameters) -> Result<(), StoreError> {
        let mut file = AtomicFile::create(&self.model(place))?;
        for block in parameters.values().chunks(BLOCK) {
            file.write(&to_bytes(block))?;
        }
        file.commit()
    }

    fn checked(
        path: &Path,
        manifest: &Manifest,
        id: ParametersId,
    ) -> Result<Checked<FileSource>, StoreError> {
        Checked::check(FileSource::open(path, manifest)?, manifest, id)
            .map_err(|error| unsound(path, error))
    }

    /// Stores the checkpoint that a restart needs.
    ///
    /// # Errors
    /// When the disk refuses; the checkpoint before is still there.
    pub fn persist(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        checkpoint::write(&self.root, checkpoint)
    }

    /// Removes models and updates that this checkpoint and later ones do not need.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn prune(&self, kept: &Checkpoint) -> Result<(), StoreError> {
        if self.keep_updates {
            return Ok(());
        }
        for run in &kept.runs {
            self.prune_run(run)?;
        }
        Ok(())
    }

    /// Stores the record of a finished round, for the report.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn record(&self, run: &RunKind, record: &RoundRecord) -> Result<(), StoreError> {
        records::write(&self.root, run, record)
    }

    /// The records of a run's rounds before the last one, which is in the checkpoint.
    fn records(&self, run: &RunProgress) -> Result<Vec<RoundRecord>, StoreError> {
        let name = &run.outcome.name;
        let records = records(&self.root, name, run.finished).collect::<Result<Vec<_>, _>>()?;
        let lost = (run.finished as usize).saturating_sub(1 + records.len());
        if lost > 0 {
            tracing::warn!(
                run = %name,
                lost,
                "the report lacks rounds whose records are gone"
            );
        }
        Ok(records)
    }

    /// Adds the rounds before the last one to the record of a federation.
    ///
    /// # Errors
    /// [`StoreError::Record`], or [`StoreError::Io`].
    pub fn complete(&self, outcome: &mut Outcome, runs: &[RunProgress]) -> Result<(), StoreError> {
        for run in &mut outcome.runs {
            if let Some(progress) = runs
                .iter()
                .find(|progress| progress.outcome.name == run.name)
            {
                run.rounds.splice(..0, self.records(progress)?);
            }
        }
        Ok(())
    }

    /// Checks that a model that a run goes on from is what it was.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or [`StoreError::Io`].
    pub fn verify(
        &self,
        place: Place<'_>,
        manifest: &Manifest,
        id: ParametersId,
    ) -> Result<(), StoreError> {
        Self::checked(&self.model(place), manifest, id).map(drop)
    }

    /// Checks that a run that goes on began from this very model.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when it did not, or as [`Store::verify`] when that model cannot be
    /// read.
    pub fn same_start(
        &self,
        place: Place<'_>,
        manifest: &Manifest,
        id: ParametersId,
    ) -> Result<(), StoreError> {
        let path = self.model(place);
        match Checked::check(FileSource::open(&path, manifest)?, manifest, id) {
            Ok(_) => Ok(()),
            // Sound, and of another hash.
            Err(CheckError::Rejected(UpdateRejection::Hash { .. })) => {
                let differences = vec![format!(
                    "it began from other weights (--start), or {} is damaged",
                    path.display()
                )];
                Err(StoreError::Settings {
                    folder: self.root.clone(),
                    differences,
                })
            }
            Err(error) => Err(unsound(&path, error)),
        }
    }

    /// Writes a model with its settings as `models/RUN.safetensors` or
    /// `models/RUN-last.safetensors`, if it still is the one of that hash, and one that could be
    /// used.
    ///
    /// # Errors
    /// When the model cannot be read or written, or is not what it was.
    pub fn export(
        &self,
        place: Place<'_>,
        manifest: &Manifest,
        card: &ModelCard,
        weights: ParametersId,
        export: Export,
    ) -> Result<(), StoreError> {
        let path = self.model(place);
        let damaged = |reason: String| StoreError::Damaged {
            path: path.clone(),
            reason,
        };
        Self::checked(&path, manifest, weights)?;
        let mut source = FileSource::open(&path, manifest)?;
        for (spec, range) in manifest.ranges().filter(|(spec, _)| spec.is_variance()) {
            let mut values = vec![0.0; spec.len()];
            source.read(range.start, &mut values)?;
            spec.check_variance(&values)
                .map_err(|error| damaged(error.to_string()))?;
        }
        let before =
            prelude(manifest, card, weights).map_err(|error| damaged(error.to_string()))?;
        let name = format!("{}{}.safetensors", file_name(place.run), export.ending());
        let mut file = AtomicFile::create(&self.root.join("models").join(name))?;
        file.write(&before)?;
        file.write_file(FileSource::open(&path, manifest)?.into_file(), &path)?;
        file.commit()
    }

    /// Writes what the report is made of.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put_outcome(&self, outcome: &Outcome) -> Result<(), StoreError> {
        let path = self.root.join(OUTCOME);
        write_whole(&path, &json(outcome, &path)?)
    }

    fn prune_run(&self, run: &RunProgress) -> Result<(), StoreError> {
        let newest = run.newest();
        let mut kept = BTreeSet::from([newest]);
        let mut oldest = newest;
        if let Some(best) = run.best {
            kept.insert(best.version);
        }
        if let Some(sound) = run.sound {
            kept.insert(sound.version);
        }
        if let Some(buffer) = &run.buffer {
            kept.extend(buffer.models.keys());
            oldest = buffer.oldest(newest);
        }
        for round in 1..run.finished {
            let version = Version(round);
            let place = Place {
                run: &run.outcome.name,
                version,
            };
            // Updates from a model are in the folder of the round after it.
            if version <= oldest {
                remove(&self.round(place).join("updates"), |path| {
                    fs::remove_dir_all(path)
                })?;
            }
            // The model before the newest one stays too: a job may still read it.
            if version.next() < newest && !kept.contains(&version) {
                remove(&self.model(place), |path| fs::remove_file(path))?;
                remove(&self.rule_state(place), |path| fs::remove_file(path))?;
            }
        }
        Ok(())
    }
}

/// The name of a run in the names of files and folders.
fn file_name(run: &RunKind) -> String {
    match run {
        RunKind::Alone { site } => format!("alone-{site}"),
        RunKind::Federation | RunKind::Consensus => run.to_string(),
    }
}

/// A stored vector that is not what it was, or a disk that refuses.
fn unsound(path: &Path, error: CheckError<StoreError>) -> StoreError {
    match error {
        CheckError::Storage(error) => error,
        CheckError::Rejected(rejection) => StoreError::Damaged {
            path: path.into(),
            reason: rejection.to_string(),
        },
    }
}

fn remove(path: &Path, how: impl Fn(&Path) -> io::Result<()>) -> Result<(), StoreError> {
    let Err(error) = how(path) else {
        return Ok(());
    };
    match error.kind() {
        // An update whose task was withdrawn may have come in meanwhile. It is removed next time.
        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => Ok(()),
        _ => Err(StoreError::io("remove", path)(error)),
    }
}

fn json(value: &impl serde::Serialize, path: &Path) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::io("write", path)(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
