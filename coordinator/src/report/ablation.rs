//! What the report says about missing sequences: a sentence, a picture, a table.

use super::heatmap::{self, HeatMap, HeatMapCell, HeatMapRow, signed};
use super::markup::{Figure, escape, figure, table, words};
use super::plot::DrawError;
use super::schema::{Matrix, MatrixRow, MeanSd, Metrics, Report, Site, Without};
use super::wording::{AT_POINTS, POINTS, counted, mean_sd};
use protocol::case::{Cases, Role};

/// Subsets up to which all are drawn; of more, those with all, all but one, and one alone.
const MOST_ROWS: usize = 31;

/// The pictures' names: Dice at both points, then lesions found at both.
const PICTURES: [&str; 4] = [
    "matrix-dice-at-dice",
    "matrix-dice",
    "matrix-lesions-at-dice",
    "matrix-lesions",
];

/// Whether a picture belongs into this part of the report.
pub(super) fn is_mine(figure: &Figure) -> bool {
    PICTURES.contains(&figure.name)
}

/// The matrices at the two operating points, in the order of [`POINTS`]; `None` without subsets.
fn matrices(report: &Report) -> Option<[&Matrix; 2]> {
    let federation = &report.federation;
    let at_dice = federation.matrix_at_dice.as_ref()?;
    Some([at_dice, federation.matrix.as_ref()?])
}

/// Every subset at every site, by Dice and by lesions found, each at both operating points.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn pictures(report: &Report) -> Result<Vec<Figure>, DrawError> {
    let Some(matrices) = matrices(report) else {
        return Ok(Vec::new());
    };
    let [dice_at_dice, dice] = draw_pair(
        matrices,
        report,
        |metrics| metrics.dice,
        "mean Dice per patient",
    )?;
    let [lesions_at_dice, lesions] = draw_pair(
        matrices,
        report,
        |metrics| metrics.lesion_recall,
        "mean share of a patient's lesions found",
    )?;
    Ok(vec![
        Figure {
            name: PICTURES[0],
            title: "Dice with every subset of sequences, at every site: best-Dice threshold",
            caption: "A full dot is a sequence that the model was shown; a dash is a subset that \
                      no patient of the site has, or a site without a lesion. Large: mean Dice \
                      per patient, at the threshold of the best validation Dice. Small: the same \
                      patients' change against everything they have. The frame marks everything \
                      that the site has.",
            svg: dice_at_dice,
        },
        Figure {
            name: PICTURES[1],
            title: "The same at Youden's threshold, the publication's",
            caption: "Dice, in the colours of the picture before.",
            svg: dice,
        },
        Figure {
            name: PICTURES[2],
            title: "Lesions found with every subset of sequences, at every site: best-Dice \
                    threshold",
            caption: "The share of a patient's lesions that the model finds, averaged over \
                      patients. A subset that finds more may also call more: compare with the \
                      Dice above.",
            svg: lesions_at_dice,
        },
        Figure {
            name: PICTURES[3],
            title: "The same at Youden's threshold, the publication's",
            caption: "Lesions found, in the colours of the picture before.",
            svg: lesions,
        },
    ])
}

/// One metric at both operating points, on one scale of colours.
fn draw_pair(
    matrices: [&Matrix; 2],
    report: &Report,
    metric: fn(&Metrics) -> MeanSd,
    what: &'static str,
) -> Result<[String; 2], DrawError> {
    let maps = matrices.map(|matrix| heat_of(matrix, report, metric, what));
    let top = heatmap::darkest(&maps);
    let [at_dice, at_youden] = &maps;
    Ok([heatmap::draw(at_dice, top)?, heatmap::draw(at_youden, top)?])
}

fn heat_of(
    matrix: &Matrix,
    report: &Report,
    metric: fn(&Metrics) -> MeanSd,
    what: &'static str,
) -> HeatMap {
    let names = &report.settings.input.sequences;
    let all = matrix.rows.len() <= MOST_ROWS;
    let drawn = |row: &&MatrixRow| {
        all || row.sequences.len() + 1 >= names.len() || row.sequences.len() == 1
    };
    let part = |role: Role| {
        if role.judges() == Cases::Validation {
            "validation"
        } else {
            "held out"
        }
    };
    // Held-out sites first.
    let of = |cases| {
        report
            .federation
            .sites
            .iter()
            .filter(move |site| site.role.judges() == cases && site.cases > 0)
    };
    let sites: Vec<&Site> = of(Cases::HeldOut).chain(of(Cases::Validation)).collect();
    HeatMap {
        what,
        sequences: names.clone(),
        sites: sites
            .iter()
            .map(|site| [site.name.clone(), part(site.role).into()])
            .collect(),
        rows: matrix
            .rows
            .iter()
            .filter(drawn)
            .map(|row| heat_row(row, names, &sites, metric))
            .collect(),
    }
}

