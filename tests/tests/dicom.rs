//! A segmentation goes back to the scanner's series: `predict --dicom` on a phantom whose series
//! this test writes.
//!
//! Where `dciodvfy` (dicom3tools) is installed, it judges what was written; otherwise that part says
//! that it checked nothing.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, open_file};
use imaging::nifti::{Volume, read};
use journeys::binary;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
/// What no output for people may hold.
const PATIENT: &str = "Canary^Carla";

const SETTINGS: &str = r#"
name = "back"
seed = 3
rounds = 1

[input]
sequences = ["bravo", "t1_pre", "t1_post", "flair"]
slices = 3
plane = 32

[model]
preset = "tiny"
width = 4

[training]
steps = 2
batch = 4

[evaluation]
validation_share = 0.3

[simulate.phantom]
plane = 32
slices = 8

[[simulate.sites]]
name = "north"
role = "train"
cases = 3

[[simulate.sites]]
name = "harbour"
role = "evaluate"
cases = 1
"#;

fn text(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
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
        let mut object = InMemDicomObject::new_empty();
        let instance = format!("1.2.826.0.1.3680043.10.1.{}", slice + 1);
        for (tag, vr, value) in [
            (tags::SOP_CLASS_UID, VR::UI, MR_IMAGE),
            (tags::SOP_INSTANCE_UID, VR::UI, &instance),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.2"),
            (
                tags::SERIES_INSTANCE_UID,
                VR::UI,
                "1.2.826.0.1.3680043.10.3",
            ),
            (
                tags::FRAME_OF_REFERENCE_UID,
                VR::UI,
                "1.2.826.0.1.3680043.10.4",
            ),
            (tags::PATIENT_NAME, VR::PN, PATIENT),
            (tags::PATIENT_ID, VR::LO, "17"),
            (tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
            (tags::PATIENT_SEX, VR::CS, "F"),
            (tags::STUDY_DATE, VR::DA, "20260102"),
            (tags::STUDY_TIME, VR::TM, "101112"),
            (tags::MODALITY, VR::CS, "MR"),
            (
                tags::IMAGE_POSITION_PATIENT,
                VR::DS,
                &decimals(&[-place[0], -place[1], place[2]]),
            ),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
            (
                tags::PIXEL_SPACING,
                VR::DS,
                &decimals(&[affine[1][1], affine[0][0]]),
            ),
            (tags::SLICE_THICKNESS, VR::DS, &decimals(&[affine[2][2]])),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        ] {
            text(&mut object, tag, vr, value);
        }
        for (tag, number) in [
            (tags::ROWS, height as u16),
            (tags::COLUMNS, width as u16),
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 16),
            (tags::HIGH_BIT, 15),
            (tags::PIXEL_REPRESENTATION, 0),
        ] {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
        }
        object.put(DataElement::new(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::U16(pixels.into()),
        ));
        let meta = FileMetaTableBuilder::new().transfer_syntax(EXPLICIT_LITTLE_ENDIAN);
        let file = folder.join(format!("IM{:04}", depth - slice));
        object.with_meta(meta).unwrap().write_to_file(file).unwrap();
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
        std::fs::write(&config, SETTINGS).unwrap();
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
    let (series, out) = (stage.path("series"), stage.path("out"));
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
    assert!(
        marked > 0,
        "a network of two steps marks something at so low a threshold"
    );
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
        judge(&out.join(file));
    }

    // Another patient's series: nothing is written that could be taken for a result.
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

/// What the field's validator says of an object: no line may be an error.
fn judge(path: &Path) {
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
