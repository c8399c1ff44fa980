//! The model cut into runs of values that a rule treats alike.

use protocol::coordinator::Contribution;
use protocol::parameters::{Kind, Manifest, STEM};
use protocol::settings::Input;
use std::ops::Range;

/// What a rule wants apart from the rest of the model. Tensors that need no cut are handled in one
/// run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Each sequence's channels of the stem, to be learnt from the sites that hold the sequence.
    pub sequences: bool,
    /// The running statistics of normalisation layers.
    pub statistics: bool,
}

/// A run of values of the model that one set of sites has something to say about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The values' indices in the flat model.
    pub range: Range<usize>,
    /// The sequence whose channels of the stem these are; `None` for everything that all sites
    /// teach.
    pub sequence: Option<usize>,
    /// These are statistics of normalisation layers; `false` where [`Cut::statistics`] does not
    /// ask.
    pub statistic: bool,
}

impl Segment {
    /// Whether a site's update has anything to say here.
    pub(crate) fn is_taught_by(&self, contribution: &Contribution) -> bool {
        match self.sequence {
            None => true,
            Some(sequence) => contribution.sequences.contains(sequence),
        }
    }
}

impl Cut {
    /// All of the model in segments, in the order of its values and without a gap.
    pub(crate) fn segments(self, manifest: &Manifest, input: &Input) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (spec, range) in manifest.ranges() {
            let statistic = self.statistics && spec.kind == Kind::RunningStatistic;
            let stem = self.sequences && spec.name == STEM;
            match spec.shape.as_slice() {
                [out, channels, height, width] if stem && *channels == input.channels() => {
                    let block = input.slices * height * width;
                    let sequences = input.sequences.len();
                    for index in 0..out * sequences {
                        let start = range.start + index * block;
                        segments.push(Segment {
                            range: start..start + block,
                            sequence: Some(index % sequences),
                            statistic,
                        });
                    }
                }
                _ => match segments.last_mut() {
                    Some(last) if last.sequence.is_none() && last.statistic == statistic => {
                        last.range.end = range.end;
                    }
                    _ => segments.push(Segment {
                        range,
                        sequence: None,
                        statistic,
                    }),
                },
            }
        }
        segments
    }
}
