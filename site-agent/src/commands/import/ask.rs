//! Asks on the terminal what the rules left in doubt.

use imaging::import::{Answers, Doubt, Folder, ImportError, Plan, Rules, Scan};
use program::visible::visible;
use std::io::{BufRead, Write};

/// What was typed.
enum Reply {
    Yes,
    No,
    /// The end of the input, or `q`: nothing more is asked.
    Stop,
}

/// Asks until nothing is in doubt or no answer comes. Each answer is stored at once, so that no
/// later run asks again.
pub(super) fn all(
    scan: &Scan,
    rules: &Rules,
    answers: &mut Answers,
    folder: &mut Folder,
    mut plan: Plan,
) -> Result<Plan, ImportError> {
    loop {
        let doubts = plan.doubts();
        let Some(first) = doubts.first() else {
            return Ok(plan);
        };
        eprintln!("\nseries in doubt: {}", doubts.len());
        let Some(answer) = ask(first) else {
            return Ok(plan);
        };
        answers.set(&first.series.series, answer);
        answers.write(folder.path())?;
        // An answer can settle other series of the case.
        plan = Plan::make(scan, rules, answers, folder)?;
    }
}

/// Asks about each sequence that a series could be. `None` if no answer comes.
fn ask(doubt: &Doubt) -> Option<Option<String>> {
    let series = &doubt.series;
    eprintln!(
        "{}, series {}: \"{}\", {} slices",
        doubt.case,
        series.number,
        visible(&series.description),
        series.slices
    );
    for reason in &series.why {
        eprintln!("    {}", visible(reason));
    }
    for sequence in &series.sequences {
        match reply(sequence) {
            Reply::Yes => return Some(Some(sequence.clone())),
            Reply::No => {}
            Reply::Stop => return None,
        }
    }
    Some(None)
}

fn reply(sequence: &str) -> Reply {
    loop {
        eprint!("  Is it {sequence}? y: yes, n: no, q: ask nothing more  ");
        // A terminal that cannot be written to will not answer either.
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => return Reply::Stop,
            Ok(_) => {}
        }
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Reply::Yes,
            "n" | "no" => return Reply::No,
            "q" => return Reply::Stop,
            _ => {}
        }
    }
}
