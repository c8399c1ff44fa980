//! What may be wrong with a site's cases together: which there are, which belong together, and what
//! labels and masks mean.

use crate::site::{GRID, Site, brain, lesion, tissue};
use crate::{Command, Kind, Told};
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

/// Numbers around zero.
fn ringing(at: usize) -> f32 {
    ((at * 7919 % 101) as f32 - 50.0) / 50.0
}

fn soft(value: fn(usize) -> f32) -> impl Fn(&mut Site) {
    move |site| {
        for case in site.cases() {
            site.image(case, "brain", value);
        }
    }
}

fn share(at: usize) -> f32 {
    f32::from(u8::from(brain(at)))
}

fn labels(site: &Site, case: &str, value: fn(usize) -> u8) {
    site.mask(
        case,
        "lesion",
        &(0..GRID.voxels()).map(value).collect::<Vec<_>>(),
    );
}

/// Lesion of the first case.
fn lesion_of_0(at: usize) -> u8 {
    u8::from(lesion(at, 0))
}

pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "a brain mask that rings around zero",
        make: |site| soft(|at| share(at) + 1e-6 * ringing(at))(site),
        told: &[
            Told {
                says: &["nearly zero", "c0", "c3"],
                ..TRAIN
            },
            Told {
                says: &["nearly zero", "look at it"],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "nearly zero"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a brain mask of shares",
        make: |site| {
            soft(|at| {
                if brain(at) {
                    0.9 + 0.1 * ringing(at)
                } else {
                    0.1 + 0.1 * ringing(at)
                }
            })(site)
        },
        told: &[
            Told {
                says: &["between none and all"],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "between none and all"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a brain mask whose surroundings are 1",
        make: |site| soft(|at| 1.0 + share(at))(site),
        told: &[
            Told {
                says: &["in its corners, not 0"],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "in its corners, not 0"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "a brain mask of everything, and one of nothing",
        make: |site| {
            site.image("c0", "brain", |_| 1.0);
            site.image("c1", "brain", |_| 0.0);
        },
        told: &[
            Told {
                says: &[
                    r#""usable":2"#,
                    "100.0 % of the volume would be brain",
                    "no brain",
                ],
                ..TRAIN
            },
            Told {
                says: &["2 that can be used", "left out", "100.0 %"],
                ..DOCTOR
            },
            Told {
                code: 4,
                says: &["100.0 % of the volume would be brain"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "images with air, and no brain mask",
        make: |site| {
            let without = site.data.lines().filter(|line| !line.starts_with("brain"));
            site.data = without.map(|line| format!("{line}\n")).collect();
        },
        told: &[
            Told {
                code: 4,
                says: &["would be brain", "data.brain"],
                ..DOCTOR
            },
            Told {
                code: 4,
                says: &["would be brain"],
                ..TRAIN
            },
        ],
    },
    Kind {
        name: "a label of 0 and 255 among labels of 0 and 1",
        make: |site| labels(site, "c0", |at| 255 * lesion_of_0(at)),
        told: &[
            Told {
                says: &[
                    r#""usable":3"#,
                    r#""case":"c0""#,
                    "but 255 (",
                    "data.lesion_labels [1]",
                ],
                ..TRAIN
            },
            Told {
                says: &["but 255 (", "left out"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "labels of 0 and 255 only",
        make: |site| {
            for case in site.cases() {
                labels(site, case, |at| 255 * lesion_of_0(at));
            }
        },
        told: &[Told {
            code: 4,
            says: &["but 255 (", "0 that can be used"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "a label with a value that is not listed",
        make: |site| {
            labels(site, "c0", |at| {
                if at % 7 == 0 {
                    2 * lesion_of_0(at)
                } else {
                    lesion_of_0(at)
                }
            })
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, r#""case":"c0""#, "holds 2 too"],
                ..TRAIN
            },
            Told {
                says: &["holds 2 too"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "a label turned inside out",
        make: |site| labels(site, "c0", |at| 1 - lesion_of_0(at)),
        told: &[Told {
            says: &["outside the brain", "lesion fills"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "one patient's time points, by {patient}",
        make: |site| {
            fs::remove_dir_all(site.root()).unwrap();
            for patient in 0..3 {
                for visit in 0..3 {
                    site.case(&format!("MET-0000{patient}-00{visit}"), 3 * patient + visit);
                }
            }
            site.data = site.table("MET-{patient}-{case}/");
        },
        told: &[
            Told {
                says: &[
                    r#""usable":9"#,
                    r#""warnings":[]"#,
                    "training=6 validation=3",
                ],
                never: &["WARN"],
                ..TRAIN
            },
            Told {
                says: &["9 cases", "of 3 patients"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "names that look like time points, without {patient}",
        make: |site| {
            for visit in ["c1-001", "c1-002", "c2-001"] {
                site.case(
                    visit,
                    20 + visit.len()
                        + usize::from(visit.as_bytes()[5])
                        + usize::from(visit.as_bytes()[1]),
                );
            }
        },
        told: &[Told {
            says: &["c1-001 and c1-002", "{patient}"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "two cases with the same images",
        make: |site| site.case("copied", 1),
        told: &[
            Told {
                says: &[r#""usable":4"#, "its images are those of c1"],
                ..TRAIN
            },
            Told {
                says: &["its images are those of c1", "4 that can be used"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "an image of another case",
        make: |site| {
            fs::copy(site.file("c1", "flair"), site.file("c3", "flair")).unwrap();
        },
        told: &[Told {
            says: &["shares an image with c1", "of 3 patients"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "the lesions of another case",
        make: |site| labels(site, "c1", lesion_of_0),
        told: &[
            Told {
                says: &[r#""usable":4"#, "its lesions are those of c0"],
                ..TRAIN
            },
            Told {
                says: &["its lesions are those of c0", "look at it"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "a sequence that no case has",
        make: |site| site.data = site.data.replace("flair.nii.gz", "t2f.nii.gz"),
        told: &[
            Told {
                says: &["(all cases)", "no case has flair"],
                ..TRAIN
            },
            Told {
                says: &["no case has flair", "look at it"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "a broken link before another label",
        make: |site| {
            labels(site, "c0", lesion_of_0);
            fs::rename(site.file("c0", "lesion"), site.file("c0", "raw")).unwrap();
            labels(site, "c0", lesion_of_0);
            site.dangle("c0", "lesion");
            site.data = site.data.replace(
                "label = '{case}/lesion.nii.gz'",
                "label = ['{case}/lesion.nii.gz', '{case}/raw.nii.gz']",
            );
        },
        told: &[Told {
            says: &[r#""usable":3"#, r#""case":"c0""#, "the link points to"],
            ..TRAIN
        }],
    },
    Kind {
        name: "one image under the names of two sequences",
        make: |site| {
            fs::copy(site.file("c0", "t1_pre"), site.file("c0", "t1_post")).unwrap();
        },
        told: &[
            Told {
                says: &["are the same image", "left out"],
                ..DOCTOR
            },
            Told {
                says: &[r#""usable":3"#, "are the same image"],
                ..TRAIN
            },
            Told {
                code: 4,
                says: &["are the same image"],
                ..PREDICT
            },
        ],
    },
    Kind {
        name: "content that was not fetched",
        make: |site| {
            site.dangle("c0", "t1_post");
            for what in ["t1_pre", "t1_post", "flair"] {
                site.dangle("c1", what);
            }
            let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 48211\n";
            fs::write(site.file("c2", "flair"), pointer).unwrap();
            site.case("c4", 4);
            std::os::unix::fs::symlink("../gone", site.root().join("c5")).unwrap();
        },
        told: &[
            Told {
                says: &[
                    r#""usable":2"#,
                    "c0",
                    "c1",
                    "c2",
                    "c5",
                    "which is not there",
                    "Git LFS",
                    "git annex get",
                ],
                ..TRAIN
            },
            Told {
                says: &["6 cases", "2 that can be used", "Git LFS"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "files and folders that are not what their names say",
        make: |site| {
            fs::write(site.file("c0", "flair"), "").unwrap();
            fs::remove_file(site.file("c1", "t1_pre")).unwrap();
            fs::create_dir(site.file("c1", "t1_pre")).unwrap();
            fs::create_dir(site.root().join("c9")).unwrap();
            let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9");
            fs::create_dir(site.root().join(name)).unwrap();
        },
        told: &[
            Told {
                says: &[
                    r#""usable":2"#,
                    "is empty",
                    "there is a folder instead",
                    "c9",
                    "not UTF-8",
                ],
                ..TRAIN
            },
            Told {
                says: &["6 cases", "2 that can be used"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "what other programs leave behind",
        make: |site| {
            for folder in ["__MACOSX", "c0 (1)", "c1~", "c2.part"] {
                fs::create_dir(site.root().join(folder)).unwrap();
            }
            for file in [
                "._c0",
                ".DS_Store",
                "Thumbs.db",
                "c0/._flair.nii.gz",
                "c0/flair (1).nii.gz",
            ] {
                fs::write(site.root().join(file), "x").unwrap();
            }
        },
        told: &[
            Told {
                says: &[r#""usable":4"#, r#""skipped":[]"#, "__MACOSX"],
                never: &["WARN"],
                ..TRAIN
            },
            Told {
                says: &["4 cases", "5 left behind by other programs"],
                never: &["how_bad"],
                ..DOCTOR
            },
        ],
    },
    Kind {
        name: "one voxel that is no tissue",
        make: |site| {
            site.image("c0", "t1_post", |at| {
                if at == 5 * 1024 + 500 {
                    1e6
                } else {
                    tissue(at, 0, 1)
                }
            })
        },
        told: &[
            Told {
                says: &["t1_post: 1 of ", "1000000", "clipped", "c0"],
                ..TRAIN
            },
            Told {
                says: &["t1_post: 1 of "],
                ..DOCTOR
            },
            Told {
                says: &["warning: ", "t1_post: 1 of "],
                ..PREDICT
            },
        ],
    },
];

const REFUSED: Told = Told {
    command: Command::Doctor,
    code: 3,
    says: &[],
    never: &[],
};

pub(crate) const SETTINGS: &[Kind] = &[
    Kind {
        name: "UTF-8 with a byte order mark",
        make: |site| site.settings = Some(|text| [b"\xef\xbb\xbf", text.as_bytes()].concat()),
        told: &[Told {
            says: &["4 that can be used"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "UTF-16",
        make: |site| {
            site.settings = Some(|text| {
                [0xfeff]
                    .into_iter()
                    .chain(text.encode_utf16())
                    .flat_map(u16::to_le_bytes)
                    .collect()
            });
        },
        told: &[Told {
            says: &["UTF-16", "save it as UTF-8"],
            ..REFUSED
        }],
    },
    Kind {
        name: "Latin-1",
        make: |site| site.settings = Some(|text| [b"# K\xf6ln\n", text.as_bytes()].concat()),
        told: &[Told {
            says: &["line 1", "0xf6", "save it as UTF-8"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a Windows path in double quotes",
        make: |site| {
            site.settings = Some(|text| text.replace("'127.0.0.1:9'", "\"C:\\data\"").into_bytes())
        },
        told: &[Told {
            says: &["backslash", "single quotes"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a Windows path whose escapes TOML knows",
        make: |site| {
            site.data = site
                .data
                .replace(&format!("'{}'", site.root().display()), "\"C:\\temp\\new\"")
        },
        told: &[Told {
            says: &["data.root", "single quotes"],
            ..REFUSED
        }],
    },
    Kind {
        name: "another user's folder",
        make: |site| {
            site.data = site
                .data
                .replace(&*site.root().to_string_lossy(), "~otto/mets")
        },
        told: &[Told {
            says: &["data.root", "~otto/mets"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a folder of one's own that is not there",
        make: |site| {
            site.data = site
                .data
                .replace(&*site.root().to_string_lossy(), "~/no such folder of mets")
        },
        told: &[Told {
            code: 4,
            says: &["/no such folder of mets"],
            never: &["~/"],
            ..DOCTOR
        }],
    },
    Kind {
        name: "one pattern for two sequences",
        make: |site| site.data = site.data.replace("t1_post.nii", "t1_pre.nii"),
        told: &[Told {
            says: &["data.sequences.t1_pre", "one file is one sequence"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a pattern that leaves the root",
        make: |site| site.data = site.data.replace("'{case}/brain", "'../{case}/brain"),
        told: &[Told {
            says: &["data.brain", "without // . or .."],
            ..REFUSED
        }],
    },
    Kind {
        name: "a case outside the root",
        make: |site| site.data = format!("cases = ['c0', '../other/c1']\n{}", site.data),
        told: &[Told {
            says: &["data.cases", "no path"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a case's path",
        make: |site| site.data = format!("cases = ['/srv/c1']\n{}", site.data),
        told: &[Told {
            says: &["data.cases", "no path"],
            ..REFUSED
        }],
    },
    Kind {
        name: "a wildcard that no case fits",
        make: |site| site.data = format!("cases = ['c*', 'd*']\n{}", site.data),
        told: &[Told {
            says: &["which no case fits", "4 that can be used"],
            ..DOCTOR
        }],
    },
];
