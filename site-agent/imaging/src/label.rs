//! What the values of a mask mean: one rule for training and for scoring.

/// How far from a whole number a label may be: resampling, and a slope in the header, leave 0.9999
/// of a 1.
pub const TOLERANCE: f32 = 1e-3;

/// Why a value is no label.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoLabel {
    /// NaN or infinity.
    #[error("it holds {0}, which is no label")]
    NotFinite(f32),
    /// Between two whole numbers.
    #[error(
        "it holds {0}, and labels are whole numbers from 0 to 65535 (within {TOLERANCE}): a map of \
         probabilities or a mask that was resampled by interpolation must be cut at a threshold \
         first, such as 0.5"
    )]
    Between(f32),
    /// Whole, and no label.
    #[error("it holds {0}, and labels are whole numbers from 0 to 65535")]
    Range(f32),
}

/// The label that a value stands for.
///
/// # Errors
/// See [`NoLabel`].
pub fn label(value: f32) -> Result<u16, NoLabel> {
    if !value.is_finite() {
        return Err(NoLabel::NotFinite(value));
    }
    let whole = value.round();
    // A thousandth as a reader writes it, 1.001, is a little more than one after rounding to 32
    // bits.
    if (value - whole).abs() > TOLERANCE * 1.01 {
        return Err(NoLabel::Between(value));
    }
    if (0.0..=65535.0).contains(&whole) {
        Ok(whole as u16)
    } else {
        Err(NoLabel::Range(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_resampling_leaves_of_a_whole_number_is_that_number() {
        for (value, wanted) in [
            (0.0, 0),
            (-0.0, 0),
            (-0.0004, 0),
            (0.9999, 1),
            (0.999_999, 1),
            (0.999, 1),
            (1.001, 1),
            (3.9996, 4),
            (65535.0, 65535),
        ] {
            assert_eq!(label(value), Ok(wanted), "{value}");
        }
    }

    #[test]
    fn a_soft_mask_is_refused_and_its_owner_told_what_to_do() {
        for value in [0.5, 0.002, 0.998, 1.0 / 3.0, -0.5] {
            let refused = label(value).unwrap_err();
            assert_eq!(refused, NoLabel::Between(value));
            assert!(refused.to_string().contains("threshold"), "{refused}");
        }
        for value in [-1.0, 65536.0, 1e9, f32::MAX] {
            assert_eq!(label(value), Err(NoLabel::Range(value)));
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(label(value), Err(NoLabel::NotFinite(_))));
        }
    }

    proptest! {
        #[test]
        fn every_label_is_itself_and_its_neighbourhood(wanted: u16, off in -9e-4f32..9e-4) {
            prop_assert_eq!(label(f32::from(wanted)), Ok(wanted));
            // Far from zero, 32 bits hold no such fraction.
            prop_assert_eq!(label(f32::from(wanted) + off), Ok(wanted));
        }
    }
}
