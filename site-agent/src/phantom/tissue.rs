//! What tissues look like: relative signal in each sequence, white matter near 1 in T1.

/// The sequences of a phantom, in the order of every `Signal`: spoiled gradient echo after
/// gadolinium, T1 spin echo before, T1 spin echo after (black blood), and fluid-attenuated T2.
pub const SEQUENCES: [&str; 4] = ["bravo", "t1_pre", "t1_post", "flair"];

/// Relative signal in each of [`SEQUENCES`].
pub(super) type Signal = [f32; 4];

/// Healthy tissues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tissue {
    /// Scalp.
    Fat,
    /// Skull.
    Bone,
    /// Between skin and skull, and below the brain.
    Muscle,
    /// Cerebrospinal fluid.
    Fluid,
    /// Cortex and deep nuclei.
    Grey,
    /// White matter.
    White,
}

/// Signals by [`Tissue`].
pub(super) const HEALTHY: [Signal; 6] = [
    [1.25, 1.30, 1.30, 0.95],
    [0.12, 0.10, 0.10, 0.10],
    [0.60, 0.55, 0.62, 0.45],
    [0.22, 0.26, 0.26, 0.12],
    [0.66, 0.68, 0.69, 0.84],
    [0.95, 0.86, 0.87, 0.66],
];

/// Arteries and veins: gadolinium shines in the gradient echo; in the spin echoes flowing blood
/// leaves a void.
pub(super) const VESSEL: Signal = [1.75, 0.22, 0.24, 0.22];
/// A vein too slow for the black-blood spin echo to null.
pub(super) const SLOW_VEIN: Signal = [1.75, 0.40, 1.25, 0.30];
/// Choroid plexus: enhances in every brain.
pub(super) const PLEXUS: Signal = [1.35, 0.60, 1.30, 0.70];
/// A lesion's viable tissue before gadolinium takes effect.
pub(super) const LESION_PLAIN: Signal = [0.66, 0.64, 0.66, 1.00];
/// The same at full enhancement.
pub(super) const LESION_ENHANCED: Signal = [1.50, 0.64, 1.55, 1.02];
/// A necrotic core: no blood supply, so no gadolinium.
pub(super) const NECROSIS: Signal = [0.45, 0.46, 0.48, 0.72];
/// Water in white matter around a lesion.
pub(super) const OEDEMA: Signal = [0.72, 0.66, 0.67, 1.28];
/// Small-vessel disease: white-matter spots that never enhance.
pub(super) const SPOT: Signal = [0.82, 0.74, 0.75, 1.22];
/// Blood some days old (methaemoglobin): short T1 without gadolinium, so bright before and after.
pub(super) const BLOOD: Signal = [1.45, 1.45, 1.50, 1.02];
/// Capillary telangiectasia: enhances, though nothing in FLAIR betrays it.
pub(super) const TELANGIECTASIA: Signal = [1.35, 0.80, 1.38, 0.68];

/// The signal `t` of the way from `a` to `b`.
pub(super) fn blend(a: Signal, b: Signal, t: f32) -> Signal {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

/// Shares of the tissues in a voxel; what is missing to 1 is air.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixture([f32; 6]);

impl Mixture {
    /// Air.
    pub(super) const EMPTY: Self = Self([0.0; 6]);

    /// A share of one tissue.
    pub(super) fn of(tissue: Tissue, share: f32) -> Self {
        let mut mixture = Self::EMPTY;
        mixture.0[tissue as usize] = share;
        mixture
    }

    /// Lets `tissue` take `share` of what is there. Air stays air.
    pub(super) fn lay(&mut self, tissue: Tissue, share: f32) {
        let taken = self.total() * share;
        self.0 = self.0.map(|old| old * (1.0 - share));
        self.0[tissue as usize] += taken;
    }

    /// The share of one tissue.
    pub(super) fn share(&self, tissue: Tissue) -> f32 {
        self.0[tissue as usize]
    }

    /// The share that is not air.
    pub(super) fn total(&self) -> f32 {
        self.0.iter().sum()
    }

    /// The mixture's signal in each sequence, given the signals of the tissues.
    pub(super) fn signal(&self, looks: &[Signal; 6]) -> Signal {
        std::array::from_fn(|s| {
            self.0
                .iter()
                .zip(looks)
                .map(|(share, look)| share * look[s])
                .sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laying_a_tissue_conserves_the_head() {
        let mut mixture = Mixture::of(Tissue::Muscle, 0.8);
        mixture.lay(Tissue::Grey, 0.5);
        mixture.lay(Tissue::White, 0.25);
        assert!((mixture.total() - 0.8).abs() < 1e-6);
        assert!((mixture.share(Tissue::White) - 0.2).abs() < 1e-6);
        assert!((mixture.share(Tissue::Grey) - 0.3).abs() < 1e-6);
    }
}
