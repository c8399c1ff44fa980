//! The one place where an error becomes words for a person, a hint and an exit code.

use crate::case::CaseFileError;
use crate::data::{CaseError, DataError};
use crate::link::LinkError;
use crate::nifti::NiftiError;
use crate::phantom::PhantomError;
use crate::signal::Signal;
use shared::visible::visible_lines;
use std::io;
use std::process::ExitCode;

/// Shown under `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 bad configuration, 4 bad or missing data, \
5 federation, network or device, 6 disk, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM)";

/// What kind of failure ended the program: its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A fault of ours.
    Internal = 1,
    /// A configuration file or option that cannot work.
    Configuration = 3,
    /// Data that is missing or unusable.
    Data = 4,
    /// The federation or the network refused, or the device cannot work.
    Federation = 5,
    /// Reading or writing files.
    Disk = 6,
    /// Ctrl-C, SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl From<Signal> for Class {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
        }
    }
}

/// A failure in words: what happened and where, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The exit code's kind.
    pub class: Class,
    /// What happened, with file, case or site.
    pub what: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(class: Class, what: impl std::fmt::Display) -> Self {
        Self { class, what: what.to_string(), hint: None }
    }

    /// The system tells of no signals.
    pub(crate) fn deaf(error: std::io::Error) -> Self {
        Self::new(Class::Internal, format!("cannot listen for signals: {error}"))
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let (class, hint) = match &error {
            DataError::Root { .. } => (Class::Data, "data.root is the folder that holds the cases"),
            DataError::NoCases { .. } => {
                (Class::Data, "{case} in a pattern stands for the case's name; see docs/DATA.md")
            }
            DataError::NothingLeft { .. } => (Class::Data, "repair the files it names, or correct the [data] table"),
            DataError::UnknownSequence { .. } | DataError::NoSequence => {
                (Class::Configuration, "[data.sequences] says which files are which of the federation's sequences")
            }
            DataError::Disk { error, .. } => (Class::Disk, disk_hint(error)),
        };
        Self::new(class, &error).hint(hint)
    }
}

impl From<CaseError> for Failure {
    fn from(error: CaseError) -> Self {
        match error {
            CaseError::Cache(error) => error.into(),
            error => Self::new(Class::Data, error),
        }
    }
}

impl From<CaseFileError> for Failure {
    fn from(error: CaseFileError) -> Self {
        match &error {
            CaseFileError::Io(cause) => Self::new(Class::Disk, &error).hint(disk_hint(cause)),
            CaseFileError::Damaged => Self::new(Class::Disk, error).hint("delete the cache folder: it is made anew"),
            CaseFileError::NoLabel => Self::new(Class::Data, error),
            CaseFileError::Size { .. } => Self::new(Class::Internal, error),
        }
    }
}

impl From<NiftiError> for Failure {
    fn from(error: NiftiError) -> Self {
        Self::new(Class::Data, error)
    }
}

impl From<crate::agent::SiteConfigError> for Failure {
    fn from(error: crate::agent::SiteConfigError) -> Self {
        Self::new(Class::Configuration, error)
            .hint("configs/site-train.toml shows every key; docs/DATA.md explains [data]")
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        use LinkError as E;
        let class = match error {
            E::Certificates { .. } | E::Address { .. } => Class::Configuration,
            E::Incoming { .. } => Class::Disk,
            E::Message(_) => Class::Internal,
            _ => Class::Federation,
        };
        let hint = match error {
            E::Unreachable { .. } => Some("is the coordinator running, and does the firewall let UDP through?"),
            E::Tunnel { .. } => {
                Some("`fallback` is where the coordinator's serve.fallback listens; \"off\" leaves it out")
            }
            E::Proxy { .. } => {
                Some("HTTPS_PROXY=http://user:password@host:port names the proxy, NO_PROXY who needs none")
            }
            E::OurCertificate { .. } => Some("ask the federation for a new certificate folder for this site"),
            E::TheirCertificate { .. } => Some(
                "`coordinator` must be a name in its certificate, and `certificates` the folder of this federation",
            ),
            E::Protocol { .. } => Some("coordinator and site-agent must be of the same release"),
            _ => None,
        };
        Self { class, what: error.to_string(), hint: hint.map(Into::into) }
    }
}

