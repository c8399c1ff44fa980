//! Every metric of a pair, under the names of the reference numbers that the tests hold it to.

use super::read::{Pair, ScoreMap};
use metrics::case_metrics::{CaseCounts, METRICS};
use metrics::components::{Components, Connectivity, components};
use metrics::confusion::Confusion;
use metrics::lesion::reaches_limit;
use metrics::lesionwise::{METASTASES, lesion_wise};
use metrics::matching::Matching;
use metrics::overlap::overlaps;
use metrics::roc::Roc;
use metrics::score::{AtThreshold, Compared};
use metrics::statistics::population;
use metrics::surface::SurfaceDistances;
use metrics::window::Window;
use serde_json::{Map, Value, json};

/// The distance at which surfaces still count as one in the surface Dice, mm.
const SURFACE_TOLERANCE_MM: f64 = 1.0;

/// What is measured.
pub(super) struct Wanted {
    /// HD95 and surface Dice.
    pub(super) distances: bool,
}

/// Named values.
pub(super) struct Measured(Map<String, Value>);

impl Measured {
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&self.0)
    }

    /// Names, dots between levels, and numbers; lists are left out.
    pub(super) fn flat(&self) -> Vec<(String, String)> {
        fn descend(prefix: &str, values: &Map<String, Value>, flat: &mut Vec<(String, String)>) {
            for (name, value) in values {
                match value {
                    Value::Object(inner) => descend(&format!("{prefix}{name}."), inner, flat),
                    Value::Array(_) => {}
                    Value::Number(number) => {
                        flat.push((format!("{prefix}{name}"), number.to_string()))
                    }
                    _ => flat.push((format!("{prefix}{name}"), String::new())),
                }
            }
        }
        let mut flat = Vec::new();
        descend("", &self.0, &mut flat);
        flat
    }

    pub(super) fn table(&self) -> String {
        let line = |(name, value): &(String, String)| {
            format!(
                "{name:44} {}",
                if value.is_empty() { "undefined" } else { value }
            )
        };
        self.flat().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Adds named values.
    fn add(&mut self, values: Value) {
        if let Value::Object(values) = values {
            self.0.extend(values);
        }
    }
}

/// Measures a pair.
pub(super) fn measure(pair: &Pair, map: Option<&ScoreMap>, wanted: &Wanted) -> Measured {
    let mut measured = Measured(Map::new());
    let voxels = Confusion::of_masks(&pair.reference, &pair.prediction);
    let [depth, height, width] = pair.grid.dims;
    measured.add(json!({ "shape": [width, height, depth], "voxel_mm3": pair.grid.voxel_mm3() }));
    measured.add(json!({
        "tp": voxels.tp, "fp": voxels.fp, "fn": voxels.fn_,
        "gt_vox": voxels.tp + voxels.fn_, "pred_vox": voxels.tp + voxels.fp,
    }));
    let cut = Cut::new(pair);
    let counts = cut.counts();
    let distances = wanted.distances.then(|| cut.distances()).flatten();
    measured.add(lesions(&cut, &counts));
    measured.add(json!({
        "hd95_mm": distances.as_ref().map(|between| between.hausdorff(0.95)),
        "surface_dice_1mm": distances.as_ref().map(|between| between.dice(SURFACE_TOLERANCE_MM)),
        "brats2023_MET_dil1_thr2": brats(&cut, &voxels, distances.as_ref(), wanted),
        "panoptica_mets": panoptica(&cut, &voxels),
    }));
    let curves = map.map(|map| Curves::new(map, &pair.reference));
    measured.add(case_metrics(&counts, curves.as_ref()));
    if let (Some(map), Some(curves)) = (map, &curves) {
        measured.add(scores(map, curves));
    }
    measured.add(json!({ "warnings": pair.warnings }));
    measured
}

/// The metrics that reports have too. Those of probabilities are left out without a map.
fn case_metrics(counts: &AtThreshold, curves: Option<&Curves>) -> Value {
    let case = CaseCounts {
        auc_brain: curves.and_then(|curves| curves.brain.as_ref()?.auc()),
        auc_volume: curves.and_then(|curves| curves.whole.auc()),
        at: Some(counts),
    };
    let mut values = Map::new();
    for metric in METRICS {
        if metric.ranks && curves.is_none() {
            continue;
        }
        let value = (metric.value)(&case);
        let value = if metric.whole {
            json!(value.map(|value| value as u64))
        } else {
            json!(value)
        };
        values.insert(metric.score_key.to_owned(), value);
    }
    Value::Object(values)
}

