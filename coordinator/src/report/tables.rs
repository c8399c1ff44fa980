//! The publication's three tables: the cohort, who has which sequence, the models side by side.

use super::markup::{escape, table, words};
use super::schema::{Arm, Comparison, Report, Site, Test};
use super::wording::{part, plain_run};
use metrics::case_metrics::{METRICS, Metric};

/// Patients and lesions at each site.
pub(super) fn cohort(report: &Report) -> String {
    let row = |site: &Site| {
        let held = site.inventory;
        let mut row = vec![escape(&site.name), part(site.role).to_owned()];
        row.extend(counts([
            held.training,
            held.validation,
            held.held_out,
            held.skipped,
        ]));
        row.extend(counts([
            held.training_lesions,
            held.validation_lesions,
            held.held_out_lesions,
        ]));
        row
    };
    let mut rows: Vec<_> = report.federation.sites.iter().map(row).collect();
    let sum = |count: fn(&Site) -> u32| report.federation.sites.iter().map(count).sum::<u32>();
    let mut all = words(&["<strong>All</strong>", ""]);
    all.extend(counts([
        sum(|site| site.inventory.training),
        sum(|site| site.inventory.validation),
        sum(|site| site.inventory.held_out),
        sum(|site| site.inventory.skipped),
        sum(|site| site.inventory.training_lesions),
        sum(|site| site.inventory.validation_lesions),
        sum(|site| site.inventory.held_out_lesions),
    ]));
    rows.push(all);
    let head = words(&[
        "Site",
        "Part",
        "Patients: training",
        "validation",
        "held out",
        "skipped",
        "Lesions: training",
        "validation",
        "held out",
    ]);
    format!(
        "<h2>Table 1. Patients and lesions</h2>\n{}<p class=\"note\">Lesions are connected \
         regions of the reference (corners count). Skipped patients could not be read; the \
         site's own skip report names them.</p>",
        table(&head, &rows)
    )
}

fn counts<const N: usize>(numbers: [u32; N]) -> [String; N] {
    numbers.map(|number| {
        if number == 0 {
            "·".into()
        } else {
            number.to_string()
        }
    })
}

/// Which site has which sequence.
pub(super) fn sequences(report: &Report) -> String {
    let sequences = &report.settings.input.sequences;
    let mut head = words(&["Site", "Part"]);
    head.extend(sequences.iter().map(|name| escape(name)));
    let row = |site: &Site| {
        let held = |name: &String| {
            if site.sequences.contains(name) {
                "✓"
            } else {
                "<span class=\"lacks\">lacks</span>"
            }
        };
        let mut row = vec![escape(&site.name), part(site.role).to_owned()];
        row.extend(sequences.iter().map(|name| held(name).to_owned()));
        row
    };
    let rows: Vec<_> = report.federation.sites.iter().map(row).collect();
    format!(
        "<h2>Table 2. Sequences at each site</h2>\n{}",
        table(&head, &rows)
    )
}

/// All models on the held-out patients; empty without any.
pub(super) fn arms(report: &Report) -> String {
    let (Some(at_dice), Some(comparison)) = (&report.comparison_at_dice, &report.comparison) else {
        return String::new();
    };
    // The comparison has the report's training runs in this order.
    let mut named = vec![plain_run(&report.federation.run)];
    for training in report.alone.iter().chain(&report.consensus) {
        named.push(plain_run(&training.run));
    }
    let tests = if comparison.tests.is_empty() {
        String::new()
    } else {
        p_note("the federation")
            + " A site alone trained with the same settings and as many rounds, and chose its \
               thresholds on its own validation patients; the consensus is the mean of the \
               probabilities of all of those."
    };
    side_by_side(
        "Table 3a. Models on the held-out patients, at the threshold of the best Dice",
        at_dice,
        &named,
        &tests,
    ) + &side_by_side(
        "Table 3b. The same at Youden's threshold, the publication's",
        comparison,
        &named,
        &tests,
    )
}

/// What the p values of a comparison are.
pub(super) fn p_note(reference: &str) -> String {
    format!(
        " p against {}, two-sided: Wilcoxon's signed-rank test, which knows that the patients \
         are the same, / rank-sum test, the publication's; each corrected (Holm) for all the p \
         values of its kind shown here.",
        escape(reference)
    )
}

/// Models as columns, metrics as rows.
pub(super) fn side_by_side(
    title: &str,
    comparison: &Comparison,
    named: &[String],
    note: &str,
) -> String {
    let row = |metric: &Metric| {
        let mut row = vec![metric.heading.to_owned()];
        row.extend(
            comparison
                .arms
                .iter()
                .map(|arm| cell(arm, metric, comparison)),
        );
        row
    };
    let rows: Vec<_> = METRICS.iter().map(row).collect();
    let mut head = words(&[""]);
    head.extend(named.iter().map(|name| escape(name)));
    let patients = comparison.arms.first().map_or(0, |arm| arm.cases);
    format!(
        "<h2>{title}</h2>\n{}<p class=\"note\">{patients} patients. Mean ± standard deviation \
         over patients; in brackets the 95 % interval of the mean (bootstrap over \
         patients).{note}</p>",
        table(&head, &rows)
    )
}

fn cell(arm: &Arm, metric: &Metric, comparison: &Comparison) -> String {
    let (key, decimals) = (metric.key, metric.decimals);
    let shown = arm.metrics.by_key(key).copied().unwrap_or_default();
    let (Some(mean), sd) = (shown.mean, shown.sd) else {
        return "–".into();
    };
    let spread = sd
        .map(|sd| format!(" ± {sd:.decimals$}"))
        .unwrap_or_default();
    let interval = arm.intervals.get(key).copied().flatten();
    let interval = interval
        .map(|[low, high]| format!("<br><small>[{low:.decimals$}, {high:.decimals$}]</small>"));
    let test = comparison
        .tests
        .iter()
        .find(|test| test.run == arm.run && test.metric == key);
    let test = test.map(|test| format!("<br><small>{}</small>", p_values(test)));
    format!(
        "{mean:.decimals$}{spread}{}{}",
        interval.unwrap_or_default(),
        test.unwrap_or_default()
    )
}

fn p_values(test: &Test) -> String {
    let [paired, grouped] = [test.signed_rank_holm, test.rank_sum_holm].map(p_value);
    format!("p {paired} / {grouped}")
}

/// `0.034`, `&lt; 0.001`, or a dash.
pub(super) fn p_value(p: Option<f64>) -> String {
    match p {
        None => "–".into(),
        Some(p) if p < 0.001 => "&lt; 0.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_p_values_are_not_rounded_to_none() {
        assert_eq!(
            [Some(0.0341), Some(0.0004), None].map(p_value),
            ["0.034", "&lt; 0.001", "–"]
        );
    }
}
