//! Headers as scanners of GE, Siemens and Philips write them, and what the built-in rules make of
//! them.

use super::facts::Facts;
use super::judge::{Certainty, Timeline, judge};
use super::rules::Rules;
use super::scan::{Patient, Scan, Series, Study};
use super::{Answers, Folder, ImportError, Plan, scan};

/// One series of a study, as its header has it.
struct Header {
    maker: &'static str,
    description: &'static str,
    /// ImageType, ScanningSequence and SequenceVariant, separated as in DICOM.
    image_type: &'static str,
    scanning: &'static str,
    variant: &'static str,
    acquisition: &'static str,
    /// TR, TE, TI (milliseconds) and flip angle; 0 where the element is missing.
    times: [f64; 4],
    slices: usize,
    agent: Option<&'static str>,
    /// The verdict and the sequence or sequences.
    certainty: Certainty,
    sequences: &'static str,
}

const ORIGINAL: &str = r"ORIGINAL\PRIMARY\OTHER";
const SIEMENS: &str = r"ORIGINAL\PRIMARY\M\NORM\DIS3D\DIS2D";
const PHILIPS: &str = r"ORIGINAL\PRIMARY\M_SE\M\SE";
const PHILIPS_FFE: &str = r"ORIGINAL\PRIMARY\M_FFE\M\FFE";
const GD: Option<&str> = Some("Gadovist");

use Certainty::{InDoubt, No, Sure};

