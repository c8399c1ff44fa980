use super::*;
use imaging::nifti::{Form, Source, write_f32, write_u8};
use protocol::case::Grid;

const GRID: Grid = Grid {
    dims: [6, 16, 20],
    spacing_mm: [3.0, 1.0, 1.0],
};

/// A file: a ball of noise, or a label of a value in its middle.
fn file(folder: &Path, name: &str, seed: usize, label: Option<u8>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = Source::new(&GRID, "LPS", Form::Sform).unwrap();
    let [_, height, width] = GRID.dims;
    let mut image = Vec::new();
    let mut mask = Vec::new();
    for at in 0..GRID.voxels() {
        let (x, y, z) = (at % width, at / width % height, at / width / height);
        let inside = (4..16).contains(&x) && (3..13).contains(&y) && (1..5).contains(&z);
        let noise = (at * 7919 + seed * 131) % 97;
        image.push(if inside { 100.0 + noise as f32 } else { 0.0 });
        let lesion = (8..10).contains(&x) && y == 8 && (z == 2 || z == 4);
        mask.push(if lesion { label.unwrap_or_default() } else { 0 });
    }
    match label {
        Some(_) => write_u8(&path, &mask, &source).unwrap(),
        None => write_f32(&path, &image, &source).unwrap(),
    }
}

/// One case in a layout, and what is to be found of it.
struct Kind {
    layout: &'static str,
    images: &'static [&'static str],
    label: &'static str,
    /// The lesions' value in the label.
    value: u8,
    sequences: &'static str,
    case: &'static str,
}

#[test]
fn each_layout_is_known_by_its_files_and_read_by_its_table() {
    let kinds = [
        Kind {
            layout: "BrainMetShare",
            images: &[
                "Mets_005/bravo.nii.gz",
                "Mets_005/t1_pre.nii.gz",
                "Mets_005/t1_gd.nii.gz",
            ],
            label: "Mets_005/seg.nii.gz",
            value: 1,
            sequences: "bravo t1_post t1_pre",
            case: "Mets_005",
        },
        Kind {
            layout: "UCSF-BMSR",
            images: &[
                "100101A/100101A_T1pre.nii.gz",
                "100101A/100101A_T1post.nii.gz",
            ],
            label: "100101A/100101A_seg.nii.gz",
            value: 1,
            sequences: "t1_post t1_pre",
            case: "100101/A",
        },
        Kind {
            layout: "BraTS 2017-2020",
            images: &[
                "HGG/B_1/B_1_t1ce.nii.gz",
                "HGG/B_1/B_1_flair.nii.gz",
                "LGG/B_2/B_2_flair.nii.gz",
            ],
            label: "HGG/B_1/B_1_seg.nii.gz",
            value: 4,
            sequences: "flair t1_post",
            case: "HGG/B_1",
        },
        Kind {
            layout: "BraTS-METS",
            images: &["BraTS-MET-00002-001/BraTS-MET-00002-001-t1c.nii.gz"],
            label: "BraTS-MET-00002-001/BraTS-MET-00002-001-seg.nii.gz",
            value: 3,
            sequences: "t1_post",
            case: "00002/001",
        },
        Kind {
            layout: "nnU-Net v2",
            images: &["imagesTr/m_1_0000.nii.gz", "imagesTr/m_1_0001.nii.gz"],
            label: "labelsTr/m_1.nii.gz",
            value: 2,
            sequences: "flair t1_post",
            case: "m_1",
        },
        Kind {
            layout: "BIDS",
            images: &[
                "sub-07/ses-a/anat/sub-07_ses-a_ce-gd_T1w.nii.gz",
                "sub-07/ses-a/anat/sub-07_ses-a_T1w.nii.gz",
                "sub-07/ses-a/anat/sub-07_ses-a_FLAIR.nii.gz",
            ],
            label: "sub-07/ses-a/anat/sub-07_ses-a_label-lesion_mask.nii.gz",
            value: 5,
            sequences: "flair t1_post t1_pre",
            case: "07/a",
        },
        Kind {
            layout: "site-agent import",
            images: &["p1_1/t1_post.nii.gz", "p1_1/flair.nii.gz"],
            label: "p1_1/lesion.nii.gz",
            value: 1,
            sequences: "flair t1_post",
            case: "p1/1",
        },
        Kind {
            layout: "site-agent phantom",
            images: &["north-1/t1_post.nii.gz", "north-1/flair.nii.gz"],
            label: "north-1/lesion.nii.gz",
            value: 1,
            sequences: "flair t1_post",
            case: "north-1",
        },
    ];
    for Kind {
        layout,
        images,
        label,
        value,
        sequences,
        case,
    } in kinds
    {
        let folder = tempfile::tempdir().unwrap();
        for (seed, image) in images.iter().enumerate() {
            file(folder.path(), image, seed, None);
        }
        file(folder.path(), label, 0, Some(value));
        if layout == "nnU-Net v2" {
            let dataset = r#"{"channel_names": {"0": "T1 post", "1": "FLAIR", "2": "CT"},
                "labels": {"background": 0, "metastasis": 2}, "file_ending": ".nii.gz"}"#;
            std::fs::write(folder.path().join("dataset.json"), dataset).unwrap();
        }
        let found = inspect(folder.path(), &mut |_, _| ()).unwrap();
        assert_eq!(found.layout, layout);
        let first = &found.cases[0];
        assert_eq!(first.case, case, "{}", found.table);
        let names: Vec<&str> = first
            .images
            .iter()
            .map(|image| image.sequence.as_str())
            .collect();
        assert_eq!(names.join(" "), sequences, "{layout}");
        let image = &first.images[0];
        assert_eq!(
            (image.voxels, image.spacing_mm),
            ([20, 16, 6], [1.0, 1.0, 3.0])
        );
        assert_eq!((image.intensities[0], image.not_finite), (0.0, 0));
        let looked = first.label.as_ref().unwrap();
        assert_eq!(
            looked.values.keys().copied().collect::<Vec<_>>(),
            [0, u16::from(value)]
        );
        assert_eq!(looked.lesions_mm3, [6.0, 6.0], "{layout}");
        assert!(looked.words().contains("2 lesions"), "{}", looked.words());
        assert!(
            found.table.contains(&format!("lesion_labels = [{value}]")),
            "{}",
            found.table
        );
    }
}

