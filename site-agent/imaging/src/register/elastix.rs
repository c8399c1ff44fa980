//! The move that elastix finds (Klein et al. 2010, IEEE Transactions on Medical Imaging 29, 196),
//! for those who have it and want it in place of the search here.

use super::error::RegisterError;
use super::rigid::{Rigid, product};
use crate::nifti::{Volume, write_f32};
use crate::vector::Vector;
use program::private;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rigid, by mutual information, from coarse to fine.
const PARAMETERS: &str = r#"(FixedInternalImagePixelType "float")
(MovingInternalImagePixelType "float")
(UseDirectionCosines "true")
(Registration "MultiResolutionRegistration")
(Interpolator "LinearInterpolator")
(ResampleInterpolator "FinalBSplineInterpolator")
(Resampler "DefaultResampler")
(FixedImagePyramid "FixedSmoothingImagePyramid")
(MovingImagePyramid "MovingSmoothingImagePyramid")
(Optimizer "AdaptiveStochasticGradientDescent")
(Transform "EulerTransform")
(Metric "AdvancedMattesMutualInformation")
(AutomaticScalesEstimation "true")
(AutomaticTransformInitialization "true")
(AutomaticTransformInitializationMethod "CenterOfGravity")
(HowToCombineTransforms "Compose")
(NumberOfHistogramBins 32)
(NumberOfResolutions 4)
(MaximumNumberOfIterations 500)
(NumberOfSpatialSamples 10000)
(NewSamplesEveryIteration "true")
(ImageSampler "RandomCoordinate")
(CheckNumberOfSamples "false")
(WriteResultImage "false")
(RandomSeed 121212)
"#;

/// The program elastix.
#[derive(Clone, Debug)]
pub struct Elastix {
    program: PathBuf,
    /// As it answers to `--version`.
    version: String,
}

impl Elastix {
    /// Asks the program for its version.
    ///
    /// # Errors
    /// It cannot be started, or is another program.
    pub fn find(program: &Path) -> Result<Self, RegisterError> {
        let output = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| RegisterError::NoElastix {
                program: program.into(),
                source,
            })?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.lines().find(|line| line.starts_with("elastix")) {
            Some(version) => Ok(Self {
                program: program.into(),
                version: version.trim().into(),
            }),
            None => Err(RegisterError::OtherProgram(program.into())),
        }
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The move from the fixed image's space to the moving one's. Files go to `folder`, which is
    /// removed at the end.
    ///
    /// # Errors
    /// The folder cannot be written, or elastix fails.
    pub(super) fn lookup(
        &self,
        fixed: &Volume,
        moving: &Volume,
        folder: &Path,
        threads: usize,
    ) -> Result<Rigid, RegisterError> {
        private::create_folder(folder).map_err(RegisterError::disk(folder))?;
        let found = self.lookup_in(fixed, moving, folder, threads);
        // What is left is replaced by the next run.
        let _ = fs::remove_dir_all(folder);
        found
    }

    fn lookup_in(
        &self,
        fixed: &Volume,
        moving: &Volume,
        folder: &Path,
        threads: usize,
    ) -> Result<Rigid, RegisterError> {
        let files = [(fixed, "fixed.nii"), (moving, "moving.nii")];
        for (volume, name) in files {
            let path = folder.join(name);
            write_f32(&path, &volume.values, &volume.source)
                .map_err(|source| RegisterError::Image { path, source })?;
        }
        let parameters = folder.join("parameters.txt");
        fs::write(&parameters, PARAMETERS).map_err(RegisterError::disk(&parameters))?;
        let output = Command::new(&self.program)
            .arg("-f")
            .arg(folder.join("fixed.nii"))
            .arg("-m")
            .arg(folder.join("moving.nii"))
            .arg("-p")
            .arg(&parameters)
            .arg("-out")
            .arg(folder)
            .arg("-threads")
            .arg(threads.to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| RegisterError::NoElastix {
                program: self.program.clone(),
                source,
            })?;
        let path = folder.join("TransformParameters.0.txt");
        let text = match fs::read_to_string(&path) {
            Ok(text) if output.status.success() => text,
            _ => {
                return Err(RegisterError::Elastix {
                    status: output.status.to_string(),
                    words: reason(&String::from_utf8_lossy(&output.stdout)),
                });
            }
        };
        transform(&text).ok_or_else(|| RegisterError::Elastix {
            status: output.status.to_string(),
            words: "its TransformParameters.0.txt is not that of an Euler transform".into(),
        })
    }
}

