//! A DICOM export of two patients becomes a folder that a site can train on: `import`, then
//! `doctor` on the `[data]` table that it writes.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use imaging::nifti::{read, write_u8};
use journeys::binary;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const MR_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.4";
const SIDE: usize = 24;
const SLICES: usize = 40;
/// What no name of a file, no header and no output may hold.
const CONFIDENTIAL: [&str; 10] = [
    "Canary",
    "Carla",
    "CNR-448812",
    "Finch",
    "QXR-991173",
    "19500101",
    "20260102",
    "20260203",
    "20260304",
    ".01.2026",
];

struct Patient {
    name: &'static str,
    id: &'static str,
}

const CARLA: Patient = Patient {
    name: "Canary^Carla",
    id: "CNR-448812",
};
const FRED: Patient = Patient {
    name: "Finch^Fred",
    id: "QXR-9911734",
};

/// What a series' headers say.
struct Kind {
    description: &'static str,
    scanning: &'static str,
    /// TR, TE, TI, milliseconds; 0 where there is none.
    times: [f64; 3],
    agent: bool,
    slices: usize,
}

const BRAVO: Kind = Kind {
    description: "AX BRAVO +C",
    scanning: "GR",
    times: [8.2, 3.2, 450.0],
    agent: true,
    slices: SLICES,
};
const PRE: Kind = Kind {
    description: "SAG CUBE T1 PRE",
    scanning: "SE",
    times: [600.0, 12.8, 0.0],
    agent: false,
    slices: SLICES,
};
const POST: Kind = Kind {
    description: "SAG CUBE T1 +C",
    agent: true,
    ..PRE
};
/// Its description and its headers contradict each other.
const UNCLEAR: Kind = Kind {
    description: "CUBE T1 post, Canary, 02.01.2026",
    agent: false,
    ..PRE
};
const FLAIR: Kind = Kind {
    description: "CUBE FLAIR",
    scanning: "SE\\IR",
    times: [7600.0, 119.0, 2162.0],
    agent: false,
    slices: SLICES,
};
const LOCALIZER: Kind = Kind {
    description: "3-plane loc",
    agent: false,
    slices: 3,
    ..BRAVO
};
/// None of the model's sequences.
const T2: Kind = Kind {
    description: "Ax T2 FSE",
    scanning: "SE",
    times: [5000.0, 100.0, 0.0],
    agent: false,
    slices: SLICES,
};

