//! Reads a run's report.json and prints how the model does at the sites that took no part.
//!
//! ```sh
//! cargo run --release --locked --example read_report -- runs/demo/report.json
//! ```

use coordinator::report::schema::{AtPoint, Report};
use protocol::case::Role;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: read_report report.json")?;
    let report: Report = serde_json::from_slice(&std::fs::read(path)?)?;
    println!(
        "{}: the model of round {}",
        report.name, report.federation.best_round
    );
    for site in &report.federation.sites {
        if site.role != Role::Evaluate {
            continue;
        }
        println!("{}, {} cases", site.name, site.cases);
        print_point("best Dice", &site.scores.operating_points.dice);
        print_point("Youden", &site.scores.operating_points.youden);
    }
    Ok(())
}

/// A metric without a value was not defined for any case.
fn print_point(name: &str, point: &AtPoint) {
    let text = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    println!(
        "  {name:10} Dice {}, recall {}, false findings per patient {}",
        text(point.metrics.dice.mean),
        text(point.metrics.recall.mean),
        text(point.metrics.fp_per_patient.mean)
    );
}
