//! A federation of two sites in memory: the state machines of both ends, and a queue between them.
//!
//! ```sh
//! cargo run --release --locked --example two_sites
//! ```
//!
//! There is no network, no image and no neural network here: a site "learns" by counting up one
//! byte. What is left is what a program around the machines must do: execute effects in their
//! order, and hand in as events what became of them.

use metrics::score::{AtThreshold, CaseScore, LesionCounts, ScoreHistogram, SweepPoint};
use metrics::sequence::SequenceSet;
use protocol::case::Role;
use protocol::coordinator::{self, AcceptedUpdate, Plan};
use protocol::identity::SiteName;
use protocol::message::{Hello, Inventory, PROTOCOL, TaskKind, Trained};
use protocol::notification::Notification;
use protocol::operating::OperatingPoints;
use protocol::parameters::ParametersId;
use protocol::settings::{Compute, Federation};
use protocol::site;
use std::collections::VecDeque;
use std::time::Duration;

const SETTINGS: &str = r#"
name = "two-sites"
rounds = 3
[input]
sequences = ["t1_post", "flair"]
[model]
preset = "tiny"
[training]
steps = 10
batch = 4
"#;
const NAMES: [&str; 2] = ["north", "south"];

/// What is on its way, in the order in which it was sent.
enum Mail {
    ToCoordinator(coordinator::Event),
    ToSite(usize, site::Event),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan {
        federation: Federation::from_toml(SETTINGS)?,
        with_local: false,
        initial: ParametersId([0; 32]),
        initial_points: OperatingPoints::default(),
        model_bytes: 4,
        update_bytes: 4,
    };
    let mut coordinator = coordinator::StateMachine::new(plan, None, Duration::ZERO);
    let names: [SiteName; 2] = [NAMES[0].parse()?, NAMES[1].parse()?];
    let mut sites = NAMES.map(|_| site::StateMachine::new(4));
    let mut mail = VecDeque::new();
    for index in 0..NAMES.len() {
        mail.push_back(Mail::ToCoordinator(joins(&names, index)));
        mail.push_back(Mail::ToSite(index, site::Event::Prepared(inventory())));
    }
    while let Some(next) = mail.pop_front() {
        match next {
            Mail::ToCoordinator(event) => {
                for effect in coordinator.handle(event, Duration::ZERO) {
                    execute(effect, &names, &mut mail);
                }
            }
            Mail::ToSite(index, event) => {
                for effect in sites[index].handle(event) {
                    execute_at_site(effect, &names, index, &mut mail);
                }
            }
        }
    }
    let outcome = coordinator.outcome(Duration::ZERO);
    println!("best model: round {}", outcome.runs[0].best_round);
    Ok(())
}

fn joins(names: &[SiteName], index: usize) -> coordinator::Event {
    coordinator::Event::Connected {
        site: names[index].clone(),
        connection: index as u64,
        hello: Hello {
            protocol: PROTOCOL,
            software: "example".into(),
            role: Role::Train,
            sequences: vec!["t1_post".into()],
        },
    }
}

fn inventory() -> Inventory {
    Inventory {
        sequences: SequenceSet::full(1),
        training_cases: 4,
        validation_cases: 1,
        held_out_cases: 0,
        skipped_cases: 0,
        training_slices: 40,
        training_lesions: 6,
        validation_lesions: 2,
        held_out_lesions: 0,
    }
}

