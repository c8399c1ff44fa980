//! A DICOM export of two patients becomes a folder that a site can train on: `import`, then
//! `doctor` on the `[data]` table that it writes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a journey that cannot go on has failed"
)]

use dicom_core::VR;
use dicom_dictionary_std::tags;
use imaging::nifti::{read, write_u8};
use journeys::binary;
use journeys::dicom_file::MrSlice;
use journeys::settings::SiteFile;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIDE: usize = 24;
const SLICES: usize = 40;
/// What no file name, no header and no output may contain.
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

/// The headers of a series.
struct Kind {
    description: &'static str,
    scanning: &'static str,
    /// TR, TE and TI in milliseconds; TI is empty where there is none.
    times: [&'static str; 3],
    /// Whether a contrast agent was given.
    agent: bool,
    slices: usize,
}

const BRAVO: Kind = Kind {
    description: "AX BRAVO +C",
    scanning: "GR",
    times: ["8.2", "3.2", "450"],
    agent: true,
    slices: SLICES,
};
const PRE: Kind = Kind {
    description: "SAG CUBE T1 PRE",
    scanning: "SE",
    times: ["600", "12.8", ""],
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
    times: ["7600", "119", "2162"],
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
    times: ["5000", "100", ""],
    agent: false,
    slices: SLICES,
};

/// An export of a PACS. Each series has a number.
struct Export {
    folder: PathBuf,
    series: usize,
}

impl Export {
    /// Writes a series as a PACS does: files without an ending, in a folder with the patient's
    /// name. `shift` moves its grid, in millimetres.
    fn write(&mut self, patient: &Patient, date: &str, kind: &Kind, shift: f64) -> PathBuf {
        self.series += 1;
        let number = self.series;
        let place = format!("{}/{date}/S{number:03}", patient.name);
        let folder = self.folder.join(place);
        fs::create_dir_all(&folder).unwrap();
        let study = format!("1.2.3.{}.{date}", patient.id.len());
        let series = format!("1.2.4.{number}");
        let time = format!("10{:02}12", 10 + number);
        let number = number.to_string();
        for slice in 0..kind.slices {
            let position = format!("-12\\-12\\{}", slice as f64 * 2.0 + shift);
            let instance_number = (slice + 1).to_string();
            let mut texts = vec![
                (tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()),
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
            ];
            let [repetition, echo, inversion] = kind.times;
            texts.push((tags::REPETITION_TIME, VR::DS, repetition));
            texts.push((tags::ECHO_TIME, VR::DS, echo));
            if !inversion.is_empty() {
                texts.push((tags::INVERSION_TIME, VR::DS, inversion));
            }
            if kind.agent {
                texts.push((tags::CONTRAST_BOLUS_AGENT, VR::LO, "GADAVIST"));
            }
            let file = MrSlice {
                instance: format!("{series}.{}", slice + 1),
                columns: SIDE as u16,
                bits_stored: 12,
                pixels: pixels(slice, self.series),
            };
            file.write(&texts, &folder.join(format!("I{:05}", (slice * 7) % 1009)));
        }
        folder
    }
}

/// A ball of noise on black, different for each series.
fn pixels(slice: usize, seed: usize) -> Vec<u16> {
    let mut pixels = Vec::with_capacity(SIDE * SIDE);
    for at in 0..SIDE * SIDE {
        let z = from_middle(slice, SLICES);
        let y = from_middle(at / SIDE, SIDE);
        let x = from_middle(at % SIDE, SIDE);
        let inside = x * x + y * y + z * z < 0.15;
        let noise = (at + 1 + 601 * slice) * 2_654_435_761 % 100_003 * (seed + 3) % 211;
        pixels.push(if inside { 400 + noise as u16 } else { 0 });
    }
    pixels
}

/// The distance from the middle of an axis, as a share of its length.
fn from_middle(at: usize, side: usize) -> f64 {
    (at as f64 - (side as f64 - 1.0) / 2.0) / side as f64
}

/// Writes the export of both patients: two studies of Carla and one of Fred, and some files that
/// are not images.
fn write_export(folder: &Path) {
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
    let bravo = export.write(&FRED, "20260203", &BRAVO, 3.0);
    // A file that was cut off.
    let complete = fs::read(bravo.join("I00000")).unwrap();
    let damaged = export.folder.join("Finch^Fred/20260203/S999");
    fs::create_dir(&damaged).unwrap();
    fs::write(damaged.join("I00001"), &complete[..300]).unwrap();
    fs::write(export.folder.join("DICOMDIR"), "a list").unwrap();
    fs::write(export.folder.join("Canary^Carla/readme.txt"), "for Carla").unwrap();
}

/// A folder with `export`, where `import` writes `data`.
struct Stage {
    folder: tempfile::TempDir,
}

/// The exit code and the output of a command.
struct Ran {
    code: Option<i32>,
    /// Standard output.
    out: Vec<u8>,
    /// Standard output and standard error.
    said: String,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("export")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(binary("site-agent"))
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        Ran {
            code: output.status.code(),
            out: output.stdout,
            said,
        }
    }

