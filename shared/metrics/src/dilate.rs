//! Growing a mask by its neighbours.

use super::components::Connectivity;

/// Adds to a mask of `dims` (width fastest) every voxel next to one of its own; the result is 0 or
/// 1.
#[must_use]
pub fn dilated(mask: &[u8], dims: [usize; 3], connectivity: Connectivity) -> Vec<u8> {
    let [depth, height, width] = dims;
    let mut grown = vec![0u8; mask.len()];
    for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
        let start = (z * height + y) * width;
        let row = &mask[start..start + width];
        if row.iter().all(|&voxel| voxel == 0) {
            continue;
        }
        for (z, y, distance) in rows_around(z, y, depth, height) {
            let Some(reach) = connectivity.steps().checked_sub(distance) else {
                continue;
            };
            let start = (z * height + y) * width;
            spread(row, &mut grown[start..start + width], reach > 0);
        }
    }
    grown
}

/// The row itself and its neighbours, with how many axes they differ in.
fn rows_around(
    z: usize,
    y: usize,
    depth: usize,
    height: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let zs = z.saturating_sub(1)..(z + 2).min(depth);
    zs.flat_map(move |near_z| {
        let ys = y.saturating_sub(1)..(y + 2).min(height);
        ys.map(move |near_y| (near_z, near_y, near_z.abs_diff(z) + near_y.abs_diff(y)))
    })
}

/// Adds a row to another, and its voxels' left and right neighbours if `sideways`.
fn spread(row: &[u8], grown: &mut [u8], sideways: bool) {
    for (to, &from) in grown.iter_mut().zip(row) {
        *to |= u8::from(from != 0);
    }
    if sideways && !row.is_empty() {
        for (to, &from) in grown.iter_mut().zip(&row[1..]) {
            *to |= u8::from(from != 0);
        }
        for (to, &from) in grown[1..].iter_mut().zip(row) {
            *to |= u8::from(from != 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_voxel_grows_to_its_neighbourhood_and_no_further_than_the_grid() {
        let mut mask = [0u8; 27];
        mask[13] = 4;
        let grown = |mask: &[u8], connectivity| {
            dilated(mask, [3, 3, 3], connectivity)
                .iter()
                .map(|&v| usize::from(v))
                .sum()
        };
        let sizes: [usize; 3] = [
            Connectivity::Six,
            Connectivity::Eighteen,
            Connectivity::TwentySix,
        ]
        .map(|c| grown(&mask, c));
        assert_eq!(sizes, [7, 19, 27]);
        let mut corner = [0u8; 27];
        corner[0] = 1;
        let sizes: usize = grown(&corner, Connectivity::TwentySix);
        assert_eq!(sizes, 8);
    }

    proptest! {
        #[test]
        fn growing_two_masks_together_is_growing_each(voxels in prop::collection::vec((0u8..2, 0u8..2), 60)) {
            let (a, b): (Vec<u8>, Vec<u8>) = voxels.iter().copied().unzip();
            let either: Vec<u8> = voxels.iter().map(|(a, b)| a | b).collect();
            let grow = |mask: &[u8]| dilated(mask, [3, 4, 5], Connectivity::Eighteen);
            let apart: Vec<u8> = grow(&a).iter().zip(grow(&b)).map(|(a, b)| a | b).collect();
            prop_assert_eq!(grow(&either), apart);
        }
    }
}
