//! From a scanner's export to a segmentation on its series: four patients whose heads moved between
//! two sequences are imported, registered, given a brain mask and de-faced; three of them train a
//! federation, the fourth is segmented, and the lesion of the segmentation is where it was.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on has failed")]

mod head;

use dicom_dictionary_std::tags;
use dicom_object::{InMemDicomObject, open_file};
use head::{LESION_MM, NOSE, Patient, Place, SIDES, Sequence, VOXEL_MM, distance, place_of_image};
use imaging::nifti::{Volume, read, write_u8};
use journeys::binary;
use metrics::components::{Connectivity, components};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PATIENTS: [Patient; 4] = [
    Patient {
        id: "101",
        lesion: [30.0, 20.0, 32.0],
        turned: [4.0, 3.0],
        shifted: [5.0, -4.0, 3.0],
    },
    Patient {
        id: "102",
        lesion: [-34.0, -18.0, 20.0],
        turned: [-5.0, 2.0],
        shifted: [-3.0, 4.0, 4.0],
    },
    Patient {
        id: "103",
        lesion: [-20.0, 40.0, 28.0],
        turned: [3.0, -4.0],
        shifted: [4.0, 5.0, -4.0],
    },
    Patient {
        id: "104",
        lesion: [32.0, -28.0, 24.0],
        turned: [-3.0, -3.0],
        shifted: [-5.0, 3.0, -3.0],
    },
];

/// The folder in which a user types commands.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command line, and gives what it printed.
    fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let output = Command::new(binary(words.next().unwrap()))
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{line}\n{printed}\n{said}");
        let everything = format!("{printed}{said}");
        assert!(!everything.contains("Canary"), "{line}: {everything}");
        printed
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line)).unwrap()
    }

    /// `brain registered` with this test's own program.
    fn make_brain_masks(&self) -> Value {
        let program = program().join(" ");
        let output = Command::new(binary("site-agent"))
            .args(["brain", "registered", "--json", "--command", &program])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What `doctor` says of the data of a site with this table.
    fn doctor(&self, table: &str) -> Value {
        let settings = format!(
            "coordinator = '127.0.0.1:9'\ncertificates = 'pki'\nrole = 'train'\n\
             work_folder = 'work'\nthreads = 1\n{table}"
        );
        fs::write(self.path("site.toml"), settings).unwrap();
        let output = Command::new(binary("site-agent"))
            .args(["doctor", "--json", "--config", "site.toml"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut all = findings.as_array().unwrap().iter();
        all.find(|one| one["check"] == "data").unwrap().clone()
    }

    /// The name that the import gave to each patient's case.
    fn cases(&self) -> BTreeMap<String, String> {
        let key = fs::read_to_string(self.path("key.csv")).unwrap();
        let mut cases = BTreeMap::new();
        for line in key.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            for patient in &PATIENTS {
                if fields[1].trim_matches('"') == patient.id {
                    cases.insert(patient.id.to_owned(), fields[0].to_owned());
                }
            }
        }
        cases
    }
}

/// This test as a program that makes brain masks, in place of HD-BET.
fn program() -> Vec<String> {
    let test = std::env::current_exe().unwrap();
    let name = "a_program_that_makes_a_brain_mask";
    let words = [
        &test.to_string_lossy(),
        "--ignored",
        "--exact",
        name,
        "{in}",
        "{out}",
    ];
    words.map(String::from).to_vec()
}

#[test]
#[ignore = "it is a program that the journey runs"]
fn a_program_that_makes_a_brain_mask() {
    let words: Vec<String> = std::env::args().collect();
    let [.., input, output] = words.as_slice() else {
        return;
    };
    let (input, output) = (Path::new(input), Path::new(output));
    if !input.exists() || output.parent() != input.parent() {
        return;
    }
    // The brain is the largest region that is not as dark as the skull around it.
    let image = read(input).unwrap();
    let bright: Vec<u8> = image
        .values
        .iter()
        .map(|&value| u8::from(value > 250.0))
        .collect();
    let regions = components(&bright, image.grid.dims, Connectivity::Six);
    let mut sizes = vec![0; regions.count() + 1];
    for &region in &regions.labels {
        sizes[region as usize] += 1;
    }
    sizes[0] = 0;
    let largest = (0..sizes.len())
        .max_by_key(|&region| sizes[region])
        .unwrap();
    let mut mask = Vec::with_capacity(bright.len());
    for &region in &regions.labels {
        mask.push(u8::from(region as usize == largest));
    }
    write_u8(output, &mask, &image.source).unwrap();
}

/// The middle and the volume in voxels of a segmentation object.
struct Segmented {
    middle: Place,
    voxels: usize,
}

fn read_segmentation(path: &Path) -> Segmented {
    let object = open_file(path).unwrap();
    let bytes = object
        .element(tags::PIXEL_DATA)
        .unwrap()
        .to_bytes()
        .unwrap();
    let frames = object
        .element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)
        .unwrap();
    let mut sum = [0.0; 3];
    let mut voxels = 0;
    for (number, frame) in frames.items().unwrap().iter().enumerate() {
        let first = first_pixel(frame);
        for pixel in 0..SIDES[0] * SIDES[1] {
            let bit = number * SIDES[0] * SIDES[1] + pixel;
            if bytes[bit / 8] >> (bit % 8) & 1 == 0 {
                continue;
            }
            voxels += 1;
            sum[0] -= first[0] + VOXEL_MM * (pixel % SIDES[0]) as f64;
            sum[1] -= first[1] + VOXEL_MM * (pixel / SIDES[0]) as f64;
            sum[2] += first[2];
        }
    }
    Segmented {
        middle: sum.map(|sum| sum / voxels as f64),
        voxels,
    }
}

