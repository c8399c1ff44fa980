use super::*;
use proptest::prelude::*;

const ALL: [Connectivity; 3] = [
    Connectivity::Six,
    Connectivity::Eighteen,
    Connectivity::TwentySix,
];

/// Floods from every unlabelled voxel, looking at each of its neighbours: slow and plain.
fn flood(mask: &[u8], dims: [usize; 3], connectivity: Connectivity) -> Vec<u32> {
    let limit = connectivity.steps();
    let place = |i: usize| [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
    let near = |a: usize, b: usize| {
        let (a, b) = (place(a), place(b));
        let steps = [0, 1, 2].map(|axis| a[axis].abs_diff(b[axis]));
        steps.iter().all(|&step| step <= 1) && steps.iter().sum::<usize>() <= limit
    };
    let mut labels = vec![0; mask.len()];
    let mut count = 0;
    for start in 0..mask.len() {
        if mask[start] == 0 || labels[start] != 0 {
            continue;
        }
        count += 1;
        labels[start] = count;
        let mut open = vec![start];
        while let Some(from) = open.pop() {
            for to in 0..mask.len() {
                if mask[to] != 0 && labels[to] == 0 && near(from, to) {
                    labels[to] = count;
                    open.push(to);
                }
            }
        }
    }
    labels
}

fn masks() -> impl Strategy<Value = (Vec<u8>, [usize; 3])> {
    (1usize..5, 1usize..6, 1usize..7).prop_flat_map(|(z, y, x)| {
        let voxel = prop::sample::select(vec![0u8, 0, 1, 4]);
        (prop::collection::vec(voxel, z * y * x), Just([z, y, x]))
    })
}

#[test]
fn two_voxels_that_share_a_corner_or_an_edge() {
    let corner = [1, 0, 0, 0, 0, 0, 0, 1];
    let edge = [1, 0, 0, 0, 0, 0, 1, 0];
    let counts =
        |mask: &[u8]| ALL.map(|connectivity| components(mask, [2, 2, 2], connectivity).count());
    assert_eq!(counts(&corner), [2, 2, 1]);
    assert_eq!(counts(&edge), [2, 1, 1]);
}

#[test]
fn an_empty_mask_or_a_grid_without_voxels_has_no_component() {
    for dims in [[0, 0, 0], [3, 0, 2], [1, 2, 2]] {
        let empty = components(
            &vec![0; dims.iter().product()],
            dims,
            Connectivity::TwentySix,
        );
        assert_eq!(empty.sizes, Vec::<u64>::new());
    }
}

proptest! {
    #[test]
    fn labels_are_those_of_flooding_every_voxel((mask, dims) in masks()) {
        for connectivity in ALL {
            let found = components(&mask, dims, connectivity);
            prop_assert_eq!(&found.labels, &flood(&mask, dims, connectivity));
            for (i, &size) in found.sizes.iter().enumerate() {
                let voxels = found.labels.iter().filter(|&&label| label as usize == i + 1).count();
                prop_assert_eq!(size, voxels as u64);
            }
        }
    }

    #[test]
    fn the_sizes_do_not_change_when_space_is_turned_around((mask, dims) in masks()) {
        let mut mirrored = mask.clone();
        mirrored.chunks_mut(dims[2]).for_each(|row| row.reverse());
        let backwards: Vec<u8> = mask.iter().rev().copied().collect();
        for connectivity in ALL {
            let sizes = |mask: &[u8]| {
                let mut sizes = components(mask, dims, connectivity).sizes;
                sizes.sort_unstable();
                sizes
            };
            prop_assert_eq!(sizes(&mask), sizes(&mirrored));
            prop_assert_eq!(sizes(&mask), sizes(&backwards));
        }
    }

    #[test]
    fn more_neighbours_never_make_more_components((mask, dims) in masks()) {
        let [six, eighteen, twenty_six] = ALL.map(|connectivity| components(&mask, dims, connectivity).count());
        prop_assert!(six >= eighteen && eighteen >= twenty_six);
    }
}
