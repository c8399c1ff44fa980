//! Augmentation of one training example: image and label are moved together.

use protocol::settings::Augmentation;
use rand::{Rng, RngExt};

/// The augmentation of one example, drawn once and applied to the slab and the label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    /// For each output pixel the input pixel it shows, [`OUTSIDE`] beyond the edge; `None` moves
    /// nothing.
    source: Option<Vec<u32>>,
    /// One for each sequence.
    intensity: Vec<Intensity>,
}

/// `value * gain + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Intensity {
    gain: f32,
    offset: f32,
}

/// No input pixel.
const OUTSIDE: u32 = u32::MAX;

/// A symmetry of the square followed by a shift.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
struct Motion {
    mirror_rows: bool,
    mirror_columns: bool,
    quarter_turns: u8,
    shift: [isize; 2],
}

impl Motion {
    fn draw(settings: &Augmentation, random: &mut impl Rng) -> Self {
        let mut motion = Self::default();
        if settings.flips {
            motion.mirror_rows = random.random();
            motion.mirror_columns = random.random();
        }
        if settings.turns {
            motion.quarter_turns = random.random_range(0..4);
        }
        if settings.shift > 0 {
            let most = settings.shift as i32;
            motion.shift[0] = random.random_range(-most..=most) as isize;
            motion.shift[1] = random.random_range(-most..=most) as isize;
        }
        motion
    }

    /// The input pixel shown at `row`, `column` of a plane with sides of `side` pixels.
    fn source(self, row: usize, column: usize, side: usize) -> u32 {
        // Numbers below zero wrap to very large ones, which are outside too.
        let mut row = row.wrapping_add_signed(-self.shift[0]);
        let mut column = column.wrapping_add_signed(-self.shift[1]);
        if row >= side || column >= side {
            return OUTSIDE;
        }
        for _ in 0..self.quarter_turns {
            (row, column) = (column, side - 1 - row);
        }
        if self.mirror_rows {
            row = side - 1 - row;
        }
        if self.mirror_columns {
            column = side - 1 - column;
        }
        (row * side + column) as u32
    }
}

impl Intensity {
    /// Zero stays zero.
    fn change(self, value: f32) -> f32 {
        if value == 0.0 {
            0.0
        } else {
            value * self.gain + self.offset
        }
    }
}

impl Change {
    /// Draws a change for planes with sides of `side` pixels and `sequences` sequences.
    pub(super) fn draw(
        settings: &Augmentation,
        side: usize,
        sequences: usize,
        random: &mut impl Rng,
    ) -> Self {
        let motion = Motion::draw(settings, random);
        let jitter = settings.intensity;
        let mut intensity = Vec::with_capacity(sequences);
        for _ in 0..sequences {
            let mut gain = 1.0;
            let mut offset = 0.0;
            if jitter > 0.0 {
                gain += random.random_range(-jitter..=jitter);
                offset = random.random_range(-jitter..=jitter);
            }
            intensity.push(Intensity { gain, offset });
        }
        let mut source = None;
        if motion != Motion::default() {
            let mut pixels = Vec::with_capacity(side * side);
            for at in 0..side * side {
                pixels.push(motion.source(at / side, at % side, side));
            }
            source = Some(pixels);
        }
        Self { source, intensity }
    }

    /// Changes one sequence's slices, `[slices, side, side]`, in place. Exact zeros stay zero: they
    /// are voxels outside the brain and missing sequences.
    pub(super) fn image(&self, sequence: usize, slices: &mut [f32], scratch: &mut Vec<f32>) {
        let intensity = self.intensity[sequence];
        let Some(source) = &self.source else {
            for value in slices {
                *value = intensity.change(*value);
            }
            return;
        };
        for plane in slices.chunks_exact_mut(source.len()) {
            scratch.clear();
            scratch.extend_from_slice(plane);
            for (value, &from) in plane.iter_mut().zip(source) {
                *value = match scratch.get(from as usize) {
                    Some(&before) => intensity.change(before),
                    None => 0.0,
                };
            }
        }
    }

    /// Moves the label, `[side, side]`, with the image; beyond the edge there is no lesion.
    pub(super) fn label(&self, label: &mut [u8]) {
        let Some(source) = &self.source else { return };
        let before = label.to_vec();
        for (value, &from) in label.iter_mut().zip(source) {
            *value = before.get(from as usize).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use random::{Purpose, stream};

    fn draw(settings: &Augmentation, side: usize, seed: u64) -> Change {
        Change::draw(
            settings,
            side,
            2,
            &mut stream(seed, 1, "north", Purpose::Augmentation),
        )
    }

    const NOTHING: Augmentation = Augmentation {
        flips: false,
        turns: false,
        shift: 0,
        intensity: 0.0,
    };

    /// A plane whose pixels all differ and none is zero.
    fn numbered(side: usize) -> Vec<u8> {
        (0..side * side).map(|at| at as u8 + 1).collect()
    }

    proptest! {
        #[test]
        fn image_and_label_move_together(
            seed: u64, side in 2usize..15, flips: bool, turns: bool, shift in 0usize..4,
        ) {
            let shift = shift.min(side - 1);
            let change = draw(&Augmentation { flips, turns, shift, ..NOTHING }, side, seed);
            let mut label = numbered(side);
            let mut image: Vec<f32> = label.iter().chain(&label).map(|&v| f32::from(v)).collect();
            change.image(1, &mut image, &mut Vec::new());
            change.label(&mut label);
            let moved: Vec<f32> = label.iter().chain(&label).map(|&v| f32::from(v)).collect();
            prop_assert_eq!(image, moved);
        }

        #[test]
        fn without_a_shift_no_pixel_is_lost(seed: u64, side in 2usize..15) {
            let settings = Augmentation { flips: true, turns: true, ..NOTHING };
            let change = draw(&settings, side, seed);
            let mut label = numbered(side);
            change.label(&mut label);
            label.sort_unstable();
            prop_assert_eq!(label, numbered(side));
        }

        #[test]
        fn a_shift_moves_no_further_than_told(seed: u64, shift in 0usize..5) {
            let side = 15;
            let change = draw(&Augmentation { shift, ..NOTHING }, side, seed);
            let mut label = vec![0; side * side];
            label[7 * side + 7] = 1;
            change.label(&mut label);
            let at = label.iter().position(|&v| v == 1).unwrap();
            prop_assert!((at / side).abs_diff(7) <= shift);
            prop_assert!((at % side).abs_diff(7) <= shift);
        }
    }

    #[test]
    fn every_symmetry_of_the_square_is_drawn() {
        let settings = Augmentation {
            flips: true,
            turns: true,
            ..NOTHING
        };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut label = numbered(3);
            draw(&settings, 3, seed).label(&mut label);
            seen.insert(label);
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn intensity_leaves_zeros_alone_and_stays_within_bounds() {
        let settings = Augmentation {
            intensity: 0.1,
            ..NOTHING
        };
        let change = draw(&settings, 2, 5);
        let mut image = vec![0.0, 1.0, 2.0, 0.0];
        change.image(0, &mut image, &mut Vec::new());
        assert_eq!([image[0], image[3]], [0.0, 0.0]);
        let gain = image[2] - image[1];
        let offset = image[1] - gain;
        assert!((gain - 1.0).abs() <= 0.1 && gain != 1.0, "{gain}");
        assert!(offset.abs() <= 0.1, "{offset}");
        let mut other = vec![1.0; 4];
        change.image(1, &mut other, &mut Vec::new());
        assert_ne!(other[1], image[1], "each sequence has its own scanner");
    }
}