/// The place of a frame's first pixel, millimetres to the left, back and top.
fn first_pixel(frame: &InMemDicomObject) -> Vec<f64> {
    let plane = frame.element(tags::PLANE_POSITION_SEQUENCE).unwrap();
    let position = plane.items().unwrap()[0]
        .element(tags::IMAGE_POSITION_PATIENT)
        .unwrap();
    position.to_multi_float64().unwrap()
}

/// A mask of the lesion as it was drawn on the FLAIR.
fn draw_lesion(patient: &Patient, image: &Volume) -> Vec<u8> {
    let [depth, height, width] = image.grid.dims;
    assert_eq!([width, height, depth], SIDES);
    let mut mask = Vec::with_capacity(image.values.len());
    for slice in 0..depth {
        for row in 0..height {
            for column in 0..width {
                let place = place_of_image(column, row, slice);
                mask.push(u8::from(patient.is_lesion(place, Sequence::Flair)));
            }
        }
    }
    mask
}

/// Voxels of the nose that are not dark.
fn nose(image: &Volume) -> usize {
    let [depth, height, width] = image.grid.dims;
    let mut count = 0;
    for (at, value) in image.values.iter().enumerate() {
        let place = place_of_image(at % width, at / width % height, at / width / height % depth);
        count += usize::from(distance(place, NOSE) < 20.0 && *value > 200.0);
    }
    count
}

fn federation(root: &Path, cases: &BTreeMap<String, String>) -> String {
    let mut sites = String::new();
    for (name, role, patients) in [
        ("north", "train", &["101", "102", "103"][..]),
        ("harbour", "evaluate", &["104"]),
    ] {
        let names: Vec<&str> = patients.iter().map(|id| cases[*id].as_str()).collect();
        let names: Vec<String> = names.iter().map(|name| name.replace('_', "/")).collect();
        sites += &format!(
            "[[simulate.sites]]\nname = '{name}'\nrole = '{role}'\n\
             [simulate.sites.data]\nroot = '{}'\ncases = {names:?}\nrequire_defaced = true\n\
             label = '{{patient}}_{{case}}/lesion.nii.gz'\nlesion_labels = [1]\n\
             brain = '{{patient}}_{{case}}/brain.nii.gz'\n\
             [simulate.sites.data.sequences]\n\
             bravo = '{{patient}}_{{case}}/bravo.nii.gz'\n\
             flair = '{{patient}}_{{case}}/flair.nii.gz'\n",
            root.display()
        );
    }
    format!(
        "name = 'scanner'\nseed = 4\nrounds = 2\n\
         [input]\nsequences = ['bravo', 'flair']\nslices = 3\nplane = 96\nspacing_mm = 2.0\n\
         [model]\npreset = 'tiny'\nwidth = 8\n\
         [training]\nsteps = 60\nbatch = 4\noptimiser = 'adam'\nlearning_rate = 2e-3\n\
         [evaluation]\nvalidation_share = 0.34\nsubsets = false\n[simulate]\nthreads = 1\n{sites}"
    )
}

