//! What may be wrong with a single volume: its header, its voxels, what its values mean, how large
//! its brain is.

use crate::site::{GRID, SEQUENCES, Site, brain, lesion, source_of, tissue};
use crate::{Command, Kind, Told};
use imaging::nifti::{write_f32, write_u8};
use protocol::case::Grid;
use std::fs;

const TRAIN: Told = Told {
    command: Command::Train,
    code: 0,
    says: &[],
    never: &[],
};
const DOCTOR: Told = Told {
    command: Command::Doctor,
    code: 0,
    says: &[],
    never: &[],
};
const PREDICT: Told = Told {
    command: Command::Predict,
    code: 0,
    says: &[],
    never: &[],
};

/// The first case's flair, which all commands read, not packed.
fn flair(site: &Site) -> Vec<u8> {
    let path = site.folder.join("flair.nii");
    let values: Vec<f32> = (0..GRID.voxels()).map(|at| tissue(at, 0, 2)).collect();
    write_f32(&path, &values, &source_of(&GRID)).unwrap();
    fs::read(path).unwrap()
}

/// Gives it other bytes at a place of its header. It keeps its name, and is not packed: content
/// decides.
fn header(site: &Site, at: usize, bytes: &[u8]) {
    let mut file = flair(site);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(site.file("c0", "flair"), file).unwrap();
}

/// Half as wide again as the model's plane, which the sound cases fill.
const WIDE: Grid = Grid {
    dims: [10, 32, 48],
    ..GRID
};

/// The first case with a brain of 36 columns.
fn widen(site: &Site) {
    let inside = |at: usize| {
        let (z, y, x) = (at / (32 * 48), at / 48 % 32, at % 48);
        let from_middle = |at: usize, side: usize| at as f32 - (side as f32 - 1.0) / 2.0;
        let (z, y, x) = (
            from_middle(z, 10) / 4.6,
            from_middle(y, 32) / 12.8,
            from_middle(x, 48) / 18.0,
        );
        z * z + y * y + x * x < 1.0
    };
    let source = source_of(&WIDE);
    for (number, sequence) in SEQUENCES.into_iter().enumerate() {
        let tissue = |at: usize| {
            if inside(at) {
                500.0 + (at * (7 + number) % 61) as f32
            } else {
                0.0
            }
        };
        let values: Vec<f32> = (0..WIDE.voxels()).map(tissue).collect();
        write_f32(&site.file("c0", sequence), &values, &source).unwrap();
    }
    let brain: Vec<u8> = (0..WIDE.voxels()).map(|at| u8::from(inside(at))).collect();
    write_u8(&site.file("c0", "brain"), &brain, &source).unwrap();
    // Some lesion at the left end, which the plane alone would not show.
    let lesion: Vec<u8> = (0..WIDE.voxels())
        .map(|at| u8::from(inside(at) && at % 48 < 8))
        .collect();
    write_u8(&site.file("c0", "lesion"), &lesion, &source).unwrap();
}

