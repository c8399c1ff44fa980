//! A small site on disk: four cases, each a ball of brain with a lesion, and the `[data]` table
//! that reads them.

use imaging::nifti::{Form, Source, write_f32, write_u8};
use protocol::case::Grid;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const GRID: Grid = Grid {
    dims: [10, 32, 32],
    spacing_mm: [7.0, 6.8, 6.8],
};
pub(crate) const SEQUENCES: [&str; 3] = ["t1_pre", "t1_post", "flair"];
/// The first case, which `predict` is shown.
pub(crate) const FIRST: &str = "c0";

/// A site, and what a kind may change of it.
pub(crate) struct Site {
    /// Everything is here.
    pub(crate) folder: PathBuf,
    /// The `[data]` table's text, without its heading.
    pub(crate) data: String,
    /// The bytes of the settings file of `doctor`, made from its usual text.
    pub(crate) settings: Option<fn(&str) -> Vec<u8>>,
}

impl Site {
    /// Four sound cases.
    pub(crate) fn sound(folder: &Path) -> Self {
        let site = Self {
            folder: folder.into(),
            data: String::new(),
            settings: None,
        };
        for case in 0..4 {
            site.case(&format!("c{case}"), case);
        }
        Self {
            data: site.table("{case}/"),
            ..site
        }
    }

    /// The table for cases in folders of this pattern.
    pub(crate) fn table(&self, folder: &str) -> String {
        let sequences = SEQUENCES.map(|name| format!("{name} = '{folder}{name}.nii.gz'"));
        format!(
            "\
root = '{}'
label = '{folder}lesion.nii.gz'
lesion_labels = [1]
brain = '{folder}brain.nii.gz'
sequences = {{ {} }}
",
            self.root().display(),
            sequences.join(", ")
        )
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn file(&self, case: &str, what: &str) -> PathBuf {
        self.root().join(case).join(format!("{what}.nii.gz"))
    }

    /// Writes a case; cases of different seeds are different.
    pub(crate) fn case(&self, name: &str, seed: usize) {
        fs::create_dir_all(self.root().join(name)).unwrap();
        let mask = |is: fn(usize, usize) -> bool| {
            (0..GRID.voxels())
                .map(|at| u8::from(is(at, seed)))
                .collect::<Vec<_>>()
        };
        self.mask(name, "brain", &mask(|at, _| brain(at)));
        self.mask(name, "lesion", &mask(lesion));
        for (number, sequence) in SEQUENCES.into_iter().enumerate() {
            self.image(name, sequence, |at| tissue(at, seed, number));
        }
    }

    pub(crate) fn image(&self, case: &str, what: &str, value: impl Fn(usize) -> f32) {
        let values: Vec<f32> = (0..GRID.voxels()).map(value).collect();
        write_f32(&self.file(case, what), &values, &source_of(&GRID)).unwrap();
    }

    pub(crate) fn mask(&self, case: &str, what: &str, values: &[u8]) {
        write_u8(&self.file(case, what), values, &source_of(&GRID)).unwrap();
    }

    /// The names of the cases' folders.
    pub(crate) fn cases(&self) -> [&'static str; 4] {
        ["c0", "c1", "c2", "c3"]
    }

    /// A file of a case becomes a link that leads nowhere.
    pub(crate) fn dangle(&self, case: &str, what: &str) {
        fs::remove_file(self.file(case, what)).unwrap();
        std::os::unix::fs::symlink(
            "../.git/annex/objects/Xx/SHA256E-s1--00.nii.gz",
            self.file(case, what),
        )
        .unwrap();
    }
}

/// Where the volumes of a grid are.
pub(crate) fn source_of(grid: &Grid) -> Source {
    Source::new(grid, "LPS", Form::Sform).unwrap()
}

/// Slice, row and column, from the middle.
fn place(at: usize) -> [f32; 3] {
    let [depth, height, width] = GRID.dims;
    let from_middle = |at: usize, side: usize| at as f32 - (side as f32 - 1.0) / 2.0;
    [
        from_middle(at / (height * width), depth),
        from_middle(at / width % height, height),
        from_middle(at % width, width),
    ]
}

pub(crate) fn brain(at: usize) -> bool {
    let [z, y, x] = place(at);
    (z / 4.6).powi(2) + (y / 12.8).powi(2) + (x / 11.5).powi(2) < 1.0
}

pub(crate) fn lesion(at: usize, seed: usize) -> bool {
    let [z, y, x] = place(at);
    z.powi(2) + (y - seed as f32).powi(2) + (x + 2.0).powi(2) < 8.0
}

/// Tissue with noise, brighter in the lesion; air around it.
pub(crate) fn tissue(at: usize, seed: usize, sequence: usize) -> f32 {
    let noise = ((at + 1) * 2_654_435_761 + (seed * 5 + sequence) * 97_531) % 100_003 % 61;
    let tissue = if lesion(at, seed) {
        700.0 + 100.0 * sequence as f32
    } else {
        500.0
    };
    if brain(at) {
        tissue + noise as f32
    } else {
        1.0 + noise as f32
    }
}
