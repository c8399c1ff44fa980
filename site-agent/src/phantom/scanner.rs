//! How a site's scanner shows a head: protocol, gain, intensity curve, bias field, noise, spacing,
//! orientation.

use super::draw::{chance, direction, dot, log_normal, normal, uniform};
use super::settings::ScannerChoice;
use super::tissue::{HEALTHY, Mixture, Signal, Tissue};
use rand_chacha::ChaCha8Rng;
use random::{Purpose, stream};

/// A scanner and the protocols a site runs on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scanner {
    /// The stored number of white matter, whose relative signal is 1, by sequence.
    gain: Signal,
    /// Bend of the intensity curve by sequence: 0 is straight, above 0 makes dark tissue brighter.
    curve: Signal,
    /// Standard deviation of the noise in each of two channels, in relative signal, by sequence.
    noise: Signal,
    /// How much the reception varies across the head.
    bias: f32,
    /// Signals of the healthy tissues under this site's protocols.
    healthy: [Signal; 6],
    /// The effect of gadolinium (dose and delay).
    pub(super) enhancement: f32,
    /// Factors of the usual spacing: in-plane, through-plane.
    pub(super) stretch: [f32; 2],
    /// The directions of the file's voxel axes.
    pub(super) orientation: &'static str,
}

/// Axial in the common three ways, and sagittal.
const ORIENTATIONS: [&str; 4] = ["RAS", "LPS", "LAS", "PSR"];

impl Scanner {
    /// The scanner of a site.
    pub(super) fn of(choice: &ScannerChoice, seed: u64, site: &str) -> Self {
        match choice {
            ScannerChoice::Reference => Self::reference(),
            ScannerChoice::Auto => Self::draw(&mut stream(seed, 0, site, Purpose::Phantom)),
            ScannerChoice::Like(other) => Self::draw(&mut stream(seed, 0, other, Purpose::Phantom)),
        }
    }

    fn reference() -> Self {
        Self {
            gain: [1000.0; 4],
            curve: [0.0; 4],
            noise: [0.02; 4],
            bias: 0.0,
            healthy: HEALTHY,
            enhancement: 1.0,
            stretch: [1.0; 2],
            orientation: "RAS",
        }
    }

    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut healthy = HEALTHY;
        for signal in healthy.iter_mut().flatten() {
            *signal *= uniform(rng, 0.95, 1.05);
        }
        if chance(rng, 0.4) {
            // Fat suppression in the contrast-enhanced spin echo.
            healthy[Tissue::Fat as usize][2] *= 0.35;
        }
        Self {
            gain: std::array::from_fn(|_| log_normal(rng, 700.0, 0.8, 80.0, 6000.0)),
            curve: std::array::from_fn(|_| uniform(rng, -0.2, 0.35)),
            noise: std::array::from_fn(|_| uniform(rng, 0.015, 0.05)),
            bias: uniform(rng, 0.05, 0.3),
            healthy,
            enhancement: uniform(rng, 0.85, 1.05),
            stretch: [uniform(rng, 0.96, 1.08), uniform(rng, 0.96, 1.08)],
            orientation: ORIENTATIONS[uniform(rng, 0.0, 4.0) as usize % 4],
        }
    }

    /// The signal of a mixture of healthy tissues.
    pub(super) fn signal(&self, mixture: &Mixture) -> Signal {
        mixture.signal(&self.healthy)
    }
}

/// One sequence of one examination: how relative signal becomes stored numbers.
pub(super) struct Acquisition {
    gain: f32,
    curve: f32,
    noise: f32,
    /// Reception at the middle, its slope per 100 mm, its bend per (100 mm) squared.
    slope: [f32; 3],
    bend: f32,
}

impl Acquisition {
    /// Draws the examination's gain and coil placement.
    pub(super) fn draw(rng: &mut ChaCha8Rng, scanner: &Scanner, sequence: usize) -> Self {
        Self {
            gain: scanner.gain[sequence] * uniform(rng, 0.85, 1.15),
            curve: scanner.curve[sequence],
            noise: scanner.noise[sequence],
            slope: direction(rng).map(|c| c * scanner.bias),
            bend: scanner.bias * uniform(rng, -0.5, 0.5),
        }
    }

    /// Turns one slice's relative signal into stored numbers; `place` gives a voxel's millimetres.
    pub(super) fn take(
        &self,
        slice: &mut [f32],
        place: impl Fn(usize) -> [f32; 3],
        rng: &mut ChaCha8Rng,
    ) {
        for (index, value) in slice.iter_mut().enumerate() {
            let p = place(index).map(|mm| mm * 0.01);
            let reception = (1.0 + dot(self.slope, p) + self.bend * dot(p, p)).max(0.2);
            let curved = *value * (1.0 + self.curve) / (1.0 + self.curve * *value);
            // The magnitude of a complex signal with noise in both channels (Rice).
            let real = curved * reception + self.noise * normal(rng);
            let imaginary = self.noise * normal(rng);
            *value = ((real * real + imaginary * imaginary).sqrt() * self.gain + 0.5) as u32 as f32;
        }
    }
}
