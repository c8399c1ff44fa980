//! The grid that a case lives on, and the part a site plays.

use serde::{Deserialize, Serialize};

/// A voxel grid in canonical axial order: depth (inferior to superior), height (posterior to
/// anterior), width (left to right). Volumes on it are flat slices with width fastest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Voxels along depth, height and width.
    pub dims: [usize; 3],
    /// Millimetres between voxel centres along depth, height and width.
    pub spacing_mm: [f32; 3],
}

impl Grid {
    /// How many voxels the grid has.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.dims.iter().product()
    }

    /// The volume of one voxel in cubic millimetres.
    #[must_use]
    pub fn voxel_mm3(&self) -> f64 {
        self.spacing_mm.iter().map(|&mm| f64::from(mm)).product()
    }
}

/// What a site does in the federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Trains, and keeps some of its cases for validation.
    Train,
    /// Never trains: the global model is scored on its cases.
    Evaluate,
    /// Never trains: its cases help to choose thresholds and models.
    Validate,
}

impl Role {
    /// As in a site's settings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::Validate => "validate",
        }
    }

    /// What the scores of such a site's cases are: of cases that helped to choose, or of held-out
    /// ones.
    #[must_use]
    pub fn judges(self) -> Cases {
        match self {
            Self::Train | Self::Validate => Cases::Validation,
            Self::Evaluate => Cases::HeldOut,
        }
    }
}

/// Which of a site's cases a task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cases {
    /// The cases to choose thresholds and models by: what a training site keeps back, all that a
    /// validating site has.
    Validation,
    /// The cases of a site that takes no part in training.
    HeldOut,
}
