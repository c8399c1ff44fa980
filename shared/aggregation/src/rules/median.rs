//! The coordinate-wise median (Yin et al. 2018, arXiv 1803.01498).

use super::Rule;
use super::columns::{each_value, middle};
use crate::pipeline::Block;
use crate::round::Round;
use crate::segment::Cut;
use crate::{AggregateError, Source};

/// Each value is the median of the updates' values. While fewer than half of the sites are faulty,
/// it is between values of sound sites, whatever the others send. Slices count for nothing: they
/// are what a site says of itself.
///
/// Each sequence's channels of the stem are the median over the sites that hold the sequence; the
/// others have not moved there, and would hold the median where it was. Of one or two sites, it is
/// the median of their values and of the newest model's, which counts until there are three.
#[derive(Clone, Copy, Debug)]
pub struct Median;

/// Among two, a faulty value cannot be told.
const FEWEST: usize = 3;

impl<S: Source> Rule<S> for Median {
    fn cut(&self) -> Cut {
        Cut {
            sequences: true,
            statistics: false,
        }
    }

    fn combine(
        &self,
        round: &Round<S>,
        block: &mut Block<'_>,
    ) -> Result<(), AggregateError<S::Error>> {
        each_value(round, block, FEWEST, middle)
    }
}