/// What to do about a disk that refuses.
fn disk_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room, or set another work_folder",
        io::ErrorKind::PermissionDenied => "give the program's user the right to write there",
        _ => "is the folder there, and the disk sound?",
    }
}

impl From<crate::predict::PredictError> for Failure {
    fn from(error: crate::predict::PredictError) -> Self {
        use crate::predict::PredictError as E;
        let (class, hint) = match error {
            E::Case(error) => return error.into(),
            E::Device(error) => return Self::from(error),
            E::Fault(fault) => return fault.into(),
            E::ModelUnreadable { .. } => (Class::Data, "give the path of a model file with --model"),
            E::ModelFile { .. } => {
                (Class::Data, "copy the file anew; the coordinator keeps its models in models/ of the run folder")
            }
            E::UnknownSequence { .. } | E::Twice { .. } | E::NoSequence { .. } => {
                (Class::Configuration, "give each sequence the patient has as --sequence NAME=FILE")
            }
            E::NoThreshold | E::Threshold(_) => (Class::Configuration, "give one with --threshold, such as 0.5"),
            E::OperatingPoint(_) => (
                Class::Configuration,
                "name another one with --operating-point, give a probability with --threshold, or find this site's own with \
                 `site-agent calibrate`",
            ),
            E::Calibration(error) => return error.into(),
            E::Output(error) => return error.into(),
            E::Write { .. } | E::Folder { .. } => (Class::Disk, "choose another folder with --out"),
            E::Model(error) => return error.into(),
            E::Lost(_) => return Self::new(Class::Internal, error),
        };
        Self::new(class, error).hint(hint)
    }
}

impl From<crate::output::OutputError> for Failure {
    fn from(error: crate::output::OutputError) -> Self {
        Self::new(Class::Configuration, &error).hint(error.remedy())
    }
}

impl From<PhantomError> for Failure {
    fn from(error: PhantomError) -> Self {
        let class = match &error {
            PhantomError::Settings(_) | PhantomError::Occupied(_) => Class::Configuration,
            PhantomError::Disk { .. } | PhantomError::Volume { .. } => Class::Disk,
        };
        let failure = Self::new(class, &error);
        match error {
            PhantomError::Occupied(_) => failure.hint("name a new folder with --out, or empty this one"),
            _ => failure,
        }
    }
}

/// Prints a failure, if any, and gives the exit code.
#[must_use]
pub fn report(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    // Names in it may come from files of others.
    eprintln!("error: {}", visible_lines(&failure.what));
    if let Some(hint) = failure.hint {
        eprintln!("hint: {}", visible_lines(&hint));
    }
    ExitCode::from(failure.class as u8)
}

impl From<crate::device::DeviceError> for Failure {
    fn from(error: crate::device::DeviceError) -> Self {
        let class = if error.is_setting() { Class::Configuration } else { Class::Federation };
        Self::new(class, &error).hint(error.remedy())
    }
}

impl From<crate::device::DeviceFault> for Failure {
    fn from(fault: crate::device::DeviceFault) -> Self {
        let hint = match fault {
            crate::device::DeviceFault::OutOfMemory(_) => {
                "close other programs that use the card; `site-agent doctor` says what fits. --device cpu works everywhere"
            }
            crate::device::DeviceFault::Failed(_) => {
                "try it once more; `site-agent doctor` looks at the device. --device cpu works everywhere"
            }
        };
        Self::new(Class::Federation, fault).hint(hint)
    }
}

impl From<crate::evaluate::EvaluateError> for Failure {
    fn from(error: crate::evaluate::EvaluateError) -> Self {
        match error {
            crate::evaluate::EvaluateError::Device(fault) => fault.into(),
            error => Self::new(Class::Data, error),
        }
    }
}

impl From<crate::model::ModelError> for Failure {
    fn from(error: crate::model::ModelError) -> Self {
        Self::new(Class::Data, error)
    }
}

impl From<shared::model_file::ModelFileError> for Failure {
    fn from(error: shared::model_file::ModelFileError) -> Self {
        Self::new(Class::Data, error)
    }
}
