//! The tables hold what the report says.

use super::super::csv;
use super::*;
use metrics::case_metrics::METRICS;
use std::collections::BTreeMap;

/// A table's rows, each as a cell by its column.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), columns.len(), "{line}");
        let mut row = BTreeMap::new();
        for (column, cell) in columns.iter().zip(cells) {
            row.insert((*column).to_owned(), cell.to_owned());
        }
        rows.push(row);
    }
    rows
}

#[test]
fn the_mean_over_the_rows_of_patients_is_the_reports() {
    let outcome = outcome(true);
    let report = summarise(&outcome);
    let table = rows(&csv::cases(&outcome));
    for point in ["dice", "youden"] {
        for site in &report.federation.sites {
            let points = &site.scores.operating_points;
            let expected = if point == "dice" {
                &points.dice
            } else {
                &points.youden
            };
            for metric in METRICS {
                let mut values = Vec::new();
                for row in &table {
                    let this = row["run"] == "federation"
                        && row["site"] == site.name
                        && row["operating_point"] == point;
                    if this && !row[metric.key].is_empty() {
                        values.push(row[metric.key].parse::<f64>().unwrap());
                    }
                }
                let expected = expected.metrics.by_key(metric.key).unwrap();
                assert_eq!(values.len(), expected.n, "{} {}", site.name, metric.key);
                if let Some(mean) = expected.mean {
                    let found = values.iter().sum::<f64>() / values.len() as f64;
                    assert!((found - mean).abs() < 1e-9, "{} {}", site.name, metric.key);
                }
            }
        }
    }
}

#[test]
fn every_round_has_a_row_for_each_site_and_one_for_all() {
    let outcome = outcome(true);
    let table = rows(&csv::curves(&outcome));
    for run in &outcome.runs {
        for round in &run.rounds {
            let number = round.round.to_string();
            let name = run.name.to_string();
            let of = |site: &str| {
                table
                    .iter()
                    .find(|row| row["run"] == name && row["round"] == number && row["site"] == site)
                    .unwrap()
            };
            let all = of("all");
            assert_eq!(all["bytes"], round.bytes.to_string());
            assert_eq!(all["missing"], round.missing.len().to_string());
            for update in &round.updates {
                let row = of(update.site.as_str());
                assert_eq!(row["mean_loss"], update.mean_loss.to_string());
                assert_eq!(row["missing"], "0");
            }
            for (site, _) in &round.missing {
                assert_eq!(of(site.as_str())["missing"], "1");
            }
        }
    }
}