fn text(object: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

/// An export, with a number for each series.
struct Export {
    folder: PathBuf,
    series: usize,
}

impl Export {
    /// Writes a series: files without an ending, in a folder with the patient's name, as a PACS does.
    /// `shift` moves its grid, in millimetres.
    fn write(&mut self, patient: &Patient, date: &str, kind: &Kind, shift: f64) -> PathBuf {
        self.series += 1;
        let number = self.series;
        let folder = self
            .folder
            .join(format!("{}/{date}/S{number:03}", patient.name));
        fs::create_dir_all(&folder).unwrap();
        let study = format!("1.2.3.{}.{date}", patient.id.len());
        let series = format!("1.2.4.{number}");
        let minutes = 10 + number;
        for slice in 0..kind.slices {
            let mut object = InMemDicomObject::new_empty();
            let instance = format!("{series}.{}", slice + 1);
            let position = format!("-12\\-12\\{}", slice as f64 * 2.0 + shift);
            let time = format!("10{minutes:02}12");
            let number = number.to_string();
            let instance_number = (slice + 1).to_string();
            for (tag, vr, value) in [
                (tags::SOP_CLASS_UID, VR::UI, MR_IMAGE),
                (tags::SOP_INSTANCE_UID, VR::UI, &*instance),
                (tags::STUDY_INSTANCE_UID, VR::UI, &study),
                (tags::SERIES_INSTANCE_UID, VR::UI, &series),
                (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.5"),
                (tags::PATIENT_NAME, VR::PN, patient.name),
                (tags::PATIENT_ID, VR::LO, patient.id),
                (tags::PATIENT_BIRTH_DATE, VR::DA, "19500101"),
                (tags::STUDY_DATE, VR::DA, date),
                (tags::STUDY_TIME, VR::TM, "101112"),
                (tags::ACQUISITION_DATE, VR::DA, date),
                (tags::ACQUISITION_TIME, VR::TM, &time),
                (tags::IMAGE_COMMENTS, VR::LT, "seen by Carla's sister"),
                (tags::MODALITY, VR::CS, "MR"),
                (tags::MANUFACTURER, VR::LO, "GE MEDICAL SYSTEMS"),
                (tags::SERIES_DESCRIPTION, VR::LO, kind.description),
                (tags::PROTOCOL_NAME, VR::LO, "BRAIN W/WO CONTRAST"),
                (tags::SERIES_NUMBER, VR::IS, &number),
                (tags::INSTANCE_NUMBER, VR::IS, &instance_number),
                (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\OTHER"),
                (tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
                (tags::SCANNING_SEQUENCE, VR::CS, kind.scanning),
                (tags::SEQUENCE_VARIANT, VR::CS, "SS\\SK"),
                (tags::FLIP_ANGLE, VR::DS, "12"),
                (tags::IMAGE_POSITION_PATIENT, VR::DS, &position),
                (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
                (tags::PIXEL_SPACING, VR::DS, "1\\1"),
                (tags::SLICE_THICKNESS, VR::DS, "2"),
                (tags::SPACING_BETWEEN_SLICES, VR::DS, "2"),
                (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            ] {
                text(&mut object, tag, vr, value);
            }
            let [tr, te, ti] = kind.times;
            for (tag, value) in [
                (tags::REPETITION_TIME, tr),
                (tags::ECHO_TIME, te),
                (tags::INVERSION_TIME, ti),
            ] {
                if value > 0.0 {
                    text(&mut object, tag, VR::DS, &value.to_string());
                }
            }
            if kind.agent {
                text(&mut object, tags::CONTRAST_BOLUS_AGENT, VR::LO, "GADAVIST");
            }
            for (tag, number) in [
                (tags::ROWS, SIDE as u16),
                (tags::COLUMNS, SIDE as u16),
                (tags::SAMPLES_PER_PIXEL, 1),
                (tags::BITS_ALLOCATED, 16),
                (tags::BITS_STORED, 12),
                (tags::HIGH_BIT, 11),
                (tags::PIXEL_REPRESENTATION, 0),
            ] {
                object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
            }
            object.put(DataElement::new(
                tags::PIXEL_DATA,
                VR::OW,
                PrimitiveValue::U16(pixels(slice, self.series).into()),
            ));
            let meta = FileMetaTableBuilder::new().transfer_syntax(EXPLICIT_LITTLE_ENDIAN);
            let file = folder.join(format!("I{:05}", (slice * 7) % 1009));
            object.with_meta(meta).unwrap().write_to_file(file).unwrap();
        }
        folder
    }
}

/// A ball of noise in nothing, different for each series.
fn pixels(slice: usize, seed: usize) -> Vec<u16> {
    let away = |at: usize, side: usize| (at as f64 - (side as f64 - 1.0) / 2.0) / side as f64;
    let mut pixels = Vec::with_capacity(SIDE * SIDE);
    for at in 0..SIDE * SIDE {
        let place = [
            away(slice, SLICES),
            away(at / SIDE, SIDE),
            away(at % SIDE, SIDE),
        ];
        let inside = place.iter().map(|part| part * part).sum::<f64>() < 0.15;
        let noise = (at + 1 + 601 * slice) * 2_654_435_761 % 100_003 * (seed + 3) % 211;
        pixels.push(if inside { 400 + noise as u16 } else { 0 });
    }
    pixels
}

fn export(folder: &Path) {
    let mut export = Export {
        folder: folder.into(),
        series: 0,
    };
    for (date, kinds) in [
        ("20260102", &[LOCALIZER, PRE, T2, FLAIR, BRAVO, POST][..]),
        ("20260304", &[FLAIR, BRAVO, UNCLEAR]),
    ] {
        for kind in kinds {
            export.write(&CARLA, date, kind, 0.0);
        }
    }
    // The head was moved before the second series.
    export.write(&FRED, "20260203", &FLAIR, 0.0);
    let cut = export.write(&FRED, "20260203", &BRAVO, 3.0);
    // One slice too many, of which half arrived.
    let whole = fs::read(cut.join("I00000")).unwrap();
    let damaged = export.folder.join("Finch^Fred/20260203/S999");
    fs::create_dir(&damaged).unwrap();
    fs::write(damaged.join("I00001"), &whole[..300]).unwrap();
    fs::write(export.folder.join("DICOMDIR"), "a list").unwrap();
    fs::write(export.folder.join("Canary^Carla/readme.txt"), "for Carla").unwrap();
}

fn import(folder: &Path, more: &[&str]) -> Output {
    Command::new(binary("site-agent"))
        .args(["import", "export", "--out", "data", "--threads", "2"])
        .args(more)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("data/import.json")).unwrap()).unwrap()
}

/// The images of each case with their states, by the case's number of sequences and doubts.
fn images(report: &Value) -> BTreeMap<String, Vec<String>> {
    let mut images = BTreeMap::new();
    for case in report["cases"].as_array().unwrap() {
        let mut of_case = Vec::new();
        for image in case["sequences"].as_array().unwrap() {
            let [name, state] = ["sequence", "state"].map(|key| image[key].as_str().unwrap());
            of_case.push(format!("{name} {state}"));
        }
        of_case.sort();
        images.insert(case["case"].as_str().unwrap().to_owned(), of_case);
    }
    images
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn assert_anonymous(what: &str, text: &str) {
    for word in CONFIDENTIAL {
        let hidden = !text.to_lowercase().contains(&word.to_lowercase());
        assert!(hidden, "{what} holds {word}: {text}");
    }
}

/// Neither names of files nor their content, uncompressed, hold anything of a patient.
fn assert_folder_anonymous(folder: &Path) {
    for path in files(folder) {
        let below = path.strip_prefix(folder).unwrap();
        assert_anonymous("a file's name", &below.to_string_lossy());
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|ending| ending == "gz") {
            let mut unpacked = Vec::new();
            let packed = bytes.as_slice();
            flate2::read::GzDecoder::new(packed)
                .take(352)
                .read_to_end(&mut unpacked)
                .unwrap();
            let header = &unpacked[..];
            for text in [4..38, 148..252, 328..344, 348..352] {
                assert!(
                    header[text.clone()].iter().all(|byte| *byte == 0),
                    "{below:?} {text:?}"
                );
            }
            bytes = unpacked;
        } else if below.ends_with("salt") {
            continue;
        }
        assert_anonymous(&below.to_string_lossy(), &String::from_utf8_lossy(&bytes));
    }
}

/// The finding of `doctor` about the data.
fn doctor(folder: &Path, table: &str) -> Value {
    let settings = format!(
        "coordinator = '127.0.0.1:9'\ncertificates = 'pki'\nrole = 'train'\nwork_folder = 'work'\nthreads = 1\n{table}"
    );
    fs::write(folder.join("site.toml"), settings).unwrap();
    let output = Command::new(binary("site-agent"))
        .args(["doctor", "--json", "--config", "site.toml"])
        .current_dir(folder)
        .output()
        .unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut all = findings.as_array().unwrap().iter();
    all.find(|one| one["check"] == "data").unwrap().clone()
}

#[test]
fn an_export_becomes_a_folder_that_a_site_can_train_on() {
    if Command::new("dcm2niix").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: dcm2niix is not installed");
        return;
    }
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    export(&folder.join("export"));

    // The plan converts nothing, and says what is in doubt.
    let planned = import(folder, &["--plan"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned()
        + &String::from_utf8_lossy(&planned.stderr);
    assert_eq!(planned.status.code(), Some(4), "{said}");
    assert_anonymous("the plan", &said);
    for words in [
        "1 damaged",
        "1 DICOMDIR",
        "1 not DICOM",
        "a localiser",
        "in doubt",
        "ContrastBolusAgent is missing",
        "t1_post",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let plan = images(&report(folder));
    assert_eq!(plan.len(), 3);
    assert!(
        !files(&folder.join("data"))
            .iter()
            .any(|path| path.ends_with("bravo.nii.gz"))
    );

    // The import: everything that is sure, and exit code 4 for the rest.
    let output = import(folder, &["--key", "key.csv"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_anonymous("the output", &said);
    assert!(said.contains("1 damaged file, 1 series in doubt"), "{said}");
    let first = report(folder);
    let done = images(&first);
    assert_eq!(
        done.keys().collect::<Vec<_>>(),
        plan.keys().collect::<Vec<_>>()
    );
    let mut written: Vec<Vec<String>> = done.values().cloned().collect();
    written.sort();
    let list = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{name} written")).collect()
    };
    assert_eq!(
        written,
        [
            list(&["bravo", "flair"]),
            list(&["bravo", "flair"]),
            list(&["bravo", "flair", "t1_post", "t1_pre"]),
        ]
    );
    assert_folder_anonymous(&folder.join("data"));
    // Carla's two studies have one patient's name and the numbers 1 and 2, in order of date.
    let key = fs::read_to_string(folder.join("key.csv")).unwrap();
    let line = |date: &str| key.lines().find(|line| line.contains(date)).unwrap();
    let case = |date: &str| line(date).split(',').next().unwrap().to_owned();
    let (patient, number) = {
        let case = case("20260102");
        let (patient, number) = case.split_once('_').unwrap();
        (patient.to_owned(), number.to_owned())
    };
    assert_eq!(number, "1");
    assert_eq!(case("20260304"), format!("{patient}_2"));
    assert!(line("20260102").contains("CNR-448812"), "{key}");
    assert_eq!(done[&case("20260102")].len(), 4);
    // Fred's sequences are on different grids, and this is said.
    let fred = case("20260203");
    for one in first["cases"].as_array().unwrap() {
        assert_eq!(one["grids_differ"], one["case"] == *fred, "{one}");
    }
    assert!(said.contains("are on different grids"), "{said}");
    assert!(said.contains(&format!("{fred} (")), "{said}");

    // Voxels and places are those of the series.
    let image = folder
        .join("data")
        .join(case("20260102"))
        .join("flair.nii.gz");
    let volume = read(&image).unwrap();
    assert_eq!(volume.grid.dims, [SLICES, SIDE, SIDE]);
    assert!(volume.warnings.is_empty(), "{:?}", volume.warnings);
    let sum: f64 = volume.values.iter().map(|&value| f64::from(value)).sum();
    let drawn = (0..SLICES).flat_map(|slice| pixels(slice, 4));
    assert_eq!(sum, drawn.map(f64::from).sum::<f64>());

    // Nothing is done twice, and an answer settles what was in doubt.
    let before = fs::read(&image).unwrap();
    let doubtful = first["cases"].as_array().unwrap().iter();
    let series = doubtful
        .flat_map(|case| case["series"].as_array().unwrap())
        .find(|series| series["certainty"] == "in_doubt")
        .unwrap();
    let answer = format!("[series]\n{} = \"t1_post\"\n", series["series"]);
    fs::write(folder.join("data/answers.toml"), answer).unwrap();
    let output = import(folder, &["--json", "--key", "key.csv"]);
    assert_eq!(output.status.code(), Some(4));
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again, report(folder));
    let mut states: Vec<String> = images(&again).into_values().flatten().collect();
    states.sort();
    assert_eq!(
        states
            .iter()
            .filter(|state| state.ends_with("written"))
            .count(),
        1
    );
    assert!(states.contains(&"t1_post written".to_owned()), "{states:?}");
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_eq!(key, fs::read_to_string(folder.join("key.csv")).unwrap());

    // What somebody changed is left alone, and only that; --force makes the same bytes again.
    fs::write(&image, "mine").unwrap();
    let output = import(folder, &["--json"]);
    assert_eq!(output.status.code(), Some(4));
    let states: Vec<String> = images(&report(folder)).into_values().flatten().collect();
    assert_eq!(
        states
            .iter()
            .filter(|state| state.ends_with("failed"))
            .count(),
        1
    );
    assert_eq!(fs::read(&image).unwrap(), b"mine");
    import(folder, &["--force"]);
    assert_eq!(fs::read(&image).unwrap(), before);
    assert_folder_anonymous(&folder.join("data"));

    // The table is read by `doctor` as it is; with masks the site can train.
    let table = fs::read_to_string(folder.join("data/data.toml")).unwrap();
    let finding = doctor(folder, &table);
    let words = finding["words"].as_str().unwrap();
    assert!(words.starts_with("3 cases"), "{finding}");
    assert!(
        words.contains("2 that can be used, of 1 patients"),
        "{finding}"
    );
    for name in done.keys() {
        let of_case = folder.join("data").join(name);
        let volume = read(&of_case.join("flair.nii.gz")).unwrap();
        let mut lesion = vec![0; volume.values.len()];
        let middle = (SLICES / 2 * SIDE + SIDE / 2) * SIDE + SIDE / 2;
        lesion[middle..middle + 3].fill(1);
        write_u8(&of_case.join("lesion.nii.gz"), &lesion, &volume.source).unwrap();
    }
    let labelled = table
        .replace("# label", "label")
        .replace("# lesion_labels", "lesion_labels");
    let finding = doctor(folder, &labelled);
    assert_eq!(finding["good"], true, "{finding}");
    let rows = finding["cases"].as_array().unwrap();
    let left_out: Vec<&Value> = rows
        .iter()
        .filter(|row| row["how_bad"] == "left out")
        .collect();
    assert_eq!(left_out.len(), 1, "{finding}");
    assert!(
        left_out[0]["what"]
            .as_str()
            .unwrap()
            .contains("different grids"),
        "{finding}"
    );
}

#[test]
fn what_cannot_be_imported_is_said_with_what_to_do() {
    let stage = tempfile::tempdir().unwrap();
    let folder = stage.path();
    fs::create_dir(folder.join("export")).unwrap();
    fs::write(folder.join("export/report.pdf"), "no image").unwrap();
    fs::write(folder.join("rules.toml"), "version = 7").unwrap();
    for (more, code, said) in [
        (&["--plan"][..], 4, "none of the 1 files"),
        (
            &["--dcm2niix", "/nowhere/dcm2niix"],
            3,
            "apt install dcm2niix",
        ),
        (
            &["--plan", "--rules", "rules.toml"],
            3,
            "configs/sequences.toml",
        ),
        (&["--plan", "--rules", "none.toml"], 6, "none.toml"),
    ] {
        let output = import(folder, more);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{more:?} {words}");
        assert!(words.contains(said), "{more:?} {words}");
    }
}
