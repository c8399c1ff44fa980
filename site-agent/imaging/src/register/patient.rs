//! The images of one patient onto the grid of one of them, and a result back onto each.

use super::error::RegisterError;
use super::folder::NO_MOVE;
use super::judge::{Judgement, Verdict};
use super::picture::checkerboard;
use super::resample::{resample, resample_mask};
use super::rigid::Rigid;
use super::search::register;
use crate::folder::SEQUENCES;
use crate::nifti::{self, Source, Volume, write_f32};
use program::{files, private};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One image of a patient.
pub struct Image<'a> {
    /// The name of its sequence.
    pub name: &'a str,
    pub path: &'a Path,
}

/// The images of one patient, each with its move onto the reference.
pub struct Patient {
    /// The place of the reference in `images`.
    reference: usize,
    images: Vec<Moved>,
}

/// An image, and where the reference's places are in it.
pub struct Moved {
    pub name: String,
    /// On its own grid.
    volume: Volume,
    /// From the reference's space to the image's.
    lookup: Rigid,
    /// `None` for the reference.
    pub judgement: Option<Judgement>,
}

impl Patient {
    /// Reads the images, and finds the move of each onto the reference.
    ///
    /// The reference is the image called `reference`. Without that name it is the gradient echo
    /// (`bravo`), or the first there is of `t1_post`, `t1_pre` and `flair`. Without those it is the
    /// image with the smallest voxels.
    ///
    /// # Errors
    /// Files that cannot be read, and images that cannot be registered: too small, of one value,
    /// or too far apart. A doubtful move is no error.
    pub fn register(
        images: &[Image<'_>],
        reference: Option<&str>,
        threads: usize,
    ) -> Result<Self, RegisterError> {
        let mut moved = Vec::with_capacity(images.len());
        for image in images {
            let volume = nifti::read(image.path).map_err(|source| RegisterError::Image {
                path: image.path.into(),
                source,
            })?;
            moved.push(Moved {
                name: image.name.into(),
                volume,
                lookup: Rigid::new([0.0; 3], [0.0; 3], [0.0; 3]),
                judgement: None,
            });
        }
        let reference = match reference {
            Some(name) => moved
                .iter()
                .position(|image| image.name == name)
                .ok_or_else(|| RegisterError::NoReference(name.into()))?,
            None => best_reference(&moved).ok_or(RegisterError::Constant)?,
        };
        for at in 0..moved.len() {
            if at == reference {
                continue;
            }
            let found = register(&moved[reference].volume, &moved[at].volume, threads)
                .map_err(|error| error.of(images[at].path))?;
            moved[at].lookup = found.lookup;
            moved[at].judgement = Some(found.judgement);
        }
        Ok(Self {
            reference,
            images: moved,
        })
    }

    #[must_use]
    pub fn reference(&self) -> &Moved {
        &self.images[self.reference]
    }

    /// All images but the reference, in the order in which they were given.
    pub fn others(&self) -> impl Iterator<Item = &Moved> {
        let others = self.images.iter().enumerate();
        others
            .filter(|(at, _)| *at != self.reference)
            .map(|(_, image)| image)
    }

    /// Writes an image on the reference's grid as `NAME.nii.gz`, and for a doubtful one the
    /// picture `NAME.png`, squares of it and of the reference by turns.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, image: &Moved, folder: &Path) -> Result<PathBuf, RegisterError> {
        let fixed = &self.reference().volume;
        private::create_folder(folder).map_err(RegisterError::disk(folder))?;
        let path = folder.join(format!("{}.nii.gz", image.name));
        let values = if image.stays(fixed) {
            image.volume.values.clone()
        } else {
            resample(fixed, &image.volume, &image.lookup).ok_or(RegisterError::Constant)?
        };
        write_f32(&path, &values, &fixed.source).map_err(|source| RegisterError::Image {
            path: path.clone(),
            source,
        })?;
        if !image.doubts().is_empty() {
            let png = checkerboard(fixed, &values).map_err(RegisterError::Picture)?;
            let picture = path.with_file_name(format!("{}.png", image.name));
            files::replace(&picture, |file| file.write_all(&png))
                .map_err(RegisterError::disk(&picture))?;
        }
        Ok(path)
    }

    /// Labels on the reference's grid, brought onto an image's own grid: each voxel has the label
    /// of the nearest place, 0 beyond the reference. `None` where voxels have no volume.
    #[must_use]
    pub fn labels_on(&self, image: &Moved, labels: &[u32]) -> Option<Vec<u32>> {
        let fixed = &self.reference().volume;
        if image.stays(fixed) {
            return Some(labels.to_vec());
        }
        let result = Volume {
            grid: fixed.grid,
            // Exact: a volume has no more than 2^24 lesions.
            values: labels.iter().map(|label| *label as f32).collect(),
            source: fixed.source.clone(),
            warnings: Vec::new(),
        };
        let values = resample_mask(&image.volume, &result, &image.lookup.inverse())?;
        Some(values.into_iter().map(|value| value as u32).collect())
    }
}