/// What the coordinator's program does. A real one writes to its disk and its sockets.
fn execute(effect: coordinator::Effect, names: &[SiteName], mail: &mut VecDeque<Mail>) {
    use coordinator::{Effect, Event};
    let number = |site: &SiteName| names.iter().position(|name| name == site).unwrap_or(0);
    match effect {
        Effect::Send { site, message } => {
            mail.push_back(Mail::ToSite(number(&site), site::Event::Message(message)));
        }
        Effect::SendParameters { site, header, .. } => {
            mail.push_back(Mail::ToSite(number(&site), site::Event::Received(header)));
        }
        Effect::Check {
            site,
            task,
            parameters,
            ..
        } => {
            let result = Ok(AcceptedUpdate {
                parameters,
                distance: 1.0,
            });
            mail.push_back(Mail::ToCoordinator(Event::Stored { site, task, result }));
        }
        Effect::Aggregate {
            run,
            version,
            updates,
            ..
        } => {
            println!("round {version}: {} updates averaged", updates.len());
            let mut parameters = ParametersId([0; 32]);
            for update in &updates {
                for (sum, byte) in parameters.0.iter_mut().zip(update.parameters.0) {
                    *sum = sum.wrapping_add(byte);
                }
            }
            mail.push_back(Mail::ToCoordinator(Event::Aggregated {
                run,
                version,
                parameters,
            }));
        }
        Effect::Report(Notification::Accepted { site, .. }) => println!("  {site} has trained"),
        Effect::Report(Notification::Validated { round, score, .. }) => {
            println!("round {round}: validation Dice {score:?}");
        }
        Effect::Report(Notification::Failed { site, reason }) => println!("  {site}: {reason}"),
        Effect::Stop { reason } => println!("stopped: {reason}"),
        // The disk, connections to close, what else people are told, and the end.
        _ => {}
    }
}

/// What a site's program does. A real one trains and scores on another thread.
fn execute_at_site(
    effect: site::Effect,
    names: &[SiteName],
    index: usize,
    mail: &mut VecDeque<Mail>,
) {
    use coordinator::Event;
    match effect {
        site::Effect::Send(message) => mail.push_back(Mail::ToCoordinator(Event::Message {
            site: names[index].clone(),
            connection: index as u64,
            message,
        })),
        site::Effect::SendParameters(header) => {
            mail.push_back(Mail::ToCoordinator(Event::Received {
                site: names[index].clone(),
                header,
                file: 0,
            }));
        }
        site::Effect::Start(work) => match work.task.kind {
            TaskKind::Train => {
                let trained = train(&work, index);
                mail.push_back(Mail::ToSite(index, site::Event::Trained(trained)));
            }
            TaskKind::Evaluate(_) => {
                let (task, score) = (work.task, score(&work));
                mail.push_back(Mail::ToSite(index, site::Event::Scored { task, score }));
                mail.push_back(Mail::ToSite(index, site::Event::Evaluated(task)));
            }
        },
        // The journal, files that are no longer needed, and the end.
        _ => {}
    }
}

fn train(work: &site::Work, index: usize) -> Trained {
    let mut parameters = work.models[0];
    parameters.0[index + 1] = parameters.0[index + 1].wrapping_add(1);
    Trained {
        task: work.task,
        parameters,
        slices: 40,
        steps: 10,
        asked_steps: 10,
        mean_loss: 0.5,
        last_loss: 0.4,
        seconds: 1.0,
        sequences: SequenceSet::full(1),
        compute: Compute::F32,
    }
}

/// One validation case; later rounds are a little better.
fn score(work: &site::Work) -> CaseScore {
    let found = u64::from(work.task.round) + 5;
    let at = |&threshold: &f32| AtThreshold {
        threshold,
        ..AtThreshold::default()
    };
    let point = |&threshold: &f32| SweepPoint {
        threshold,
        lesions: LesionCounts::default(),
    };
    CaseScore {
        case: 0,
        subset: SequenceSet::full(1),
        voxel_mm3: 1.0,
        // Bin, lesion voxels, other voxels.
        brain: ScoreHistogram {
            bins: vec![(900, 10 - found, 90), (1200, found, 0)],
        },
        outside: ScoreHistogram::default(),
        at: work.wanted.thresholds.iter().map(at).collect(),
        sweep: work.wanted.sweep.iter().map(point).collect(),
    }
}
