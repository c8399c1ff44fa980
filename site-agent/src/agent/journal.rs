//! The result of the site's last training, kept so that a site whose program was killed does not
//! train it again.

use crate::data::Archives;
use program::files;
use program::sealed_json::{Form, Layout, checksum};
use protocol::settings::Federation;
use protocol::site::Finished;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file in the work folder.
const FILE: &str = "journal.json";

/// The journal of one federation.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    path: PathBuf,
    settings: String,
}

const LAYOUT: Layout = Layout {
    label: Some("settings"),
    content: "finished",
    form: Form::Text,
};

impl Journal {
    /// A result belongs to the federation's settings and to the site's own `data` table: after that
    /// is corrected, a site must train again.
    pub(super) fn new(work: &Path, federation: &Federation, data: &Archives) -> Self {
        // After a restart the network brings the same values, so their text is the same.
        let settings = serde_json::to_string(federation).unwrap_or_default();
        Self {
            path: work.join(FILE),
            settings: checksum(format!("{settings}\n{data:?}").as_bytes()),
        }
    }

    /// Writes a result, in place of the one before.
    pub(super) fn keep(&self, finished: &Finished) -> io::Result<()> {
        let finished = serde_json::to_string(finished)?;
        let text = LAYOUT.seal(&self.settings, &finished);
        files::replace(&self.path, |file| file.write_all(text.as_bytes()))
    }

    /// The result that is there; `None` when there is none, it is another federation's, or the
    /// file is damaged.
    pub(super) fn read(&self) -> Option<Finished> {
        let file = match std::fs::read(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => Vec::new(),
        };
        let Ok(opened) = LAYOUT.open(&file) else {
            tracing::warn!("{FILE} is damaged; the last training is done again if it is asked for");
            return None;
        };
        if opened.label != self.settings {
            return None;
        }
        serde_json::from_slice(&opened.content).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::sequence::SequenceSet;
    use protocol::message::{EvaluationRequest, RunId, TaskId, TaskKind, Trained};
    use protocol::parameters::ParametersId;
    use protocol::site::Work;

    fn federation(name: &str) -> Federation {
        Federation::from_toml(&format!(
            "name = '{name}'\nrounds = 1\n[input]\nsequences = ['a']\n"
        ))
        .unwrap()
    }

    #[test]
    fn a_result_is_read_back_by_its_own_federation_only_and_never_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let data = |root: &str| -> Archives {
            let text = format!("root = '{root}'\nsequences = {{ a = '{{case}}.nii' }}");
            toml::from_str::<crate::data::DataConfig>(&text)
                .unwrap()
                .into()
        };
        let journal = Journal::new(folder.path(), &federation("x"), &data("/mri"));
        assert_eq!(journal.read(), None);
        let task = TaskId {
            run: RunId(0),
            round: 3,
            kind: TaskKind::Train,
            pass: 0,
        };
        let trained = Trained {
            task,
            parameters: ParametersId([9; 32]),
            slices: 8,
            steps: 2,
            asked_steps: 5,
            mean_loss: 0.1,
            last_loss: 0.3,
            seconds: 1.5,
            sequences: SequenceSet::full(1),
            compute: protocol::settings::Compute::F32,
        };
        let work = Work {
            task,
            models: vec![ParametersId([7; 32])],
            wanted: EvaluationRequest::default(),
            steps: Some(5),
        };
        let finished = Finished { work, trained };
        journal.keep(&finished).unwrap();
        assert_eq!(journal.read().as_ref(), Some(&finished));
        assert_eq!(
            Journal::new(folder.path(), &federation("y"), &data("/mri")).read(),
            None
        );
        assert_eq!(
            Journal::new(folder.path(), &federation("x"), &data("/other")).read(),
            None
        );
        let path = folder.path().join(FILE);
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(
                journal.read().is_none_or(|read| read == finished),
                "byte {at}"
            );
            std::fs::write(&path, &sound[..at]).unwrap();
            assert_eq!(journal.read(), None, "cut at {at}");
        }
    }
}
