//! The progress of a running federation: bars in a terminal, lines elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use protocol::case::Cases;
use protocol::identity::SiteName;
use protocol::message::{Progress, TaskKind, Trained};
use protocol::notification::Notification;
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// Shows notifications on standard error.
pub(crate) struct View {
    bars: Option<Bars>,
}

struct Bars {
    all: MultiProgress,
    rounds: ProgressBar,
    sites: BTreeMap<SiteName, ProgressBar>,
}

impl View {
    /// Bars when standard error is a terminal, lines otherwise.
    #[must_use]
    pub(crate) fn new(sites: &[SiteName]) -> Self {
        if std::io::stderr().is_terminal() {
            Self {
                bars: Some(Bars::new(sites)),
            }
        } else {
            Self { bars: None }
        }
    }

    pub(crate) fn show(&mut self, notification: &Notification) {
        if let Some(bars) = &mut self.bars {
            bars.show(notification);
        } else if let Some(line) = line(notification) {
            eprintln!("{line}");
        }
    }

    /// Removes the bars.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that cannot be cleared does not matter to the run.
            let _ = bars.all.clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

impl Bars {
    fn new(names: &[SiteName]) -> Self {
        let all = MultiProgress::new();
        let rounds = all.add(ProgressBar::new(1));
        rounds.set_style(style("{elapsed_precise} {bar:32} {msg}"));
        let width = names
            .iter()
            .map(|name| name.as_str().len())
            .max()
            .unwrap_or(0);
        let mut sites = BTreeMap::new();
        for name in names {
            let bar = all.add(ProgressBar::new(1));
            bar.set_style(style(&format!("  {{prefix:{width}}} {{bar:24}} {{msg}}")));
            bar.set_prefix(name.to_string());
            bar.set_message("starting");
            sites.insert(name.clone(), bar);
        }
        rounds.enable_steady_tick(std::time::Duration::from_millis(500));
        Self { all, rounds, sites }
    }

    fn site(&self, name: &SiteName, done: u32, total: u32, message: String) {
        if let Some(bar) = self.sites.get(name) {
            bar.set_length(u64::from(total.max(1)));
            bar.set_position(u64::from(done));
            bar.set_message(message);
        }
    }

