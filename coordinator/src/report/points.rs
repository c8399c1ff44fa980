//! What the report says about thresholds and probabilities.

use super::markup::{Figure, escape, figure, table, words};
use super::plot::{self, DrawError};
use super::schema::{FrocPoint, Metrics, Reliability, Report};
use super::wording::{mean_sd, use_of};
use protocol::operating::{OperatingPoint, OperatingPoints};

/// The picture's name.
pub(super) const CALIBRATION: &str = "calibration";

/// False findings per patient that the table of limits shows.
const LIMITS: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

/// Every operating point on the held-out patients, and what limits on false findings would give.
pub(super) fn operating_points(report: &Report) -> String {
    let scores = &report.federation.pooled.held_out.scores;
    let thresholds = report.federation.thresholds;
    let points = [
        (
            "Best validation Dice",
            thresholds.dice,
            &scores.alternatives.dice,
        ),
        (
            "Youden, mean over validation patients (the publication's)",
            thresholds.youden,
            &scores.metrics,
        ),
        (
            "Youden, all validation voxels together",
            thresholds.youden_pooled,
            &scores.alternatives.youden_pooled,
        ),
    ];
    let row = |(name, threshold, m): (&str, Option<f32>, &Metrics)| {
        let mut row = vec![
            name.to_owned(),
            threshold.map_or("–".into(), |t| format!("{t:.4}")),
        ];
        row.extend([m.dice, m.precision, m.recall].map(|value| mean_sd(value, 3)));
        row.extend([m.fp_per_patient, m.fp_per_patient_10mm3].map(|value| mean_sd(value, 1)));
        row
    };
    let rows: Vec<_> = points.into_iter().map(row).collect();
    let head = words(&[
        "Threshold by",
        "Probability",
        "Dice",
        "Precision",
        "Recall",
        "False findings",
        "≥ 10 mm³",
    ]);
    format!(
        "<h2>Operating points</h2>\n{}<p class=\"note\">Held-out patients. Youden weighs \
         sensitivity and specificity alike, and lesions are rare: it finds much and calls too \
         much. The Dice threshold calls less.</p>\n{}",
        table(&head, &rows),
        limits(&report.federation.validation_curve)
    )
}

/// Which threshold keeps to how many false findings; empty where nothing was counted.
fn limits(curve: &[FrocPoint]) -> String {
    let known = OperatingPoints {
        curve: curve.to_vec(),
        ..OperatingPoints::default()
    };
    let row = |most: f64| {
        let point = OperatingPoint::FalsePositives(most);
        let chosen = known.threshold(point).ok().and_then(|threshold| {
            let counted = curve
                .iter()
                .find(|counted| counted.threshold == threshold)?;
            Some((threshold, counted))
        });
        let mut row = vec![point.to_string()];
        row.extend(match chosen {
            None => words(&["–", "–", "–"]),
            Some((threshold, counted)) => vec![
                format!("{threshold:.4}"),
                format!("{:.0} %", 100.0 * counted.sensitivity),
                format!("{:.2}", counted.false_positives),
            ],
        });
        row
    };
    if curve.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = LIMITS.map(row).to_vec();
    let head = words(&[
        "At most so many false findings",
        "Probability",
        "Lesions found",
        "False findings per patient",
    ]);
    format!(
        "{}<p class=\"note\">Validation patients, at the thresholds that were counted: the names \
         are those of <code>site-agent predict --operating-point</code>. A dash where even the \
         highest counted threshold has more.</p>",
        table(&head, &rows)
    )
}

/// The reliability diagram of the held-out and the validation patients.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn diagram(report: &Report) -> Result<Option<Figure>, DrawError> {
    let pooled = &report.federation.pooled;
    let of = |name: &str, calibration: &Option<Reliability>| {
        let bins = &calibration.as_ref()?.bins;
        let points = bins
            .iter()
            .map(|bin| (bin.mean_probability, bin.lesion_share))
            .collect();
        Some(plot::Line {
            name: name.to_owned(),
            points,
        })
    };
    let lines = [
        of("held out", &pooled.held_out.scores.calibration),
        of("validation", &pooled.validation.scores.calibration),
    ];
    let lines: Vec<plot::Line> = lines.into_iter().flatten().collect();
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Figure {
        name: CALIBRATION,
        title: "Are the probabilities what they say?",
        caption: "Voxels of the brain by the probability that they were given, in ten ranges: \
                  the mean probability of a range against the share of lesion in it. On the grey \
                  line both are equal; below it the model is surer of lesions than it should be, \
                  above it not sure enough.",
        svg: plot::reliability(&lines)?,
    }))
}

/// The diagram, and the errors of each site; empty where nothing was scored.
pub(super) fn calibration(report: &Report, figures: &[Figure]) -> String {
    let Some(picture) = figures.iter().find(|one| one.name == CALIBRATION) else {
        return String::new();
    };
    let row = |name: String, calibration: &Option<Reliability>| {
        let Some(one) = calibration else {
            return vec![name, "–".into(), "–".into()];
        };
        vec![
            name,
            format!("{:.5}", one.ece),
            one.ece_above
                .map_or("–".into(), |error| format!("{error:.3}")),
        ]
    };
    let federation = &report.federation;
    let mut rows = vec![
        row(
            "<strong>All held-out sites</strong>".into(),
            &federation.pooled.held_out.scores.calibration,
        ),
        row(
            "<strong>All validation patients</strong>".into(),
            &federation.pooled.validation.scores.calibration,
        ),
    ];
    for site in federation.sites.iter().filter(|site| site.cases > 0) {
        rows.push(row(
            format!("{} ({})", escape(&site.name), use_of(site.role)),
            &site.scores.calibration,
        ));
    }
    let head = words(&[
        "",
        "Expected calibration error",
        "of voxels given 0.1 or more",
    ]);
    format!(
        "{}\n{}<p class=\"note\">The mean over voxels of the brain of how far a range's \
         probability is from its share of lesion. Nearly all voxels are healthy and given next \
         to nothing, so the first number is small for any model; the second leaves the lowest \
         range out.</p>",
        figure(picture),
        table(&head, &rows)
    )
}