/// The masks where one of them is lesion, with room for lesions to grow.
struct Cut {
    reference: Vec<u8>,
    prediction: Vec<u8>,
    dims: [usize; 3],
    spacing_mm: [f64; 3],
    voxel_mm3: f64,
    lesions: Components,
    predicted: Components,
}

impl Cut {
    fn new(pair: &Pair) -> Self {
        let dims = pair.grid.dims;
        let window = Window::around(dims, |i| pair.reference[i] | pair.prediction[i] != 0);
        let window = window.map_or(
            Window {
                origin: [0; 3],
                dims: [0; 3],
            },
            |window| window.grown(1, dims),
        );
        let (reference, prediction) = (
            window.cut(&pair.reference, dims),
            window.cut(&pair.prediction, dims),
        );
        Self {
            lesions: components(&reference, window.dims, Connectivity::TwentySix),
            predicted: components(&prediction, window.dims, Connectivity::TwentySix),
            reference,
            prediction,
            dims: window.dims,
            spacing_mm: pair.grid.spacing_mm.map(f64::from),
            voxel_mm3: pair.grid.voxel_mm3(),
        }
    }

    /// What a site of a federation counts of a case.
    fn counts(&self) -> AtThreshold {
        let compared = Compared {
            reference: &self.reference,
            lesions: &self.lesions,
            prediction: &self.prediction,
            predicted: &self.predicted,
            voxel_mm3: self.voxel_mm3,
        };
        // A mask is 0 or 1.
        AtThreshold::of(&compared, 0.5)
    }

    fn distances(&self) -> Option<SurfaceDistances> {
        SurfaceDistances::between(
            &self.reference,
            &self.prediction,
            self.dims,
            self.spacing_mm,
        )
    }
}

fn lesions(cut: &Cut, counts: &AtThreshold) -> Value {
    let count = |mask: &[u8], connectivity| components(mask, cut.dims, connectivity).count();
    let mut sizes = cut.predicted.sizes.clone();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let found = cut.lesions.touched(&cut.prediction);
    let large = |hit: bool| {
        let pairs = cut.lesions.sizes.iter().zip(&found);
        pairs
            .filter(|&(&size, &found)| found == hit && reaches_limit(size, cut.voxel_mm3))
            .count()
    };
    let [small, medium, big, biggest] = counts.by_size;
    let lesions = counts.lesions;
    json!({
        "n_cc_gt_6": count(&cut.reference, Connectivity::Six),
        "n_cc_pred_6": count(&cut.prediction, Connectivity::Six),
        "n_cc_gt_18": count(&cut.reference, Connectivity::Eighteen),
        "n_cc_pred_18": count(&cut.prediction, Connectivity::Eighteen),
        "n_cc_gt_26": cut.lesions.count(),
        "n_cc_pred_26": cut.predicted.count(),
        "pred_component_sizes_26_sorted": sizes,
        "tp_lesions_gt_no_limit": lesions.detected,
        "fn_lesions_gt_no_limit": lesions.reference - lesions.detected,
        "tp_lesions_gt_ge10mm3": large(true),
        "fn_lesions_gt_ge10mm3": large(false),
        "sensitivity_below_3mm": small.sensitivity(), "sensitivity_3_to_6mm": medium.sensitivity(),
        "sensitivity_6_to_10mm": big.sensitivity(), "sensitivity_above_10mm": biggest.sensitivity(),
    })
}

