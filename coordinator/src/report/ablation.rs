//! What the report says about missing sequences: a sentence, a picture, a table.

use super::heatmap::{self, HeatMap, HeatMapCell, HeatMapRow, signed};
use super::markup::{Figure, escape, figure, table};
use super::plot::DrawError;
use super::schema::{Matrix, MatrixRow, MeanSd, Metrics, Report, Site, Without};
use super::wording::{counted, mean_sd};
use protocol::case::{Cases, Role};

/// Subsets up to which all are drawn; of more, those with all, all but one, and one alone.
const MOST_ROWS: usize = 31;

/// The pictures' names.
const PICTURES: [&str; 2] = ["matrix-dice", "matrix-lesions"];

/// Whether a picture belongs into this part of the report.
pub(super) fn is_mine(figure: &Figure) -> bool {
    PICTURES.contains(&figure.name)
}

/// Every subset at every site, by Dice and by lesions found.
///
/// # Errors
/// [`DrawError`], which would be a fault of ours.
pub(super) fn pictures(report: &Report) -> Result<Vec<Figure>, DrawError> {
    let Some(matrix) = &report.federation.matrix else {
        return Ok(Vec::new());
    };
    let draw = |metric, what| heatmap::draw(&heat_of(matrix, report, metric, what));
    Ok(vec![
        Figure {
            name: PICTURES[0],
            title: "Dice with every subset of sequences, at every site",
            caption: "A full dot is a sequence that the model was shown; a dash is a subset that no patient of the site \
                      has, or a site without a lesion. Large: mean Dice per patient, at Youden's threshold. Small: the same \
                      patients' change against everything they \
                      have. The frame marks everything that the site has.",
            svg: draw(|metrics| metrics.dice, "mean Dice per patient")?,
        },
        Figure {
            name: PICTURES[1],
            title: "Lesions found with every subset of sequences, at every site",
            caption: "The same for the share of a patient's lesions that the model finds, averaged over patients. A \
                      subset that finds more may also call more: compare with the Dice above.",
            svg: draw(
                |metrics| metrics.lesion_recall,
                "mean share of a patient's lesions found",
            )?,
        },
    ])
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

/// The worst site and the worst missing sequence, in words.
pub(super) fn headline(report: &Report) -> Option<String> {
    let matrix = report.federation.matrix.as_ref()?;
    let worst = matrix
        .without
        .iter()
        .find(|one| Some(&one.sequence) == matrix.worst_missing.as_ref());
    let sequence = worst.and_then(costliest);
    let site = matrix.worst_site.as_ref().map(|worst| {
        format!(
            "Shown everything it has, {} is served worst, with a mean Dice of {:.3}.",
            worst.site, worst.dice
        )
    });
    let cell = matrix.worst_cell.as_ref().map(|worst| {
        let shown = worst.sequences.join(" and ");
        format!(
            "The lowest Dice of all is {:.3}, at {} with {shown} alone.",
            worst.dice, worst.site
        )
    });
    let sentences: Vec<String> = [sequence, site, cell].into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

fn costliest(one: &Without) -> Option<String> {
    let (with, without, change) = (one.dice.mean?, one.dice_without.mean?, one.change.mean?);
    let (patients, sites) = (
        counted(one.cases, "patient", "patients"),
        counted(one.sites.len(), "site", "sites"),
    );
    Some(if change < 0.0 {
        format!(
            "The hardest sequence to do without is {}: Dice falls from {with:.3} to {without:.3} on average, in the \
             {patients} from {sites} that have it and others.",
            one.sequence
        )
    } else {
        format!(
            "No single missing sequence costs Dice on average; {} comes closest.",
            one.sequence
        )
    })
}

/// The whole part of the page; empty where nobody was asked.
pub(super) fn section(report: &Report, figures: &[Figure]) -> String {
    let Some(matrix) = &report.federation.matrix else {
        return String::new();
    };
    let row = |one: &Without| {
        vec![
            escape(&one.sequence),
            one.cases.to_string(),
            escape(&one.sites.join(", ")),
            mean_sd(one.dice, 3),
            mean_sd(one.dice_without, 3),
            one.change.mean.map_or("–".into(), signed),
        ]
    };
    let rows: Vec<_> = matrix.without.iter().map(row).collect();
    let head = [
        "Without",
        "Patients",
        "From",
        "Dice with it",
        "Dice without it",
        "Change",
    ]
    .map(str::to_owned);
    let pictures: Vec<String> = figures
        .iter()
        .filter(|one| is_mine(one))
        .map(figure)
        .collect();
    format!(
        "<h2>What a missing sequence costs</h2>\n<p>{}</p>\n{}<p class=\"note\">Patients, held out or validation, who have \
         the sequence and at least one other; each is compared with himself. At Youden's threshold, the \
         publication's; report.json has the Dice at the other points too.</p>\n{}",
        headline(report)
            .map(|words| escape(&words))
            .unwrap_or_default(),
        table(&head, &rows),
        pictures.join("\n")
    )
}