#[rustfmt::skip]
const HEADERS: &[Header] = &[
    // The four sequences of the publication.
    Header { maker: "GE", description: "AX BRAVO +C", image_type: ORIGINAL, scanning: "GR", variant: r"SS\SK", acquisition: "3D", times: [8.2, 3.2, 450.0, 12.0], slices: 192, agent: GD, certainty: Sure, sequences: "bravo" },
    Header { maker: "GE", description: "SAG 3D IR-FSPGR POST", image_type: ORIGINAL, scanning: "GR", variant: r"SS\SK\SP", acquisition: "3D", times: [6.4, 2.1, 400.0, 15.0], slices: 160, agent: GD, certainty: Sure, sequences: "bravo" },
    Header { maker: "Siemens", description: "t1_mprage_sag_p2_iso_post", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [2300.0, 2.98, 900.0, 9.0], slices: 176, agent: GD, certainty: Sure, sequences: "bravo" },
    Header { maker: "Siemens", description: "T1 MPR tra KM", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [1900.0, 2.52, 900.0, 9.0], slices: 176, agent: GD, certainty: Sure, sequences: "bravo" },
    Header { maker: "Philips", description: "3D T1 TFE GD", image_type: PHILIPS_FFE, scanning: "GR", variant: "MP", acquisition: "3D", times: [8.1, 3.7, 0.0, 8.0], slices: 180, agent: GD, certainty: Sure, sequences: "bravo" },
    Header { maker: "GE", description: "SAG CUBE T1 PRE", image_type: ORIGINAL, scanning: "SE", variant: r"SS\SK", acquisition: "3D", times: [600.0, 12.8, 0.0, 90.0], slices: 200, agent: None, certainty: Sure, sequences: "t1_pre" },
    Header { maker: "GE", description: "SAG CUBE T1 +C", image_type: ORIGINAL, scanning: "SE", variant: r"SS\SK", acquisition: "3D", times: [600.0, 12.8, 0.0, 90.0], slices: 200, agent: GD, certainty: Sure, sequences: "t1_post" },
    Header { maker: "Siemens", description: "t1_space_sag_p2_iso_nativ", image_type: SIEMENS, scanning: "SE", variant: r"SK\SP", acquisition: "3D", times: [700.0, 11.0, 0.0, 120.0], slices: 176, agent: None, certainty: Sure, sequences: "t1_pre" },
    Header { maker: "Siemens", description: "t1_space_sag_p2_iso post gd", image_type: SIEMENS, scanning: "SE", variant: r"SK\SP", acquisition: "3D", times: [700.0, 11.0, 0.0, 120.0], slices: 176, agent: GD, certainty: Sure, sequences: "t1_post" },
    Header { maker: "Philips", description: "3D T1W_VISTA +C", image_type: PHILIPS, scanning: "SE", variant: "SK", acquisition: "3D", times: [400.0, 28.0, 0.0, 90.0], slices: 200, agent: GD, certainty: Sure, sequences: "t1_post" },
    Header { maker: "Philips", description: "T1W_SE tra post", image_type: PHILIPS, scanning: "SE", variant: "NONE", acquisition: "2D", times: [550.0, 12.0, 0.0, 69.0], slices: 28, agent: GD, certainty: Sure, sequences: "t1_post" },
    Header { maker: "GE", description: "Ax T1 FSE without contrast", image_type: ORIGINAL, scanning: "SE", variant: "SK", acquisition: "2D", times: [600.0, 9.0, 0.0, 111.0], slices: 26, agent: None, certainty: Sure, sequences: "t1_pre" },
    Header { maker: "GE", description: "SAG CUBE FLAIR", image_type: ORIGINAL, scanning: r"SE\IR", variant: r"SS\SK\MP", acquisition: "3D", times: [7600.0, 119.0, 2162.0, 90.0], slices: 200, agent: None, certainty: Sure, sequences: "flair" },
    Header { maker: "GE", description: "AX FLAIR PROPELLER", image_type: ORIGINAL, scanning: "RM", variant: "NONE", acquisition: "2D", times: [9500.0, 120.0, 2250.0, 160.0], slices: 30, agent: None, certainty: Sure, sequences: "flair" },
    Header { maker: "Siemens", description: "t2_space_dark-fluid_sag_p2_iso", image_type: SIEMENS, scanning: r"SE\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [5000.0, 387.0, 1800.0, 120.0], slices: 176, agent: GD, certainty: Sure, sequences: "flair" },
    Header { maker: "Siemens", description: "t2_tirm_tra_dark-fluid", image_type: SIEMENS, scanning: r"SE\IR", variant: r"SK\SP\MP\OSP", acquisition: "2D", times: [9000.0, 81.0, 2500.0, 150.0], slices: 27, agent: None, certainty: Sure, sequences: "flair" },
    Header { maker: "Philips", description: "3D FLAIR", image_type: r"ORIGINAL\PRIMARY\M_IR\M\IR", scanning: "IR", variant: "SK", acquisition: "3D", times: [4800.0, 299.0, 1650.0, 90.0], slices: 180, agent: None, certainty: Sure, sequences: "flair" },
    // Contrast is unclear or contradictory.
    Header { maker: "Siemens", description: "t1_mprage_sag_post", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [2300.0, 2.98, 900.0, 9.0], slices: 176, agent: None, certainty: InDoubt, sequences: "bravo" },
    Header { maker: "Siemens", description: "t1_mprage_sag_p2_iso", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [2300.0, 2.98, 900.0, 9.0], slices: 176, agent: None, certainty: InDoubt, sequences: "bravo" },
    Header { maker: "GE", description: "AX BRAVO PRE", image_type: ORIGINAL, scanning: "GR", variant: r"SS\SK", acquisition: "3D", times: [8.2, 3.2, 450.0, 12.0], slices: 192, agent: GD, certainty: InDoubt, sequences: "bravo" },
    Header { maker: "GE", description: "SAG CUBE T1", image_type: ORIGINAL, scanning: "SE", variant: "SK", acquisition: "3D", times: [600.0, 12.8, 0.0, 90.0], slices: 200, agent: Some("NONE"), certainty: InDoubt, sequences: "t1_pre t1_post" },
    Header { maker: "GE", description: "Ax T1 w/wo contrast", image_type: ORIGINAL, scanning: "SE", variant: "SK", acquisition: "2D", times: [600.0, 9.0, 0.0, 90.0], slices: 26, agent: None, certainty: InDoubt, sequences: "t1_pre t1_post" },
    Header { maker: "GE", description: "Ax T1 with and without contrast", image_type: ORIGINAL, scanning: "SE", variant: "SK", acquisition: "2D", times: [600.0, 9.0, 0.0, 90.0], slices: 26, agent: None, certainty: InDoubt, sequences: "t1_pre t1_post" },
    // Nearly one of the four.
    Header { maker: "Siemens", description: "t1_vibe_tra_post", image_type: SIEMENS, scanning: "GR", variant: r"SK\SP\OSP", acquisition: "3D", times: [6.1, 2.4, 0.0, 12.0], slices: 176, agent: GD, certainty: InDoubt, sequences: "bravo" },
    Header { maker: "GE", description: "AX T1 FLAIR +C", image_type: ORIGINAL, scanning: r"SE\IR", variant: "SK", acquisition: "2D", times: [2500.0, 24.0, 900.0, 111.0], slices: 26, agent: GD, certainty: InDoubt, sequences: "t1_post" },
    Header { maker: "Philips", description: "FLAIR longTR", image_type: PHILIPS, scanning: "SE", variant: "SK", acquisition: "2D", times: [11000.0, 125.0, 0.0, 90.0], slices: 27, agent: None, certainty: InDoubt, sequences: "flair" },
    // None of the four.
    Header { maker: "GE", description: "SAG BRAVO PRE", image_type: ORIGINAL, scanning: "GR", variant: r"SS\SK", acquisition: "3D", times: [8.2, 3.2, 450.0, 12.0], slices: 192, agent: None, certainty: No, sequences: "before contrast" },
    Header { maker: "Siemens", description: "t1_mprage_nativ", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [2300.0, 2.98, 900.0, 9.0], slices: 176, agent: None, certainty: No, sequences: "before contrast" },
    Header { maker: "Siemens", description: "localizer", image_type: SIEMENS, scanning: "GR", variant: r"SP\OSP", acquisition: "2D", times: [7.4, 3.0, 0.0, 20.0], slices: 5, agent: None, certainty: No, sequences: "a localiser" },
    Header { maker: "GE", description: "3-Plane Loc", image_type: ORIGINAL, scanning: "GR", variant: "SS", acquisition: "2D", times: [5.0, 1.6, 0.0, 30.0], slices: 30, agent: None, certainty: No, sequences: "a localiser" },
    Header { maker: "Philips", description: "Survey", image_type: PHILIPS_FFE, scanning: "GR", variant: "SP", acquisition: "2D", times: [11.0, 4.6, 0.0, 20.0], slices: 15, agent: None, certainty: No, sequences: "a localiser" },
    Header { maker: "Siemens", description: "t2_tse_tra_448", image_type: SIEMENS, scanning: "SE", variant: r"SK\SP", acquisition: "2D", times: [6000.0, 100.0, 0.0, 150.0], slices: 27, agent: None, certainty: No, sequences: "not flair" },
    Header { maker: "Siemens", description: "t2_stir_cor", image_type: SIEMENS, scanning: r"SE\IR", variant: "SK", acquisition: "2D", times: [5000.0, 80.0, 160.0, 150.0], slices: 27, agent: None, certainty: No, sequences: "TI 160 ms" },
    Header { maker: "Siemens", description: "SWI_Images", image_type: r"ORIGINAL\PRIMARY\M\SWI\NORM", scanning: "GR", variant: "SP", acquisition: "3D", times: [28.0, 20.0, 0.0, 15.0], slices: 80, agent: None, certainty: No, sequences: "susceptibility" },
    Header { maker: "Siemens", description: "Pha_Images", image_type: r"ORIGINAL\PRIMARY\P\ND", scanning: "GR", variant: "SP", acquisition: "3D", times: [28.0, 20.0, 0.0, 15.0], slices: 80, agent: None, certainty: No, sequences: "susceptibility" },
    Header { maker: "GE", description: "SWAN", image_type: ORIGINAL, scanning: "GR", variant: "SS", acquisition: "3D", times: [37.0, 23.0, 0.0, 15.0], slices: 80, agent: None, certainty: No, sequences: "susceptibility" },
    Header { maker: "Siemens", description: "ep2d_diff_b1000_TRACEW", image_type: r"ORIGINAL\PRIMARY\DIFFUSION\TRACEW", scanning: "EP", variant: r"SK\SP", acquisition: "2D", times: [6000.0, 90.0, 0.0, 90.0], slices: 27, agent: None, certainty: No, sequences: "diffusion" },
    Header { maker: "Siemens", description: "ep2d_diff_ADC", image_type: r"DERIVED\PRIMARY\DIFFUSION\ADC", scanning: "EP", variant: r"SK\SP", acquisition: "2D", times: [6000.0, 90.0, 0.0, 90.0], slices: 27, agent: None, certainty: No, sequences: "diffusion" },
    Header { maker: "GE", description: "Ax DWI", image_type: ORIGINAL, scanning: r"EP\SE", variant: "NONE", acquisition: "2D", times: [8000.0, 80.0, 0.0, 90.0], slices: 30, agent: None, certainty: No, sequences: "diffusion" },
    Header { maker: "Siemens", description: "ep2d_perf_p2", image_type: SIEMENS, scanning: "EP", variant: "SK", acquisition: "2D", times: [1500.0, 30.0, 0.0, 90.0], slices: 20, agent: GD, certainty: No, sequences: "perfusion" },
    Header { maker: "GE", description: "3D ASL", image_type: ORIGINAL, scanning: "RM", variant: "NONE", acquisition: "3D", times: [4800.0, 10.0, 2025.0, 111.0], slices: 40, agent: None, certainty: No, sequences: "perfusion" },
    Header { maker: "Siemens", description: "t1_mp2rage_sag_UNI_Images", image_type: r"DERIVED\PRIMARY\M\ND\UNI", scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [5000.0, 2.9, 700.0, 4.0], slices: 176, agent: None, certainty: No, sequences: "a map" },
    Header { maker: "Siemens", description: "mp2rage_INV1", image_type: SIEMENS, scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [3000.0, 2.9, 700.0, 4.0], slices: 176, agent: GD, certainty: No, sequences: "a map" },
    Header { maker: "Siemens", description: "t1_mprage_post_MPR_cor", image_type: r"DERIVED\PRIMARY\MPR\NORM", scanning: r"GR\IR", variant: r"SK\SP\MP", acquisition: "3D", times: [2300.0, 2.98, 900.0, 9.0], slices: 100, agent: GD, certainty: No, sequences: "a reformat" },
    Header { maker: "GE", description: "COR RFMT BRAVO +C", image_type: r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", scanning: "GR", variant: "SS", acquisition: "3D", times: [8.2, 3.2, 450.0, 12.0], slices: 100, agent: GD, certainty: No, sequences: "a reformat" },
    Header { maker: "GE", description: "AX BRAVO +C", image_type: r"DERIVED\SECONDARY\COMBINED", scanning: "GR", variant: "SS", acquisition: "3D", times: [8.2, 3.2, 450.0, 12.0], slices: 100, agent: GD, certainty: No, sequences: "computed from" },
    Header { maker: "Siemens", description: "t1_sub_post-pre", image_type: r"DERIVED\PRIMARY\M\SUB", scanning: "SE", variant: "SK", acquisition: "3D", times: [700.0, 11.0, 0.0, 120.0], slices: 176, agent: GD, certainty: No, sequences: "a subtraction" },
    Header { maker: "Siemens", description: "TOF_3D_multi-slab", image_type: SIEMENS, scanning: "GR", variant: "SP", acquisition: "3D", times: [21.0, 3.4, 0.0, 18.0], slices: 120, agent: None, certainty: No, sequences: "angiography" },
    Header { maker: "GE", description: "Sag T1 cervical spine +C", image_type: ORIGINAL, scanning: "SE", variant: "SK", acquisition: "2D", times: [600.0, 9.0, 0.0, 90.0], slices: 16, agent: GD, certainty: No, sequences: "not the head" },
    Header { maker: "Siemens", description: "t1_se_tra post", image_type: SIEMENS, scanning: "SE", variant: "SP", acquisition: "2D", times: [550.0, 9.0, 0.0, 70.0], slices: 9, agent: GD, certainty: No, sequences: "9 slices" },
    Header { maker: "?", description: "unnamed", image_type: ORIGINAL, scanning: "", variant: "", acquisition: "", times: [0.0; 4], slices: 100, agent: None, certainty: No, sequences: "missing" },
];

fn list(text: &str) -> Vec<String> {
    text.split('\\')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Header {
    fn facts(&self) -> Facts {
        let known = |value: f64| (value > 0.0).then_some(value);
        let [tr, te, ti, flip] = self.times;
        Facts {
            modality: "MR".into(),
            description: self.description.into(),
            image_type: list(self.image_type),
            scanning: list(self.scanning),
            variant: list(self.variant),
            acquisition: (!self.acquisition.is_empty()).then(|| self.acquisition.into()),
            tr_ms: known(tr),
            te_ms: known(te),
            ti_ms: known(ti),
            flip_deg: known(flip),
            agent: self.agent.map(str::to_owned),
            ..Facts::default()
        }
    }
}

/// A small image as a file.
fn image_file(folder: &std::path::Path) -> std::path::PathBuf {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_dictionary_std::tags;
    let mut object = dicom_object::InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.4"),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.4"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.5"),
        (tags::PATIENT_ID, VR::LO, "17"),
        (tags::MODALITY, VR::CS, "MR"),
        (tags::ACQUISITION_TIME, VR::TM, "101112.5"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY"),
        (tags::REPETITION_TIME, VR::DS, "8.2"),
        (tags::IMAGE_POSITION_PATIENT, VR::DS, "0\\0\\1"),
        (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    for (tag, number) in [
        (tags::ROWS, 4u16),
        (tags::COLUMNS, 4),
        (tags::BITS_ALLOCATED, 16),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number)));
    }
    let pixels: Vec<u16> = vec![7; 16];
    let pixels = PrimitiveValue::U16(pixels.into());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
    let meta = dicom_object::FileMetaTableBuilder::new().transfer_syntax("1.2.840.10008.1.2.1");
    let path = folder.join("image");
    object
        .with_meta(meta)
        .unwrap()
        .write_to_file(&path)
        .unwrap();
    path
}

#[test]
fn a_file_that_is_cut_or_changed_is_named_or_used_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = image_file(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let look = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match scan(folder.path(), 1, &mut |_, _| ()) {
            Ok(found) => {
                let files = found.files;
                let others = files.no_images.values().sum::<usize>();
                let sum = files.images + files.damaged.len() + files.foreign.len() + others;
                assert_eq!((files.seen, sum), (1, 1));
                files.images == 1
            }
            Err(ImportError::NoImages { files: 1, .. }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(look(&whole));
    for length in 0..whole.len() {
        assert!(
            !look(&whole[..length]),
            "cut to {length} of {} bytes",
            whole.len()
        );
    }
    for at in 128..whole.len() {
        for value in [0, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            look(&changed);
        }
    }
}

#[test]
fn series_of_three_makers_are_told_apart() {
    let rules = Rules::built_in().unwrap();
    let mut wrong = Vec::new();
    for header in HEADERS {
        let judged = judge(&header.facts(), header.slices, &Timeline::default(), &rules);
        let found = judged.sequences.join(" ");
        let why = judged.why.join("; ");
        let expected = if header.certainty == No {
            why.contains(header.sequences)
        } else {
            found == header.sequences
        };
        if judged.certainty != header.certainty || !expected {
            wrong.push(format!(
                "{} {:?}: {} {found}, not {} {}: {why}",
                header.maker,
                header.description,
                judged.certainty.word(),
                header.certainty.word(),
                header.sequences
            ));
        }
        assert!(!judged.why.is_empty(), "{}", header.description);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A T1 spin echo at a time of the day in minutes.
fn spin_echo(description: &'static str, agent: Option<&'static str>, minute: f64) -> Facts {
    let header = Header {
        maker: "GE",
        description,
        image_type: ORIGINAL,
        scanning: "SE",
        variant: "SK",
        acquisition: "3D",
        times: [600.0, 12.8, 0.0, 90.0],
        slices: 200,
        agent,
        certainty: Sure,
        sequences: "",
    };
    Facts {
        acquired_s: Some(minute * 60.0),
        ..header.facts()
    }
}

#[test]
fn the_order_of_a_study_tells_before_from_after_and_contradictions_are_in_doubt() {
    let rules = Rules::built_in().unwrap();
    let tell = |given: Option<f64>, series: &[Facts]| {
        let mut series = series.to_vec();
        if let (Some(given), Some(last)) = (given, series.last_mut()) {
            last.contrast_s = Some(given * 60.0);
        }
        let line = Timeline::of(series.iter(), &rules);
        let mut told = Vec::new();
        for facts in &series {
            let judged = judge(facts, 200, &line, &rules);
            told.push(format!(
                "{} {}",
                judged.certainty.word(),
                judged.sequences.join(" ")
            ));
        }
        told.join(", ")
    };
    // Acquired before the first series with an agent.
    assert_eq!(
        tell(
            None,
            &[spin_echo("T1", None, 1.0), spin_echo("T1", GD, 9.0)]
        ),
        "sure t1_pre, sure t1_post"
    );
    // Without an agent, although an earlier series has one.
    assert_eq!(
        tell(
            None,
            &[spin_echo("T1", GD, 1.0), spin_echo("T1 pre", None, 9.0)]
        ),
        "sure t1_post, in doubt t1_pre t1_post"
    );
    assert_eq!(
        tell(
            None,
            &[spin_echo("T1", GD, 1.0), spin_echo("T1", None, 9.0)]
        ),
        "sure t1_post, in doubt t1_pre t1_post"
    );
    // An agent that was entered for the whole study, given in between.
    assert_eq!(
        tell(
            Some(5.0),
            &[spin_echo("T1", GD, 1.0), spin_echo("T1", GD, 9.0)]
        ),
        "in doubt t1_pre t1_post, sure t1_post"
    );
    // Nothing at all.
    assert_eq!(
        tell(None, &[spin_echo("T1", None, 1.0)]),
        "in doubt t1_pre t1_post"
    );
    // A description alone is enough for before, and not for after.
    assert_eq!(
        tell(
            None,
            &[
                spin_echo("T1 pre", None, 1.0),
                spin_echo("T1 post", None, 9.0)
            ]
        ),
        "sure t1_pre, in doubt t1_pre t1_post"
    );
}

/// A study with these series; their numbers count from 1.
fn study(series: &[Facts]) -> Scan {
    let mut all = Vec::new();
    for (place, facts) in series.iter().enumerate() {
        all.push(Series {
            uid: format!("1.2.{place}"),
            number: place as i64 + 1,
            facts: facts.clone(),
            files: vec![std::path::PathBuf::new()],
            frames: 200,
            slices: 200,
            rows: 4,
            columns: 4,
            steps_mm: Some([1.0, 1.0]),
            damaged: 0,
            mixed: Vec::new(),
            content: blake3::hash(&[place as u8]),
        });
    }
    let patient = Patient {
        id: "17".into(),
        has_id: true,
        names: ["Canary^Carla".to_owned()].into(),
        birth_dates: ["19500101".to_owned()].into(),
        studies: vec![Study {
            uid: "1.3".into(),
            date: "20260102".into(),
            start_s: 0.0,
            series: all,
        }],
    };
    Scan {
        patients: vec![patient],
        ..Scan::default()
    }
}

/// A folder for images next to an export.
fn open_folder(folder: &std::path::Path) -> Folder {
    let input = folder.join("export");
    std::fs::create_dir_all(&input).unwrap();
    Folder::open(&folder.join("out"), &input, [1; 32]).unwrap()
}

/// What is taken of each series, or how sure the rules are.
fn told(plan: &Plan) -> Vec<String> {
    let mut told = Vec::new();
    for series in &plan.cases[0].series {
        told.push(match &series.taken {
            Some(sequence) => sequence.clone(),
            None => format!("{} {}", series.certainty.word(), series.sequences.join(" ")),
        });
    }
    told
}

#[test]
fn two_series_that_claim_one_sequence_are_in_doubt_until_somebody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = open_folder(folder.path());
    let rules = Rules::built_in().unwrap();
    let flat = Facts {
        acquisition: Some("2D".into()),
        ..spin_echo("AX T1 GD", GD, 20.0)
    };
    let mut scan = study(&[
        spin_echo("SAG T1 GD, Canary", GD, 10.0),
        spin_echo("SAG T1 GD again", GD, 15.0),
        flat,
        // In doubt by itself.
        spin_echo("T1 post", None, 16.0),
    ]);
    let mut answers = Answers::default();
    let mut make = |scan: &Scan, answers: &Answers| Plan::make(scan, &rules, answers, &mut out);
    let plan = make(&scan, &answers).unwrap();
    assert_eq!(
        told(&plan),
        [
            "in doubt t1_post",
            "in doubt t1_post",
            "in doubt t1_post",
            "in doubt t1_pre t1_post"
        ]
    );
    let why = plan.cases[0].series[0].why.join("; ");
    assert!(
        why.contains("series 1, 2, 3 all claim t1_post; series 2 is suggested"),
        "{why}"
    );
    assert_eq!(plan.cases[0].series[0].description, "SAG T1 GD, ***");
    // 3D before 2D, then the later one.
    let doubts = plan.doubts();
    let numbers: Vec<i64> = doubts.iter().map(|doubt| doubt.series.number).collect();
    assert_eq!(numbers, [4, 2, 1, 3]);
    // Not the suggested one: two are left. Not the second either: one is left, and is sure.
    answers.set(&doubts[1].series.series, None);
    assert_eq!(told(&make(&scan, &answers).unwrap())[0], "in doubt t1_post");
    answers.set(&doubts[2].series.series, None);
    assert_eq!(
        told(&make(&scan, &answers).unwrap()),
        ["no ", "no ", "t1_post", "in doubt t1_pre"]
    );
    // An answer wins over what is sure, and over an exclusion.
    scan.patients[0].studies[0].series[0].facts.image_type = vec!["DERIVED".into()];
    answers.set(&doubts[2].series.series, Some("t1_post".into()));
    assert_eq!(
        told(&make(&scan, &answers).unwrap()),
        ["t1_post", "no ", "no ", "in doubt t1_pre"]
    );
    // Not over what cannot be one volume.
    scan.patients[0].studies[0].series[0].frames = 400;
    assert_eq!(told(&make(&scan, &answers).unwrap())[0], "no ");
    answers.set("sx", Some("t3".into()));
    let error = make(&scan, &answers).unwrap_err().to_string();
    assert!(error.contains("t3") && error.contains("t1_post"), "{error}");
}

/// Something odd about a series, and what becomes of it.
struct Odd {
    change: fn(&mut Series),
    verdict: &'static str,
    said: &'static str,
}

#[test]
fn what_is_odd_about_a_series_or_a_patient_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = open_folder(folder.path());
    let rules = Rules::built_in().unwrap();
    let mut scan = study(&[spin_echo("T1 GD", GD, 1.0)]);
    let odd = [
        Odd {
            change: |one| one.damaged = 1,
            verdict: "no ",
            said: "all of its files are damaged",
        },
        Odd {
            change: |one| one.slices = 0,
            verdict: "no ",
            said: "no position",
        },
        Odd {
            change: |one| one.mixed = vec!["sizes of slices"],
            verdict: "no ",
            said: "several sizes",
        },
        Odd {
            change: |one| one.steps_mm = Some([1.0, 2.0]),
            verdict: "in doubt t1_post",
            said: "may be missing",
        },
        Odd {
            change: |one| one.mixed = vec!["echo times"],
            verdict: "in doubt t1_post",
            said: "several echo times",
        },
    ];
    for Odd {
        change,
        verdict,
        said,
    } in odd
    {
        let series = study(&[spin_echo("T1 GD", GD, 1.0)]);
        scan.patients = series.patients;
        change(&mut scan.patients[0].studies[0].series[0]);
        let plan = Plan::make(&scan, &rules, &Answers::default(), &mut out).unwrap();
        assert_eq!(told(&plan), [verdict]);
        let why = plan.cases[0].series[0].why.join("; ");
        assert!(why.contains(said), "{why}");
    }
    // One PatientID with two days of birth, and the same person with two PatientIDs.
    let mut other = study(&[]).patients.remove(0);
    other.id = "18".into();
    other.studies[0].uid = "1.4".into();
    scan.patients.push(other);
    scan.patients[0].birth_dates.insert("19600101".into());
    let plan = Plan::make(&scan, &rules, &Answers::default(), &mut out).unwrap();
    let notes = plan.notes.join("; ");
    for said in [
        "2 different days of birth",
        "the same name and day of birth",
    ] {
        assert!(notes.contains(said), "{notes}");
    }
    assert!(
        !notes.contains("Canary") && !notes.contains("1950"),
        "{notes}"
    );
}
