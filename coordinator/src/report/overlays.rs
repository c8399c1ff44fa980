//! What the report shows of representative cases: pictures from the sites that permit it.

use super::markup::escape;
use super::summary::federation_run;
use super::wording::use_of;
use protocol::case::Role;
use protocol::jpeg::Picture;
use protocol::outcome::{Outcome, SiteScores};
use protocol::overlay::{
    Colour, FALSE_NEGATIVE, FALSE_POSITIVE, PROBABILITY, Representative, TRUE_POSITIVE,
    representative,
};

const STAY: &str = "each finds its best, median and worst case in the folder overlays of its \
                    work folder, unless its settings say overlays = \"off\"; with overlays = \
                    \"send\" they are shown here.";

/// One picture, and what it represents.
type Shown<'a> = (Representative, &'a Picture);

/// Whether a site sent a picture that is shown.
pub(super) fn any(outcome: &Outcome) -> bool {
    scored(outcome)
        .iter()
        .any(|scores| !shown(scores).is_empty())
}

/// The whole part of the page.
pub(super) fn section(outcome: &Outcome) -> String {
    let sites = scored(outcome);
    let figures: Vec<String> = sites
        .iter()
        .flat_map(|scores| shown(scores).into_iter().map(|shown| figure(scores, shown)))
        .collect();
    if figures.is_empty() {
        return format!(
            "<h2>Representative cases</h2>\n<p>Pictures of patients stay at the sites: {STAY}</p>"
        );
    }
    let silent = sites
        .iter()
        .filter(|scores| shown(scores).is_empty() && !ranked(scores).is_empty());
    let silent: Vec<String> = silent.map(|scores| escape(scores.site.as_str())).collect();
    let others = if silent.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"note\">Pictures of {} stay at the sites: {STAY}</p>\n",
            silent.join(", ")
        )
    };
    format!(
        "<h2>Representative cases</h2>\n{}\n<div class=\"cases\">{}</div>\n{others}",
        legend(),
        figures.join("\n")
    )
}

/// The federation's scores by site, held-out sites first.
fn scored(outcome: &Outcome) -> Vec<&SiteScores> {
    let mut sites: Vec<&SiteScores> = federation_run(outcome)
        .iter()
        .flat_map(|run| &run.scores)
        .collect();
    sites.sort_by_key(|scores| scores.role != Role::Evaluate);
    sites
}

/// Which case represents what: the site's own choice, from the same counts.
fn ranked(scores: &SiteScores) -> Vec<Representative> {
    representative(
        scores
            .cases
            .iter()
            .filter_map(|case| Some((case.case, *case.at.first()?))),
    )
}

/// A site's pictures in the order of their ranks. One of any other case is left out.
fn shown(scores: &SiteScores) -> Vec<Shown<'_>> {
    let picture = |one: Representative| {
        let mut sent = scores
            .overlays
            .iter()
            .filter(|overlay| overlay.case == one.case);
        Some((one, &sent.next()?.picture))
    };
    ranked(scores).into_iter().filter_map(picture).collect()
}

fn figure(scores: &SiteScores, (one, picture): Shown<'_>) -> String {
    let (site, rank) = (escape(scores.site.as_str()), one.rank);
    format!(
        "<figure>\n<img src=\"data:image/jpeg;base64,{}\" alt=\"{site}, {rank} case: \
         probabilities, and what was found and missed\">\n<figcaption><strong>{site}</strong> \
         ({}), {rank} of its cases: Dice {:.3}</figcaption>\n</figure>",
        picture.base64(),
        use_of(scores.role),
        one.dice
    )
}

fn legend() -> String {
    let stops: Vec<String> = PROBABILITY.into_iter().map(css).collect();
    let swatch = |colour, words: &str| {
        format!(
            "<span class=\"swatch\" style=\"background:{}\"></span> {words}",
            css(colour)
        )
    };
    format!(
        "<p>For each site that lets them be shown, its best, median and worst case by the whole \
         patient's Dice at the threshold used above: the axial slice with most lesion, on the \
         sequence in which the lesions stand out brightest (the front above, the patient's left \
         on the right).</p>\n<p class=\"legend\">Left, the probability of lesion: 0 <span \
         class=\"scale\" style=\"background:linear-gradient(to right,{})\"></span> 1, fading \
         below the threshold.<br>Right, at the threshold: {} · {} · {}</p>",
        stops.join(","),
        swatch(TRUE_POSITIVE, "lesion found (true positive)"),
        swatch(FALSE_POSITIVE, "called lesion and is none (false positive)"),
        swatch(FALSE_NEGATIVE, "lesion missed (false negative)"),
    )
}

fn css([red, green, blue]: Colour) -> String {
    format!("rgb({red},{green},{blue})")
}