impl Moved {
    /// The grid of the image's own file.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.volume.source
    }

    /// Why its move should not be believed; empty if it should.
    #[must_use]
    pub fn doubts(&self) -> &[String] {
        match &self.judgement {
            Some(judgement) if judgement.verdict == Verdict::Doubtful => &judgement.why,
            _ => &[],
        }
    }

    /// Whether the image needs no interpolation: it is on the reference's grid already.
    fn stays(&self, fixed: &Volume) -> bool {
        self.lookup.size_mm() < NO_MOVE && fixed.source.same_place(&self.volume.source)
    }
}

/// The place of the image that the others should be moved onto; `None` without images.
fn best_reference(images: &[Moved]) -> Option<usize> {
    for name in SEQUENCES {
        if let Some(at) = images.iter().position(|image| image.name == name) {
            return Some(at);
        }
    }
    let mut best: Option<usize> = None;
    for (at, image) in images.iter().enumerate() {
        let voxel = image.volume.grid.voxel_mm3();
        if best.is_none_or(|best| voxel < images[best].volume.grid.voxel_mm3()) {
            best = Some(at);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::tests::phantom::{Contrast, Head};
    use protocol::case::Grid;

    const GRID: Grid = Grid {
        dims: [36, 44, 40],
        spacing_mm: [4.5, 4.5, 4.5],
    };

    /// Other voxels of the same head.
    const COARSE: Grid = Grid {
        dims: [30, 36, 33],
        spacing_mm: [5.5, 5.5, 5.5],
    };

    fn save(folder: &Path, name: &str, volume: &Volume) -> PathBuf {
        let path = folder.join(format!("{name}.nii.gz"));
        write_f32(&path, &volume.values, &volume.source).unwrap();
        path
    }

    #[test]
    fn a_result_comes_back_to_where_the_patient_was() {
        let folder = tempfile::tempdir().unwrap();
        let still = Rigid::new([0.0; 3], [0.0; 3], [0.0; 3]);
        let moved = Rigid::new([0.05, -0.03, 0.04], [5.0, 4.0, -3.0], [0.0; 3]);
        let head = Head::default();
        let t1 = save(
            folder.path(),
            "a",
            &head.volume(&GRID, &still, Contrast::T1),
        );
        let own = head.volume(&COARSE, &moved, Contrast::Flair);
        let flair = save(folder.path(), "b", &own);
        let images = [
            Image {
                name: "flair",
                path: &flair,
            },
            Image {
                name: "t1_post",
                path: &t1,
            },
        ];
        let patient = Patient::register(&images, None, 2).unwrap();
        assert_eq!(patient.reference().name, "t1_post");
        let other = patient.others().next().unwrap();
        assert_eq!(other.name, "flair");
        assert_eq!(other.doubts(), [""; 0]);

        let written = patient.write(other, folder.path()).unwrap();
        let written = nifti::read(&written).unwrap();
        assert!(written.source.same_place(patient.reference().source()));

        // What is bright in the registered image is bright at the same places of its own file.
        let bright: Vec<u32> = written
            .values
            .iter()
            .map(|value| if *value > 120.0 { 7 } else { 0 })
            .collect();
        let back = patient.labels_on(other, &bright).unwrap();
        assert_eq!(back.len(), COARSE.voxels());
        let (mut both, mut all) = (0.0, 0.0);
        for (came, was) in back.iter().zip(&own.values) {
            let (came, was) = (f64::from(*came == 7), f64::from(*was > 120.0));
            both += 2.0 * came * was;
            all += came + was;
        }
        assert!(all > 100.0 && both / all > 0.85, "Dice {}", both / all);

        let named = Patient::register(&images, Some("flair"), 2).unwrap();
        assert_eq!(named.reference().name, "flair");
        let error = Patient::register(&images, Some("t2"), 2).err().unwrap();
        assert!(error.to_string().contains("t2"), "{error}");
    }

    #[test]
    fn without_known_names_the_finest_image_is_the_reference() {
        let still = Rigid::new([0.0; 3], [0.0; 3], [0.0; 3]);
        let head = Head::default();
        let mut images = Vec::new();
        for (name, grid) in [("t1", COARSE), ("t1ce", GRID), ("t2", COARSE)] {
            images.push(Moved {
                name: name.into(),
                volume: head.volume(&grid, &still, Contrast::T1),
                lookup: still,
                judgement: None,
            });
        }
        assert_eq!(best_reference(&images), Some(1));
        assert_eq!(best_reference(&[]), None);
    }
}