fn heat_row(
    row: &MatrixRow,
    names: &[String],
    sites: &[&Site],
    metric: fn(&Metrics) -> MeanSd,
) -> HeatMapRow {
    let cell = |site: &&Site| {
        let cell = &row.sites.iter().find(|cell| cell.site == site.name)?.cell;
        let (value, change) = (metric(&cell.metrics).mean?, metric(&cell.change).mean);
        Some(HeatMapCell {
            value,
            change,
            everything: site.sequences == row.sequences,
        })
    };
    HeatMapRow {
        shown: names
            .iter()
            .map(|name| row.sequences.contains(name))
            .collect(),
        cells: sites.iter().map(cell).collect(),
    }
}

/// The worst site and the worst missing sequence at both operating points, in words.
pub(super) fn headline(report: &Report) -> Option<String> {
    let mut all = Vec::new();
    for (point, matrix) in AT_POINTS.into_iter().zip(matrices(report)?) {
        let sentences = sentences(matrix);
        if !sentences.is_empty() {
            all.push(format!("{point}: {}", sentences.join(" ")));
        }
    }
    (!all.is_empty()).then(|| all.join(" "))
}

/// The worst sequence to miss, the worst site and the lowest Dice, as far as they are known.
fn sentences(matrix: &Matrix) -> Vec<String> {
    let mut sentences = Vec::new();
    let worst = matrix
        .without
        .iter()
        .find(|one| Some(&one.sequence) == matrix.worst_missing.as_ref());
    sentences.extend(worst.and_then(costliest));
    if let Some(worst) = &matrix.worst_site {
        sentences.push(format!(
            "Shown everything it has, {} is served worst, with a mean Dice of {:.3}.",
            worst.site, worst.dice
        ));
    }
    if let Some(worst) = &matrix.worst_cell {
        let shown = worst.sequences.join(" and ");
        sentences.push(format!(
            "The lowest Dice of all is {:.3}, at {} with {shown} alone.",
            worst.dice, worst.site
        ));
    }
    sentences
}

fn costliest(one: &Without) -> Option<String> {
    let (with, without, change) = (one.dice.mean?, one.dice_without.mean?, one.change.mean?);
    let (patients, sites) = (
        counted(one.cases, "patient", "patients"),
        counted(one.sites.len(), "site", "sites"),
    );
    Some(if change < 0.0 {
        format!(
            "The hardest sequence to do without is {}: Dice falls from {with:.3} to {without:.3} \
             on average, in the {patients} from {sites} that have it and others.",
            one.sequence
        )
    } else {
        format!(
            "No single missing sequence costs Dice on average; {} comes closest.",
            one.sequence
        )
    })
}

/// Every sequence with and without, at both operating points.
fn table_of_sequences(matrices: [&Matrix; 2]) -> String {
    let [at_dice, at_youden] = matrices;
    let mut rows = Vec::new();
    for pair in at_dice.without.iter().zip(&at_youden.without) {
        for (place, one) in [pair.0, pair.1].into_iter().enumerate() {
            let mut row = if place == 0 {
                vec![
                    escape(&one.sequence),
                    one.cases.to_string(),
                    escape(&one.sites.join(", ")),
                ]
            } else {
                words(&["", "", ""])
            };
            row.push(POINTS[place].to_owned());
            row.push(mean_sd(one.dice, 3));
            row.push(mean_sd(one.dice_without, 3));
            row.push(one.change.mean.map_or("–".into(), signed));
            rows.push(row);
        }
    }
    let head = words(&[
        "Without",
        "Patients",
        "From",
        "Threshold by",
        "Dice with it",
        "Dice without it",
        "Change",
    ]);
    table(&head, &rows)
}

/// The whole part of the page; empty without subsets.
pub(super) fn section(report: &Report, figures: &[Figure]) -> String {
    let Some(matrices) = matrices(report) else {
        return String::new();
    };
    let pictures: Vec<String> = figures
        .iter()
        .filter(|one| is_mine(one))
        .map(figure)
        .collect();
    format!(
        "<h2>What a missing sequence costs</h2>\n<p>{}</p>\n{}<p class=\"note\">Patients, held \
         out or validation, who have the sequence and at least one other; each is compared with \
         himself. Best Dice: at the threshold of the best validation Dice. Youden: at Youden's \
         threshold, the publication's.</p>\n{}",
        headline(report)
            .map(|words| escape(&words))
            .unwrap_or_default(),
        table_of_sequences(matrices),
        pictures.join("\n")
    )
}
