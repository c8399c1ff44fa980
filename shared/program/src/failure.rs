//! How a program ends with a failure: a message for a person, a hint and an exit code.

use crate::signal::Signal;
use crate::visible::visible_lines;
use std::borrow::Cow;
use std::process::ExitCode;

/// The kind of a failure, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A fault in this program.
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

impl Class {
    /// The kind of failure of a child process that is one of the two programs.
    #[must_use]
    pub fn of_exit(code: Option<i32>) -> Self {
        match code {
            Some(2 | 3) => Self::Configuration,
            Some(4) => Self::Data,
            Some(6) => Self::Disk,
            Some(130) => Self::Interrupted,
            Some(143) => Self::Terminated,
            _ => Self::Federation,
        }
    }
}

impl From<Signal> for Class {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::Interrupted,
            Signal::Terminate => Self::Terminated,
        }
    }
}

/// What an error means to the person who started the program. Implemented next to the error, whose
/// `Display` is the message.
pub trait Explain: std::fmt::Display {
    fn class(&self) -> Class;

    /// What the person can do.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }
}

/// A failure as a message and a hint.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub class: Class,
    /// What happened, with file, case or site.
    pub what: String,
    /// What the person can do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(class: Class, what: impl std::fmt::Display) -> Self {
        Self {
            class,
            what: what.to_string(),
            hint: None,
        }
    }

    /// The system refuses to report signals.
    #[must_use]
    pub fn no_signals(error: std::io::Error) -> Self {
        Self::new(
            Class::Internal,
            format!("cannot listen for signals: {error}"),
        )
    }

    /// Adds what the person can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            class: error.class(),
            what: error.to_string(),
            hint: error.hint().map(Cow::into_owned),
        }
    }
}

/// Prints a failure, if there is one, and returns the exit code.
#[must_use]
pub fn report(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    // The message may contain names from foreign files.
    eprintln!("error: {}", visible_lines(&failure.what));
    if let Some(hint) = failure.hint {
        eprintln!("hint: {}", visible_lines(&hint));
    }
    ExitCode::from(failure.class as u8)
}
