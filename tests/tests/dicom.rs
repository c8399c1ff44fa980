//! A segmentation goes back to the scanner's series: `predict --dicom` on a phantom whose series
//! this test writes.
//!
//! Where `dciodvfy` (dicom3tools) is installed, it validates the written objects. Otherwise that
//! part prints that it checked nothing.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::tags;
use dicom_object::open_file;
use imaging::nifti::{Volume, read};
use journeys::binary;
use journeys::dicom_file::MrSlice;
use journeys::settings::{SimulatedSite, Simulation};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The patient's name, which no message and no summary may contain.
const PATIENT: &str = "Canary^Carla";

fn settings() -> String {
    let simulation = Simulation {
        name: "back",
        seed: 3,
        rounds: 1,
        slices: 3,
        steps: 2,
        validation_share: 0.3,
        sites: &[
            SimulatedSite::training("north", 3),
            SimulatedSite::evaluating("harbour", 1),
        ],
    };
    simulation.toml()
}

fn decimals(values: &[f64]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format!("{value:.6}")).collect();
    texts.join("\\")
}

/// Writes a volume as a series of axial slices: columns to the patient's left, rows to the back.
fn write_series(volume: &Volume, folder: &Path) {
    let affine = volume.source.canonical_affine().0;
    let [depth, height, width] = volume.grid.dims;
    std::fs::create_dir_all(folder).unwrap();
    for slice in 0..depth {
        // The pixel at the front on the right is the first one.
        let first = [(width - 1) as f64, (height - 1) as f64, slice as f64];
        let mut place = [0.0; 3];
        for axis in 0..3 {
            let row = affine[axis];
            place[axis] = row[0] * first[0] + row[1] * first[1] + row[2] * first[2] + row[3];
        }
        let mut pixels: Vec<u16> = Vec::with_capacity(height * width);
        for row in 0..height {
            for column in 0..width {
                let at = (slice * height + height - 1 - row) * width + width - 1 - column;
                pixels.push(volume.values[at].clamp(0.0, 4095.0) as u16);
            }
        }
        let position = decimals(&[-place[0], -place[1], place[2]]);
        let spacing = decimals(&[affine[1][1], affine[0][0]]);
        let thickness = decimals(&[affine[2][2]]);
        let study = "1.2.826.0.1.3680043.10.2";
        let series = "1.2.826.0.1.3680043.10.3";
        let frame = "1.2.826.0.1.3680043.10.4";
        let texts = [
            (tags::STUDY_INSTANCE_UID, VR::UI, study),
            (tags::SERIES_INSTANCE_UID, VR::UI, series),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, frame),
            (tags::PATIENT_NAME, VR::PN, PATIENT),
            (tags::PATIENT_ID, VR::LO, "17"),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
            (tags::PATIENT_SEX, VR::CS, "F"),
            (tags::STUDY_DATE, VR::DA, "20260102"),
            (tags::STUDY_TIME, VR::TM, "101112"),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, &position),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
            (tags::PIXEL_SPACING, VR::DS, &spacing),
            (tags::SLICE_THICKNESS, VR::DS, &thickness),
        ];
        let slice_file = MrSlice {
            instance: format!("1.2.826.0.1.3680043.10.1.{}", slice + 1),
            columns: width as u16,
            bits_stored: 16,
            pixels,
        };
        slice_file.write(&texts, &folder.join(format!("IM{:04}", depth - slice)));
    }
}

/// A federation's model, and one patient of its held-out site.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("federation.toml");
        std::fs::write(&config, settings()).unwrap();
        let output = Command::new(binary("coordinator"))
            .arg("simulate")
            .args([&config, Path::new("--out"), &folder.path().join("run")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn image(&self, name: &str) -> PathBuf {
        self.path("run/phantoms/harbour/harbour-0001")
            .join(format!("{name}.nii.gz"))
    }

    fn predict(&self, series: &Path, out: &str) -> Output {
        let mut command = Command::new(binary("site-agent"));
        command
            .args([
                "predict",
                "--json",
                "--threads",
                "1",
                "--threshold",
                "0.001",
                "--model",
            ])
            .arg(self.path("run/models/federation.safetensors"))
            .arg("--out")
            .arg(self.path(out))
            .arg("--brain")
            .arg(self.image("brain"))
            .arg("--dicom")
            .arg(series);
        for name in ["t1_post", "flair"] {
            command
                .arg("--sequence")
                .arg(format!("{name}={}", self.image(name).display()));
        }
        command.output().unwrap()
    }
}

#[test]
fn a_result_goes_back_to_its_series_and_to_no_other() {
    let stage = Stage::new();
    let series = stage.path("series");
    let out = stage.path("out");
    write_series(&read(&stage.image("t1_post")).unwrap(), &series);
    let output = stage.predict(&series, "out");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        !format!("{summary}{said}").contains("Canary"),
        "{summary}{said}"
    );

    let mask = read(&out.join("mask.nii.gz")).unwrap();
    let marked = mask.values.iter().filter(|&&voxel| voxel > 0.5).count();
    // The threshold is so low that a network of two steps marks something.
    assert!(marked > 0);
    let object = open_file(out.join("mask.seg.dcm")).unwrap();
    let bytes = object
        .element(tags::PIXEL_DATA)
        .unwrap()
        .to_bytes()
        .unwrap()
        .into_owned();
    let bits: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(bits as usize, marked);
    let name = object
        .element(tags::PATIENT_NAME)
        .unwrap()
        .to_str()
        .unwrap()
        .into_owned();
    assert_eq!(name.trim_end(), PATIENT);

    let table = std::fs::read_to_string(out.join("lesions.csv")).unwrap();
    assert_eq!(
        table.lines().count(),
        1 + summary["lesions"].as_u64().unwrap() as usize
    );
    let structures = open_file(out.join("lesions.rtstruct.dcm")).unwrap();
    let rois = structures
        .element(tags::STRUCTURE_SET_ROI_SEQUENCE)
        .unwrap();
    assert_eq!(rois.items().unwrap().len(), table.lines().count() - 1);
    for file in ["mask.seg.dcm", "lesions.rtstruct.dcm"] {
        validate(&out.join(file));
    }

    // Another patient's series: nothing is written that could be mistaken for a result.
    let elsewhere = stage.path("elsewhere");
    write_series(&read(&stage.image("t1_post")).unwrap(), &elsewhere);
    for entry in std::fs::read_dir(&elsewhere).unwrap() {
        let path = entry.unwrap().path();
        let mut object = open_file(&path).unwrap();
        let place = object.element(tags::IMAGE_POSITION_PATIENT).unwrap();
        let mut place = place.to_multi_float64().unwrap();
        place[2] += 500.0;
        object.put(DataElement::new(
            tags::IMAGE_POSITION_PATIENT,
            VR::DS,
            PrimitiveValue::from(decimals(&place)),
        ));
        object.write_to_file(&path).unwrap();
    }
    let output = stage.predict(&elsewhere, "refused");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("outside the series"), "{said}");
    assert!(!stage.path("refused/mask.nii.gz").exists());
}

/// The field's validator must report no error.
fn validate(path: &Path) {
    let Ok(output) = Command::new("dciodvfy").arg(path).output() else {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: dciodvfy (dicom3tools) is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("Error"))
        .collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
}
