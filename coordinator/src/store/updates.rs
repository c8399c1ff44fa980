//! Updates: taken in from transfers, checked, and averaged into the next model.

use super::atomic::{self, AtomicFile, ModelFile, write_whole};
use super::source::{self, FileSource};
use super::{Place, Store, StoreError, json, remove, unsound};
use aggregation::{AggregateError, Average, CheckError, Checked, Models};
use protocol::codec::transfer::Arrived;
use protocol::coordinator::{Contribution, UpdateRejection};
use protocol::identity::SiteName;
use protocol::message::TransferHeader;
use protocol::parameters::{Manifest, ParametersId, to_bytes};
use protocol::settings::Precision;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A received update and the model that it started from, open to be checked: both stay readable,
/// also when they are removed from the folder.
#[derive(Debug)]
pub struct Offered {
    path: PathBuf,
    update: FileSource,
    start: FileSource,
}

/// What came of checking an update.
#[derive(Debug)]
pub enum CheckOutcome {
    Accepted {
        update: Checked<FileSource>,
        /// How far it is from the model that it started from.
        distance: f64,
    },
    Refused(UpdateRejection),
}

impl Store {
    /// Opens a received update, and the model that it started from.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open_update(
        &self,
        file: &Path,
        base: Place<'_>,
        manifest: &Manifest,
    ) -> Result<Offered, StoreError> {
        let start = FileSource::open(&self.model(base), manifest)?;
        Ok(Offered {
            path: file.into(),
            update: self.open_stored(file, base, manifest)?,
            start,
        })
    }

    fn open_stored(
        &self,
        file: &Path,
        base: Place<'_>,
        manifest: &Manifest,
    ) -> Result<FileSource, StoreError> {
        match &self.encoding {
            None => FileSource::open(file, manifest),
            Some(encoding) => FileSource::encoded(file, &self.model(base), encoding, manifest),
        }
    }

    /// Checks a received file, and stores it as a site's update of the model `base`. A refused file
    /// is removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn accept(
        &self,
        offered: Offered,
        base: Place<'_>,
        site: &SiteName,
        manifest: &Manifest,
        arrived: Arrived,
    ) -> Result<CheckOutcome, StoreError> {
        let received = offered.path.clone();
        match self.check(offered, manifest, &arrived) {
            Ok(accepted) => {
                atomic::move_into(&received, &self.update(base, site))?;
                Ok(accepted)
            }
            Err(CheckError::Storage(error)) => Err(error),
            Err(CheckError::Rejected(rejection)) => {
                fs::remove_file(&received).map_err(StoreError::io("remove", &received))?;
                Ok(CheckOutcome::Refused(rejection))
            }
        }
    }

    fn check(
        &self,
        mut offered: Offered,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<CheckOutcome, CheckError<StoreError>> {
        let mut update = self.take(offered.update, manifest, arrived)?;
        let distance = update.measure(&mut offered.start, manifest)?;
        Ok(CheckOutcome::Accepted { update, distance })
    }

    fn take(
        &self,
        source: FileSource,
        manifest: &Manifest,
        arrived: &Arrived,
    ) -> Result<Checked<FileSource>, CheckError<StoreError>> {
        match self.encoding {
            None => Checked::arrived(source, manifest, arrived),
            Some(_) => Checked::decoded(source, manifest, arrived),
        }
    }

    /// Checks that an update that was accepted before a restart is what it was.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or [`StoreError::Io`].
    pub fn accepted(
        &self,
        base: Place<'_>,
        site: &SiteName,
        manifest: &Manifest,
        header: TransferHeader,
    ) -> Result<Checked<FileSource>, StoreError> {
        let path = self.update(base, site);
        let arrived = source::arrive_again(&path, header)?;
        let source = self.open_stored(&path, base, manifest)?;
        self.take(source, manifest, &arrived)
            .map_err(|error| unsound(&path, error))
    }

    /// How many bytes an update takes.
    #[must_use]
    pub fn update_bytes(&self, manifest: &Manifest) -> u64 {
        self.encoding
            .as_ref()
            .map_or(manifest.bytes(), |encoding| encoding.bytes())
    }

    /// Where a site's update of the model `base` is: with the round that makes the next model.
    pub(super) fn update(&self, base: Place<'_>, site: &SiteName) -> PathBuf {
        let extension = match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        };
        self.round(base.next())
            .join("updates")
            .join(format!("{site}.{extension}"))
    }

    /// Stores a model once more, in the place of another round's.
    ///
    /// # Errors
    /// When the disk refuses, or the model is not there.
    pub fn restore(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let path = self.model(from);
        let model = FileSource::open(&path, manifest)?;
        let mut file = AtomicFile::create(&self.model(to))?;
        file.write_file(model.into_file(), &path)?;
        // What the rule keeps belongs to the model; the initial one has nothing.
        let path = self.rule_state(from);
        let target = self.rule_state(to);
        match File::open(&path) {
            Ok(state) => {
                let mut file = AtomicFile::create(&target)?;
                file.write_file(state, &path)?;
                file.commit()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remove(&target, |path| fs::remove_file(path))?;
            }
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        }
        file.commit()
    }

    /// Where what the aggregation rule keeps with a model is.
    pub(super) fn rule_state(&self, place: Place<'_>) -> PathBuf {
        self.round(place).join("rule.f32")
    }

    /// Makes a model of updates, and writes down what each of them counts for.
    ///
    /// # Errors
    /// When the disk refuses, the updates are not what their summaries say, or a model that one
    /// started from is gone.
    pub fn aggregate(
        &self,
        average: &Average<'_, FileSource>,
        place: Place<'_>,
        updates: Vec<(Contribution, Checked<FileSource>)>,
    ) -> Result<ParametersId, StoreError> {
        let summary = self.summarise(place, &updates)?;
        let newest = place.before();
        let mut versions = BTreeSet::from([newest.version]);
        for (contribution, _) in &updates {
            versions.insert(contribution.base);
        }
        let mut stored = BTreeMap::new();
        for version in versions {
            let path = self.model(Place { version, ..place });
            stored.insert(version, FileSource::open(&path, average.manifest)?);
        }
        let kept = average.rule.kept();
        let before = self.rule_state(newest);
        let models = Models {
            newest: newest.version,
            stored,
            state: FileSource::of_rule(&before, kept, average.manifest)?,
        };
        let mut file = ModelFile::create(&self.model(place))?;
        let mut state = match kept {
            0 => None,
            _ => Some(AtomicFile::create(&self.rule_state(place))?),
        };
        let made = average.run(models, updates, |made| {
            if let Some(state) = &mut state {
                state.write(&to_bytes(made.state))?;
            }
            file.write(made.values)
        });
        match made {
            Ok(()) => {}
            Err(AggregateError::Storage(error)) => return Err(error),
            Err(error) => {
                return Err(StoreError::Damaged {
                    path: summary,
                    reason: error.to_string(),
                });
            }
        }
        // Before the model, which is not made without it.
        if let Some(state) = state {
            state.commit()?;
        }
        file.commit()
    }

    /// Writes down what each update counts for.
    fn summarise(
        &self,
        place: Place<'_>,
        updates: &[(Contribution, Checked<FileSource>)],
    ) -> Result<PathBuf, StoreError> {
        let summary = self.round(place).join("updates.json");
        let contributions: Vec<&Contribution> = updates
            .iter()
            .map(|(contribution, _)| contribution)
            .collect();
        write_whole(&summary, &json(&contributions, &summary)?)?;
        Ok(summary)
    }
}