/// As the challenge's program reports: what is undefined has its value, so that ranks could be
/// taken.
fn brats(
    cut: &Cut,
    counts: &Confusion,
    distances: Option<&SurfaceDistances>,
    wanted: &Wanted,
) -> Value {
    let lesion_wise = lesion_wise(
        &cut.reference,
        &cut.prediction,
        cut.dims,
        cut.spacing_mm,
        &METASTASES,
        wanted.distances,
    );
    let nothing = counts.tp + counts.fp + counts.fn_ == 0;
    let whole = |undefined: f64| {
        let measured = distances.map(|between| between.hausdorff(0.95));
        wanted
            .distances
            .then(|| measured.unwrap_or(if nothing { 0.0 } else { undefined }))
    };
    json!({
        "lesionwise_dice": lesion_wise.dice.unwrap_or(1.0),
        "lesionwise_hd95": wanted.distances.then(|| lesion_wise.hd95_mm.unwrap_or(0.0)),
        "num_tp": lesion_wise.found, "num_fp": lesion_wise.false_positive, "num_fn": lesion_wise.missed,
        "legacy_dice": counts.dice().unwrap_or(1.0),
        "legacy_hd95": whole(METASTASES.penalty_mm),
        "sensitivity": counts.recall().unwrap_or(if nothing { 1.0 } else { 0.0 }),
        "specificity": counts.specificity().unwrap_or(0.0),
    })
}

/// As panoptica reports: what is undefined is "nan", and quotients over nothing are left out.
fn panoptica(cut: &Cut, counts: &Confusion) -> Value {
    let shared = overlaps(&cut.lesions.labels, &cut.predicted.labels);
    let matching = Matching::best(&cut.lesions, &cut.predicted, &shared);
    let or_nan = |value: Option<f64>| value.map_or(json!("nan"), |value| json!(value));
    let mut values = json!({
        "n_ref_instances": matching.reference, "n_pred_instances": matching.predicted,
        "tp": matching.matched, "fp": matching.predicted - matching.matched, "fn": matching.reference - matching.matched,
        "rq": or_nan(matching.recognition()), "sq_dsc": or_nan(matching.segmentation()),
        "pq_dsc": or_nan(matching.panoptic()), "global_bin_dsc": or_nan(counts.dice()),
    });
    for (name, value) in [("prec", matching.precision()), ("rec", matching.recall())] {
        if let (Some(value), Value::Object(values)) = (value, &mut values) {
            values.insert(name.to_owned(), json!(value));
        }
    }
    values
}

/// ROC curves of a map of probabilities.
struct Curves {
    /// Where the brain is known.
    brain: Option<Roc>,
    whole: Roc,
}

impl Curves {
    fn new(map: &ScoreMap, reference: &[u8]) -> Self {
        let curve = |wanted: u8| {
            let (mut lesion, mut other) = (Vec::new(), Vec::new());
            for (i, (&value, &truth)) in map.values.iter().zip(reference).enumerate() {
                if map.brain.as_ref().map_or(0, |brain| brain[i]) == wanted {
                    (if truth != 0 { &mut lesion } else { &mut other }).push(value);
                }
            }
            Roc::of_scores(lesion, other)
        };
        let outside = curve(0);
        let brain = map.brain.as_ref().map(|_| curve(1));
        let whole = brain
            .as_ref()
            .map_or(outside.clone(), |brain| brain.merged(&outside));
        Self { brain, whole }
    }
}

/// Youden's threshold, in the brain if it is known, else in the whole volume, and what describes
/// the map.
fn scores(map: &ScoreMap, curves: &Curves) -> Value {
    let Curves { brain, whole } = curves;
    let youden = brain.as_ref().unwrap_or(whole).youden().map(|best| {
        json!({
            "J": best.j, "threshold_ge": best.threshold, "tpr": best.tpr, "fpr": best.fpr,
            "n_argmax_ties": best.ties,
        })
    });
    let auc_in_brain = brain.as_ref().and_then(Roc::auc);
    let mut values = json!({
        "youden": youden,
        "youden_over": if brain.is_some() { "brain" } else { "whole volume" },
    });
    if let Value::Object(values) = &mut values {
        values.insert(format!("auc_{}_in_brain", map.name), json!(auc_in_brain));
        values.insert(format!("auc_{}_whole_volume", map.name), json!(whole.auc()));
        if let Some(brain) = &map.brain {
            let inside = || {
                map.values
                    .iter()
                    .zip(brain)
                    .filter(|pair| *pair.1 != 0)
                    .map(|pair| f64::from(*pair.0))
            };
            let (mean, deviation) = population(inside).unzip();
            values.insert("brain_voxels".to_owned(), json!(inside().count()));
            let zscore = json!({ "mean": mean, "std_pop": deviation });
            values.insert(
                "zscore_in_brain".to_owned(),
                json!({ map.name.as_str(): zscore }),
            );
        }
    }
    values
}