    fn show(&self, notification: &Notification) {
        match notification {
            Notification::Preparing { site, done, total } => {
                self.site(
                    site,
                    *done,
                    *total,
                    format!("preparing case {done} of {total}"),
                );
            }
            Notification::Ready { site, .. } => self.site(site, 0, 1, "ready".into()),
            Notification::Left { site, reason } => self.site(site, 0, 1, format!("left: {reason}")),
            Notification::Failed { site, reason } => {
                self.site(site, 0, 1, format!("failed: {reason}"))
            }
            Notification::Progress { site, progress } => {
                self.site(site, progress.done, progress.total, work(progress))
            }
            Notification::Concluding { site } => self.site(site, 0, 1, "concluding".into()),
            Notification::Accepted { site, trained } => {
                self.site(
                    site,
                    1,
                    1,
                    format!("update accepted, loss {:.3}", trained.mean_loss),
                );
            }
            Notification::RoundStarted {
                name,
                round,
                rounds,
                sites,
                ..
            } => {
                self.rounds.set_length(u64::from(*rounds));
                self.rounds.set_position(u64::from(round.saturating_sub(1)));
                self.rounds
                    .set_message(format!("{name}: round {round} of {rounds}"));
                for site in sites {
                    self.site(site, 0, 1, "waiting".into());
                }
            }
            Notification::RoundFinished { round, .. } => {
                self.rounds.set_position(u64::from(*round))
            }
            Notification::Evaluating { round, cases, .. } => {
                self.rounds.set_message(scoring(*round, *cases))
            }
            Notification::Validated { .. } | Notification::WentBack { .. } => {
                if let Some(line) = line(notification) {
                    // As in `View::clear`.
                    let _ = self.all.println(line);
                }
            }
            Notification::Joined { site, .. } => self.site(site, 0, 1, "connected".into()),
            Notification::Dropped { site } => self.site(site, 0, 1, "dropped".into()),
            Notification::Paused
            | Notification::Resumed
            | Notification::Stopping
            | Notification::Finished => {
                self.rounds
                    .set_message(line(notification).unwrap_or_default());
            }
        }
    }
}

/// A site's work: `training, loss 0.412, 88 slices/s`.
fn work(progress: &Progress) -> String {
    let speed = progress.slices_per_second;
    match (progress.task.kind, progress.loss) {
        (TaskKind::Train, Some(loss)) => format!("training, loss {loss:.3}, {speed:.0} slices/s"),
        (TaskKind::Train, None) => "training".into(),
        (TaskKind::Evaluate(_), _) => format!("scoring, {} of {}", progress.done, progress.total),
    }
}

/// Round 0 means the consensus of the models that the sites trained alone.
fn scoring(round: u32, cases: Cases) -> String {
    let whose = match cases {
        Cases::Validation => "validation",
        Cases::HeldOut => "held-out",
    };
    match round {
        0 => format!("scoring the consensus of the sites' own models on {whose} cases"),
        round => format!("scoring the model of round {round} on {whose} cases"),
    }
}

/// For a site without a lesion in any of its cases.
const NO_LESION: &str = "; its labels hold no lesion in any case, so its Dice will be \
    meaningless: is data.lesion_labels right there?";

fn list(sites: &[SiteName]) -> String {
    let names: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
    names.join(", ")
}

/// A notification as one line; `None` for those that come too often to be printed.
fn line(notification: &Notification) -> Option<String> {
    Some(match notification {
        Notification::Preparing { .. } | Notification::Progress { .. } => return None,
        Notification::Joined { site, .. } => format!("{site} connected"),
        Notification::Ready { site, inventory } => {
            let warning = if inventory.lesions() == 0 {
                NO_LESION
            } else {
                ""
            };
            format!(
                "{site} is ready: {} training, {} validation, {} held-out cases, {} \
                 skipped{warning}",
                inventory.training_cases,
                inventory.validation_cases,
                inventory.held_out_cases,
                inventory.skipped_cases
            )
        }
        Notification::Left { site, reason } => format!("{site} left: {reason}"),
        Notification::RoundStarted {
            name,
            round,
            rounds,
            sites,
            ..
        } => {
            format!("{name}: round {round} of {rounds} with {}", list(sites))
        }
        Notification::Concluding { site } => {
            format!("{site}: the deadline came, it is to send what it has")
        }
        Notification::Accepted { site, trained } => {
            let Trained {
                mean_loss,
                slices,
                steps,
                asked_steps,
                ..
            } = trained;
            let partial = if steps < asked_steps {
                format!(", {steps} of {asked_steps} steps")
            } else {
                String::new()
            };
            format!("{site}: update accepted, loss {mean_loss:.4}, {slices} slices{partial}")
        }
        Notification::Failed { site, reason } => format!("{site} failed: {reason}"),
        Notification::RoundFinished {
            round,
            updates,
            seconds,
            ..
        } => {
            format!("round {round} finished: {updates} updates, {seconds:.1} s")
        }
        Notification::Evaluating { round, cases, .. } => scoring(*round, *cases),
        Notification::Validated {
            round, score, best, ..
        } => {
            let score = match score {
                Some(dice) => format!("{dice:.4}"),
                None => {
                    "undefined, because no validation case that was scored holds a lesion".into()
                }
            };
            let best = if *best { ", the best so far" } else { "" };
            format!("round {round}: validation Dice {score}{best}")
        }
        Notification::WentBack {
            round, to, reason, ..
        } => {
            let from = if *to == 0 {
                "the initial model".into()
            } else {
                format!("the model of round {to}")
            };
            format!("the model of round {round} is discarded, {from} goes on: {reason}")
        }
        Notification::Dropped { site } => format!("{site} was dropped by the operator"),
        Notification::Paused => {
            "paused: no new task is handed out until `coordinator resume`".into()
        }
        Notification::Resumed => "tasks are handed out again".into(),
        Notification::Stopping => "stopping: the current work is finished first".into(),
        Notification::Finished => "the federation is finished".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::message::{RunId, TaskId};

    #[test]
    fn the_work_of_a_site_is_described() {
        let task = |kind| TaskId {
            run: RunId(0),
            round: 2,
            kind,
            pass: 0,
        };
        let progress = |kind, loss| Progress {
            task: task(kind),
            done: 3,
            total: 8,
            loss,
            slices_per_second: 87.6,
        };
        assert_eq!(
            work(&progress(TaskKind::Train, Some(0.4123))),
            "training, loss 0.412, 88 slices/s"
        );
        assert_eq!(
            work(&progress(TaskKind::Evaluate(Cases::HeldOut), None)),
            "scoring, 3 of 8"
        );
    }

    #[test]
    fn a_score_without_lesions_is_undefined() {
        let notification = Notification::Validated {
            run: RunId(0),
            round: 3,
            score: None,
            best: false,
        };
        let words = line(&notification).unwrap();
        assert!(
            words.starts_with("round 3: validation Dice undefined, because no validation case"),
            "{words}"
        );
    }
}