#[test]
fn troubles_are_told_and_a_page_shows_the_cases() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    for case in ["a", "b", "c<"] {
        file(&root, &format!("{case}/t1_post.nii.gz"), case.len(), None);
        file(&root, &format!("{case}/lesion.nii.gz"), 0, Some(1));
    }
    let broken = root.join("b/t1_post.nii.gz");
    let bytes = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let found = inspect(&root, &mut |_, _| ()).unwrap();
    assert!(
        matches!(found.fault(), Some(InspectError::NotAll(1, 3))),
        "{:?}",
        found.troubles
    );
    assert!(
        found
            .troubles
            .iter()
            .any(|row| row.case == "b" && row.how_bad == "left out")
    );
    assert_eq!(found.cases[1].unreadable.len(), 1);
    let path = folder.path().join("page.html");
    found.write_page(&path).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2);
    assert!(
        page.contains("c&lt;") && !page.contains("c<"),
        "a name is no markup"
    );

    assert!(check_page(&path, &root).is_ok());
    for inside in ["page.html", "a/t1_post.nii.gz"] {
        let refused = check_page(&root.join(inside), &root);
        assert!(
            matches!(refused, Err(InspectError::PageInside(_))),
            "{inside}"
        );
    }

    let empty = tempfile::tempdir().unwrap();
    for (folder, said) in [
        (empty.path().to_path_buf(), "none of the layouts"),
        (empty.path().join("none"), "none"),
    ] {
        let error = inspect(&folder, &mut |_, _| ()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.class(), Class::Data);
        assert!(error.hint().is_some());
    }
}