/// The first case's label, with another value where there is lesion.
fn labelled(site: &Site, value: f32) {
    site.image("c0", "lesion", |at| if lesion(at, 0) { value } else { 0.0 });
}

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "a unit of length that does not exist",
        make: |site| header(site, 123, &[5]),
        told: &[
            Told {
                says: &[
                    r#""usable":4"#,
                    r#""case":"c0""#,
                    "flair: 5 in xyzt_units",
                    "the scanner's",
                ],
                ..TRAIN
            },
            Told {
                says: &["flair: 5 in xyzt_units", "look at it"],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "flair: 5 in xyzt_units"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a unit of length that makes voxels of metres",
        make: |site| header(site, 123, &[1]),
        told: &[
            Told {
                says: &[
                    r#""usable":3"#,
                    r#""case":"c0""#,
                    "flair: voxels of 6800",
                    "mm are impossible",
                ],
                ..TRAIN
            },
            Told {
                says: &["flair: voxels of 6800", "mm are impossible", "left out"],
                ..DOCTOR
            },
            Told {
                code: 4,
                says: &["flair: voxels of 6800", "mm are impossible"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a header that does not say where its voxels are",
        make: |site| header(site, 252, &[0; 4]),
        told: &[
            Told {
                says: &[
                    r#""usable":4"#,
                    "flair: the header has neither sform nor qform",
                ],
                ..TRAIN
            },
            Told {
                says: &["flair: the header has neither", "compare left and right"],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "flair: the header has neither"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "an sform and a qform that place the volume differently",
        make: |site| header(site, 252, &[1]),
        told: &[
            Told {
                says: &[r#""usable":4"#, "flair: sform and qform place a corner"],
                ..TRAIN
            },
            Told {
                says: &[
                    "flair: sform and qform place a corner",
                    "compare left and right",
                ],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "flair: sform and qform place a corner"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a negative spacing",
        make: |site| header(site, 84, &(-6.8f32).to_le_bytes()),
        told: &[
            Told {
                says: &[r#""usable":4"#, "pixdim is negative", "left and right"],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "flair: pixdim is negative"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "voxels of which half are missing",
        make: |site| {
            let file = flair(site);
            fs::write(site.file("c0", "flair"), &file[..file.len() / 2]).unwrap();
        },
        told: &[
            Told {
                says: &[r#""usable":3"#, "flair: the file is cut short"],
                ..TRAIN
            },
            Told {
                says: &["flair: the file is cut short", "left out"],
                ..DOCTOR
            },
            Told {
                code: 4,
                says: &["flair: the file is cut short"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a compressed file with one changed byte",
        make: |site| {
            let mut file = fs::read(site.file("c0", "flair")).unwrap();
            let last = file.len() - 8;
            file[last] ^= 1;
            fs::write(site.file("c0", "flair"), file).unwrap();
        },
        told: &[
            Told {
                says: &[r#""usable":3"#, "flair: the compressed file is damaged"],
                ..TRAIN
            },
            Told {
                code: 4,
                says: &["flair: the compressed file is damaged"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "other bytes behind a compressed file",
        make: |site| {
            let file = [
                fs::read(site.file("c0", "flair")).unwrap(),
                b"end of tape".to_vec(),
            ]
            .concat();
            fs::write(site.file("c0", "flair"), file).unwrap();
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, "flair: bytes that are not gzip"],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "flair: bytes that are not gzip"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a voxel that is no number",
        make: |site| {
            site.image("c0", "flair", |at| {
                if at == 5 { f32::NAN } else { tissue(at, 0, 2) }
            })
        },
        told: &[
            Told {
                says: &[r#""usable":3"#, "flair holds values that are not finite"],
                ..TRAIN
            },
            Told {
                says: &["flair holds values that are not finite", "left out"],
                ..DOCTOR
            },
            Told {
                code: 4,
                says: &["flair holds values that are not finite"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a label of nearly whole numbers",
        make: |site| labelled(site, 0.9996),
        told: &[Told {
            says: &[r#""usable":4"#, r#""skipped":[]"#, r#""warnings":[]"#],
            never: &["WARN"],
            ..TRAIN
        }],
    },
    Kind {
        name: "a label of probabilities",
        make: |site| labelled(site, 0.7),
        told: &[
            Told {
                says: &[
                    r#""usable":3"#,
                    "the label is no mask",
                    "cut at a threshold",
                ],
                ..TRAIN
            },
            Told {
                says: &["the label is no mask", "left out"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "a brain larger than the model's plane",
        make: |site| widen(site),
        told: &[
            Told {
                says: &[
                    r#""usable":4"#,
                    r#""case":"c0""#,
                    "the brain does not fit the model's plane",
                ],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "the brain does not fit the model's plane"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "bright voxels that became negative in a small type",
        make: |site| {
            site.image("c0", "flair", |at| match (brain(at), lesion(at, 0)) {
                (true, true) => -20_000.0,
                _ => 40.0 * tissue(at, 0, 2),
            });
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, "flair: ", "voxels are far"],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "flair: ", "voxels are far"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "an image cut off at its greatest value",
        make: |site| site.image("c0", "flair", |at| tissue(at, 0, 2).min(520.0)),
        told: &[
            Told {
                says: &[r#""usable":4"#, "flair: ", "it was cut off there"],
                ..TRAIN
            },
            Told {
                says: &["flair: ", "it was cut off there", "look at it"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "an image of a part of the brain",
        make: |site| {
            let slice = GRID.dims[1] * GRID.dims[2];
            let top = 7 * slice;
            site.image(
                "c0",
                "flair",
                |at| if at < top { tissue(at, 0, 2) } else { 0.0 },
            );
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, "flair shows nothing in"],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "flair shows nothing in"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a brain mask without the lesions",
        make: |site| {
            let mask: Vec<u8> = (0..GRID.voxels())
                .map(|at| u8::from(brain(at) && !lesion(at, 0)))
                .collect();
            site.mask("c0", "brain", &mask);
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, "the brain mask has holes of"],
                ..TRAIN
            },
            Told {
                says: &["warning: ", "the brain mask has holes of"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a brain mask of another place",
        make: |site| {
            for (number, sequence) in SEQUENCES.into_iter().enumerate() {
                site.image("c0", sequence, |at| {
                    f32::from(u8::from(brain(at))) * tissue(at, 0, number)
                });
            }
            let mask: Vec<u8> = (0..GRID.voxels())
                .map(|at| u8::from(at >= 4 && brain(at - 4)))
                .collect();
            site.mask("c0", "brain", &mask);
        },
        told: &[
            Told {
                says: &[
                    r#""usable":4"#,
                    "voxels of the brain mask show nothing in any image",
                ],
                ..TRAIN
            },
            Told {
                says: &["voxels of the brain mask show nothing", "look at it"],
                ..DOCTOR
            },
        ],
    },
];
