//! How long one case takes on one core: four compressed 16-bit sequences of 240 x 240 x 155 voxels
//! and a label, from files to a cached case on planes of 256, and from the cache. `cargo bench
//! --bench prepare`.

use flate2::{Compression, write::GzEncoder};
use protocol::settings::Input;
use site_agent::data::{Cohort, DataConfig, DataError, open};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const SIDES: [usize; 3] = [155, 240, 240];
const SEQUENCES: [&str; 4] = ["t1", "t1ce", "t2", "flair"];
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let case = folder.path().join("root").join("a");
    std::fs::create_dir_all(&case)?;
    for (number, name) in SEQUENCES.into_iter().chain(["seg"]).enumerate() {
        write(&case.join(format!("{name}.nii.gz")), |at| voxel(at, number))?;
    }
    let config: DataConfig = toml::from_str(&format!(
        "root = '{}'\nlabel = '{{case}}/seg.nii.gz'\nlesion_labels = [4]\n[sequences]\n{}",
        folder.path().join("root").display(),
        SEQUENCES
            .map(|name| format!("{name} = '{{case}}/{name}.nii.gz'\n"))
            .concat(),
    ))?;
    let input = Input {
        sequences: SEQUENCES.map(Into::into).to_vec(),
        slices: 5,
        plane: 256,
        spacing_mm: None,
        clip_percentiles: None,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let work = folder.path().join("work");
    let timed = |what: &str| -> Result<(), DataError> {
        let start = Instant::now();
        let cohort: Cohort =
            pool.install(|| open(&config.clone().into(), &input, &work, &mut |_, _| {}))?;
        println!(
            "{what}: {:.2} s, {} case",
            start.elapsed().as_secs_f64(),
            cohort.cases.len()
        );
        Ok(())
    };
    for _ in 0..RUNS {
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        timed("prepared")?;
        timed("from the cache")?;
    }
    Ok(())
}

/// A head-sized ellipsoid of tissue with noise, zero outside; a ball of label 4 for the last file.
fn voxel([z, y, x]: [usize; 3], number: usize) -> i16 {
    let place = |at: usize, side: usize| 2.0 * at as f32 / side as f32 - 1.0;
    let (z, y, x) = (place(z, SIDES[0]), place(y, SIDES[1]), place(x, SIDES[2]));
    if number == SEQUENCES.len() {
        return if z * z + (y - 0.2).powi(2) + (x - 0.2).powi(2) < 0.01 {
            4
        } else {
            0
        };
    }
    if z * z + y * y / 0.6 + x * x / 0.4 > 1.0 {
        return 0;
    }
    let bits = [z, y, x]
        .map(f32::to_bits)
        .into_iter()
        .fold(number as u32 + 1, |hash, bits| {
            (hash ^ bits).wrapping_mul(0x9e37_79b1).rotate_left(13)
        });
    400 + (100.0 * (5.0 * (z + y + x + number as f32)).sin()) as i16 + (bits >> 26) as i16
}

/// A little-endian 16-bit file with an identity sform.
fn write(path: &Path, value: impl Fn([usize; 3]) -> i16) -> std::io::Result<()> {
    let mut head = [0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    put(
        40,
        &[
            3,
            SIDES[2] as i16,
            SIDES[1] as i16,
            SIDES[0] as i16,
            1,
            1,
            1,
            1,
        ]
        .map(i16::to_le_bytes)
        .concat(),
    );
    put(70, &[4i16, 16].map(i16::to_le_bytes).concat());
    put(76, &[1f32; 8].map(f32::to_le_bytes).concat());
    put(108, &352f32.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    for row in 0..3 {
        put(280 + 20 * row, &1f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    let mut file = GzEncoder::new(std::fs::File::create(path)?, Compression::default());
    file.write_all(&head)?;
    for z in 0..SIDES[0] {
        let slice = (0..SIDES[1] * SIDES[2])
            .flat_map(|i| value([z, i / SIDES[2], i % SIDES[2]]).to_le_bytes());
        file.write_all(&slice.collect::<Vec<u8>>())?;
    }
    file.finish()?.sync_all()
}
