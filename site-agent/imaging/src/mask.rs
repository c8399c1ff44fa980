//! Masks of two values: nothing is 0, and everything else has one other value.

/// Why values are no mask.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum NoMask {
    #[error("every voxel is 0")]
    Empty,
    #[error("no voxel is 0")]
    Full,
    #[error("it holds 0, {first} and {second}: a mask has one value besides 0")]
    Values { first: f32, second: f32 },
    #[error("it holds a value that is not a number")]
    NotFinite,
}

/// 1 where the mask is not 0.
///
/// # Errors
/// Any other number of values than two, or none of them 0.
pub fn two_values(values: &[f32]) -> Result<Vec<u8>, NoMask> {
    let mut other = None;
    let mut zeros = false;
    let mut mask = Vec::with_capacity(values.len());
    for &value in values {
        if !value.is_finite() {
            return Err(NoMask::NotFinite);
        }
        if value == 0.0 {
            zeros = true;
            mask.push(0);
            continue;
        }
        let first = *other.get_or_insert(value);
        if value != first {
            return Err(NoMask::Values {
                first,
                second: value,
            });
        }
        mask.push(1);
    }
    if other.is_none() {
        return Err(NoMask::Empty);
    }
    if !zeros {
        return Err(NoMask::Full);
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_zero_and_one_other_value() {
        assert_eq!(two_values(&[0.0, 255.0, 255.0]), Ok(vec![0, 1, 1]));
        assert_eq!(two_values(&[0.0, -0.0]), Err(NoMask::Empty));
        assert_eq!(two_values(&[1.0, 1.0]), Err(NoMask::Full));
        assert_eq!(two_values(&[0.0, f32::NAN]), Err(NoMask::NotFinite));
        assert!(matches!(
            two_values(&[0.0, 1.0, 0.5]),
            Err(NoMask::Values { .. })
        ));
    }
}