    fn import(&self, more: &[&str]) -> Ran {
        let command = ["import", "export", "--out", "data", "--threads", "2"];
        self.run(&[&command, more].concat())
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.read("data/import.json")).unwrap()
    }

    /// The finding of `doctor` about the data of a site with this `[data]` table.
    fn doctor(&self, table: &str) -> Value {
        let site = SiteFile {
            coordinator: "127.0.0.1:9",
            certificates: "pki",
            role: "train",
            work_folder: "work",
            data: table,
        };
        self.write("site.toml", &site.toml());
        let ran = self.run(&["doctor", "--json", "--config", "site.toml"]);
        let findings: Value = serde_json::from_slice(&ran.out).unwrap();
        for finding in findings.as_array().unwrap() {
            if finding["check"] == "data" {
                return finding.clone();
            }
        }
        panic!("no finding about the data: {findings}");
    }
}

/// The images of each case, such as `flair written`.
fn images(report: &Value) -> BTreeMap<String, Vec<String>> {
    let mut images = BTreeMap::new();
    for case in report["cases"].as_array().unwrap() {
        let mut of_case = Vec::new();
        for image in case["sequences"].as_array().unwrap() {
            let sequence = image["sequence"].as_str().unwrap();
            let state = image["state"].as_str().unwrap();
            of_case.push(format!("{sequence} {state}"));
        }
        of_case.sort();
        images.insert(case["case"].as_str().unwrap().to_owned(), of_case);
    }
    images
}

/// How many images of all cases have a state.
fn count_state(report: &Value, state: &str) -> usize {
    let mut count = 0;
    for image in images(report).values().flatten() {
        if image.ends_with(state) {
            count += 1;
        }
    }
    count
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
    let text = text.to_lowercase();
    for word in CONFIDENTIAL {
        let leaked = text.contains(&word.to_lowercase());
        assert!(!leaked, "{what} contains {word}: {text}");
    }
}

/// Neither names of files nor their content, uncompressed, contain anything of a patient.
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

/// The names of a patient and its cases, by `key.csv`.
struct Key {
    text: String,
}

impl Key {
    fn line(&self, date: &str) -> &str {
        self.text
            .lines()
            .find(|line| line.contains(date))
            .unwrap_or_else(|| panic!("no study of {date}: {}", self.text))
    }

    /// The case made of the study of a date.
    fn case(&self, date: &str) -> &str {
        let (case, _) = self.line(date).split_once(',').unwrap();
        case
    }
}

#[test]
fn an_export_becomes_a_folder_that_a_site_can_train_on() {
    if Command::new("dcm2niix").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: dcm2niix is not installed");
        return;
    }
    let stage = Stage::new();
    write_export(&stage.path("export"));
    check_plan(&stage);
    let key = check_import(&stage);
    let flair = stage
        .path("data")
        .join(key.case("20260102"))
        .join("flair.nii.gz");
    check_voxels(&flair);
    check_repetition(&stage, &key, &flair);
    check_changed_file(&stage, &flair);
    check_doctor(&stage);
}

/// The plan converts nothing, and says what is in doubt.
fn check_plan(stage: &Stage) {
    let planned = stage.import(&["--plan"]);
    let said = planned.said;
    assert_eq!(planned.code, Some(4), "{said}");
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
    assert_eq!(images(&stage.report()).len(), 3);
    for path in files(&stage.path("data")) {
        assert!(!path.ends_with("bravo.nii.gz"), "{}", path.display());
    }
}

/// The import converts everything that is sure, and ends with exit code 4 because of the rest.
fn check_import(stage: &Stage) -> Key {
    let plan = images(&stage.report());
    let imported = stage.import(&["--key", "key.csv"]);
    let said = imported.said;
    assert_eq!(imported.code, Some(4), "{said}");
    assert_anonymous("the output", &said);
    assert!(said.contains("1 damaged file, 1 series in doubt"), "{said}");
    let report = stage.report();
    let written = images(&report);
    let cases: Vec<&String> = written.keys().collect();
    assert_eq!(cases, plan.keys().collect::<Vec<_>>());
    let mut sequences: Vec<String> = written.values().map(|images| images.join(", ")).collect();
    sequences.sort();
    assert_eq!(
        sequences,
        [
            "bravo written, flair written",
            "bravo written, flair written",
            "bravo written, flair written, t1_post written, t1_pre written",
        ]
    );
    assert_folder_anonymous(&stage.path("data"));
    let key = Key {
        text: stage.read("key.csv"),
    };
    // Carla's two studies have one patient's name and the numbers 1 and 2, in order of date.
    let (patient, number) = key.case("20260102").split_once('_').unwrap();
    assert_eq!(number, "1");
    assert_eq!(key.case("20260304"), format!("{patient}_2"));
    assert!(key.line("20260102").contains("CNR-448812"), "{}", key.text);
    assert_eq!(written[key.case("20260102")].len(), 4);
    // Fred's sequences are on different grids, and the import says so.
    let fred = key.case("20260203");
    for case in report["cases"].as_array().unwrap() {
        assert_eq!(case["grids_differ"], case["case"] == *fred, "{case}");
    }
    assert!(said.contains("are on different grids"), "{said}");
    assert!(said.contains(&format!("{fred} (")), "{said}");
    key
}

