//! How far a long piece of work is: a bar in a terminal, a line every tenth of the way elsewhere.

use indicatif::ProgressStyle;
use std::io::IsTerminal;

/// Shows progress on standard error.
pub(crate) struct ProgressBar {
    what: &'static str,
    total: usize,
    bar: Option<indicatif::ProgressBar>,
    tenths: usize,
}

impl ProgressBar {
    /// `what` names the work and its unit: "slices segmented".
    pub(crate) fn new(what: &'static str, total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos} of {len} {msg}, {eta} left");
            let bar = indicatif::ProgressBar::new(total as u64).with_message(what);
            style
                .map(|style| bar.clone().with_style(style))
                .unwrap_or(bar)
        });
        Self {
            what,
            total,
            bar,
            tenths: 0,
        }
    }

    /// Shows that `done` units are done.
    pub(crate) fn at(&mut self, done: usize) {
        match &self.bar {
            Some(bar) if done >= self.total => bar.finish_and_clear(),
            Some(bar) => bar.set_position(done as u64),
            None => self.line(done),
        }
    }

    fn line(&mut self, done: usize) {
        let tenths = done * 10 / self.total.max(1);
        if tenths > self.tenths {
            self.tenths = tenths;
            eprintln!("{done} of {} {}", self.total, self.what);
        }
    }
}