#[test]
fn a_lesion_is_found_where_the_scanner_saw_it() {
    if Command::new("dcm2niix").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOTHING WAS CHECKED: dcm2niix is not installed");
        return;
    }
    let stage = Stage {
        folder: tempfile::tempdir().unwrap(),
    };
    for patient in &PATIENTS {
        for (sequence, name) in [(Sequence::Bravo, "bravo"), (Sequence::Flair, "flair")] {
            patient.write(
                sequence,
                &stage.path(&format!("export/{}/{name}", patient.id)),
            );
        }
    }
    stage.run("site-agent import export --out mets --key key.csv");
    let cases = stage.cases();
    assert_eq!(cases.len(), PATIENTS.len());
    for patient in &PATIENTS {
        let folder = stage.path("mets").join(&cases[patient.id]);
        let flair = read(&folder.join("flair.nii.gz")).unwrap();
        let lesion = draw_lesion(patient, &flair);
        write_u8(&folder.join("lesion.nii.gz"), &lesion, &flair.source).unwrap();
    }
    stage.run("site-agent register mets --out registered --mask lesion=flair");
    let made = stage.make_brain_masks();
    for case in made["cases"].as_array().unwrap() {
        let ml = case["ml"].as_f64().unwrap();
        assert!((900.0..1400.0).contains(&ml), "{made}");
    }
    let defaced = stage.json("site-agent deface registered --out defaced --mask lesion --json");
    for case in defaced["cases"].as_array().unwrap() {
        assert!(case["notes"].as_array().unwrap().is_empty(), "{defaced}");
        let name = case["case"].as_str().unwrap();
        let image =
            |folder: &str| read(&stage.path(&format!("{folder}/{name}/bravo.nii.gz"))).unwrap();
        let (before, after) = (image("registered"), image("defaced"));
        assert!(
            nose(&after) * 10 < nose(&before),
            "{} of {}",
            nose(&after),
            nose(&before)
        );
        let brain = read(&stage.path(&format!("defaced/{name}/brain.nii.gz"))).unwrap();
        for place in 0..brain.values.len() {
            if brain.values[place] != 0.0 {
                assert_eq!(after.values[place], before.values[place]);
            }
        }
    }
    let table = stage.run("site-agent inspect defaced");
    assert!(
        table.contains("brain = \"{patient}_{case}/brain.nii.gz\""),
        "{table}"
    );
    check_site(&stage);

    fs::write(
        stage.path("federation.toml"),
        federation(&stage.path("defaced"), &cases),
    )
    .unwrap();
    stage.run("coordinator simulate federation.toml --out run");
    let case = &cases["104"];
    stage.run(&format!(
        "site-agent predict --model run/models/federation.safetensors --out result \
         --sequence bravo=defaced/{case}/bravo.nii.gz --sequence flair=defaced/{case}/flair.nii.gz \
         --brain defaced/{case}/brain.nii.gz --dicom export/104/bravo"
    ));
    let found = read_segmentation(&stage.path("result/mask.seg.dcm"));
    let lesion = PATIENTS[3].lesion;
    println!(
        "{} voxels about {:?}, lesion at {lesion:?}",
        found.voxels, found.middle
    );
    let voxels = 4.19 * LESION_MM.powi(3) / VOXEL_MM.powi(3);
    let share = found.voxels as f64 / voxels;
    assert!((0.5..2.0).contains(&share), "{share} of its voxels");
    for axis in 0..3 {
        let off = (found.middle[axis] - lesion[axis]).abs();
        assert!(off <= VOXEL_MM, "{:?} and {lesion:?}", found.middle);
    }
}

/// A site that demands de-faced images, and one whose masks are made by a command.
fn check_site(stage: &Stage) {
    let table = |root: &str, more: &str| {
        format!(
            "[data]\nroot = '{}'\n{more}\n\
             label = '{{patient}}_{{case}}/lesion.nii.gz'\nlesion_labels = [1]\n\
             [data.sequences]\nbravo = '{{patient}}_{{case}}/bravo.nii.gz'\n\
             flair = '{{patient}}_{{case}}/flair.nii.gz'\n",
            stage.path(root).display()
        )
    };
    let mask = "brain = '{patient}_{case}/brain.nii.gz'\nrequire_defaced = true";
    let good = stage.doctor(&table("defaced", mask));
    assert_eq!(good["good"], true, "{good}");
    let refused = stage.doctor(&table("registered", mask));
    assert_eq!(refused["good"], false, "{refused}");
    assert!(
        refused.to_string().contains("site-agent deface"),
        "{refused}"
    );
    let command = format!("brain_command = {:?}", program());
    let made = stage.doctor(&table("registered", &command));
    assert_eq!(made["good"], true, "{made}");
    assert_eq!(fs::read_dir(stage.path("work/brains")).unwrap().count(), 4);
}