/// The image has the voxels of the fourth series.
fn check_voxels(flair: &Path) {
    let volume = read(flair).unwrap();
    assert_eq!(volume.grid.dims, [SLICES, SIDE, SIDE]);
    assert!(volume.warnings.is_empty(), "{:?}", volume.warnings);
    let found: f64 = volume.values.iter().map(|&value| f64::from(value)).sum();
    let mut expected = 0.0;
    for slice in 0..SLICES {
        for pixel in pixels(slice, 4) {
            expected += f64::from(pixel);
        }
    }
    assert_eq!(found, expected);
}

/// Nothing is converted twice, and an answer settles what was in doubt.
fn check_repetition(stage: &Stage, key: &Key, flair: &Path) {
    let before = fs::read(flair).unwrap();
    let mut doubtful = None;
    for case in stage.report()["cases"].as_array().unwrap() {
        for series in case["series"].as_array().unwrap() {
            if series["certainty"] == "in_doubt" {
                doubtful = Some(series["series"].clone());
            }
        }
    }
    let answer = format!("[series]\n{} = \"t1_post\"\n", doubtful.unwrap());
    stage.write("data/answers.toml", &answer);
    let ran = stage.import(&["--json", "--key", "key.csv"]);
    assert_eq!(ran.code, Some(4), "{}", ran.said);
    let report: Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(report, stage.report());
    assert_eq!(count_state(&report, "written"), 1);
    assert_eq!(count_state(&report, "t1_post written"), 1);
    assert_eq!(fs::read(flair).unwrap(), before);
    assert_eq!(stage.read("key.csv"), key.text);
}

/// An image that was changed by hand is left alone, and only that one. `--force` makes the same
/// bytes again.
fn check_changed_file(stage: &Stage, flair: &Path) {
    let before = fs::read(flair).unwrap();
    fs::write(flair, "mine").unwrap();
    let ran = stage.import(&["--json"]);
    assert_eq!(ran.code, Some(4), "{}", ran.said);
    assert_eq!(count_state(&stage.report(), "failed"), 1);
    assert_eq!(fs::read(flair).unwrap(), b"mine");
    stage.import(&["--force"]);
    assert_eq!(fs::read(flair).unwrap(), before);
    assert_folder_anonymous(&stage.path("data"));
}

/// `doctor` reads the table as it is. With masks the site can train.
fn check_doctor(stage: &Stage) {
    let table = stage.read("data/data.toml");
    let finding = stage.doctor(&table);
    let words = finding["words"].as_str().unwrap();
    assert!(words.starts_with("3 cases"), "{finding}");
    assert!(
        words.contains("2 that can be used, of 1 patients"),
        "{finding}"
    );
    for name in images(&stage.report()).keys() {
        let case = stage.path("data").join(name);
        let volume = read(&case.join("flair.nii.gz")).unwrap();
        let mut lesion = vec![0; volume.values.len()];
        let middle = (SLICES / 2 * SIDE + SIDE / 2) * SIDE + SIDE / 2;
        lesion[middle..middle + 3].fill(1);
        write_u8(&case.join("lesion.nii.gz"), &lesion, &volume.source).unwrap();
    }
    let labelled = table
        .replace("# label", "label")
        .replace("# lesion_labels", "lesion_labels");
    let finding = stage.doctor(&labelled);
    assert_eq!(finding["good"], true, "{finding}");
    let mut left_out = Vec::new();
    for row in finding["cases"].as_array().unwrap() {
        if row["how_bad"] == "left out" {
            left_out.push(row["what"].as_str().unwrap());
        }
    }
    assert_eq!(left_out.len(), 1, "{finding}");
    assert!(left_out[0].contains("different grids"), "{finding}");
}

#[test]
fn what_cannot_be_imported_is_said_with_what_to_do() {
    let stage = Stage::new();
    stage.write("export/report.pdf", "no image");
    stage.write("rules.toml", "version = 7");
    for (more, code, words) in [
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
        let ran = stage.import(more);
        assert_eq!(ran.code, Some(code), "{more:?} {}", ran.said);
        assert!(ran.said.contains(words), "{more:?} {}", ran.said);
    }
}