/// What elastix says about an error: it writes that among much else.
fn reason(said: &str) -> String {
    for line in said.lines() {
        if let Some((_, words)) = line.split_once("Description: ") {
            return words.trim().into();
        }
    }
    "it does not say why".into()
}

/// Reads an Euler transform: three angles in radians and a shift, about a centre. elastix counts
/// millimetres to the patient's left and back, this program to the right and front.
fn transform(text: &str) -> Option<Rigid> {
    let numbers = numbers(text, "TransformParameters")?;
    let [around_x, around_y, around_z, shift @ ..] = numbers.as_slice() else {
        return None;
    };
    let shift: Vector = shift.try_into().ok()?;
    let centre: Vector = self::numbers(text, "CenterOfRotationPoint")?
        .try_into()
        .ok()?;
    let [x, y, z] = [
        turn_about(0, *around_x),
        turn_about(1, *around_y),
        turn_about(2, *around_z),
    ];
    let turn = match value(text, "ComputeZYX")?.trim_matches('"') {
        "true" => product(&z, &product(&y, &x)),
        "false" => product(&z, &product(&x, &y)),
        _ => return None,
    };
    Some(Rigid {
        turn: turned_round(&turn),
        shift: [-shift[0], -shift[1], shift[2]],
        centre: [-centre[0], -centre[1], centre[2]],
    })
}

/// The same turn where the first two axes point the other way.
fn turned_round(turn: &[Vector; 3]) -> [Vector; 3] {
    let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = *turn;
    [[xx, xy, -xz], [yx, yy, -yz], [-zx, -zy, zz]]
}

/// A turn about one axis.
fn turn_about(axis: usize, angle: f64) -> [Vector; 3] {
    let mut around = [0.0; 3];
    around[axis] = angle;
    Rigid::new(around, [0.0; 3], [0.0; 3]).turn
}

/// The text after a key: `(KEY VALUE)`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    for line in text.lines() {
        let inner = line
            .trim()
            .strip_prefix('(')
            .and_then(|line| line.strip_suffix(')'));
        if let Some((name, value)) = inner.and_then(|inner| inner.split_once(' '))
            && name == key
        {
            return Some(value.trim());
        }
    }
    None
}

fn numbers(text: &str, key: &str) -> Option<Vec<f64>> {
    let mut numbers = Vec::new();
    for word in value(text, key)?.split_whitespace() {
        let number: f64 = word.parse().ok()?;
        if !number.is_finite() {
            return None;
        }
        numbers.push(number);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_file_is_read_in_the_axes_of_nifti() {
        let text = "(Transform \"EulerTransform\")\n(NumberOfParameters 6)\n\
            (TransformParameters 0.0 0.0 0.1 1.0 2.0 3.0)\n\
            (CenterOfRotationPoint 10.0 20.0 30.0)\n(ComputeZYX \"false\")\n";
        let rigid = transform(text).unwrap();
        // The centre only moves by the shift.
        assert_eq!(rigid.apply([-10.0, -20.0, 30.0]), [-11.0, -22.0, 33.0]);
        // A turn about the vertical axis is the same seen from either side.
        let to = rigid.apply([-9.0, -20.0, 30.0]);
        let (sine, cosine) = 0.1f64.sin_cos();
        assert!((to[0] - (-11.0 + cosine)).abs() < 1e-12, "{to:?}");
        assert!((to[1] - (-22.0 + sine)).abs() < 1e-12, "{to:?}");
        for broken in [
            "",
            "(TransformParameters 1 2 3)",
            &text.replace("0.1", "NaN"),
        ] {
            assert!(transform(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn the_reason_of_an_error_is_found() {
        let said = "ERROR: x\nDescription: ITK ERROR: no such file\n\nErrors occurred!\n";
        assert_eq!(reason(said), "ITK ERROR: no such file");
        assert_eq!(reason(""), "it does not say why");
    }

    #[test]
    fn a_program_that_is_not_elastix_is_named() {
        for program in ["/nowhere/elastix", "/bin/true"] {
            let error = Elastix::find(Path::new(program)).unwrap_err();
            assert!(error.to_string().contains(program), "{error}");
        }
    }
}
