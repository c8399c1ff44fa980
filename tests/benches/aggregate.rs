//! Checks and averages the updates of 2, 8 and 32 sites, each of the paper's network (40 million
//! parameters, 159 MB), as the coordinator does: from its run folder, with its store, ending with
//! the new model synced to the disk.
//!
//! `cargo bench --bench aggregate [-- N ...]`. Every N runs in a process of its own, so that its
//! peak memory is its own. Needs 160 MB of disk per site below the system's temporary folder.
//! tests/benches/aggregate.py is what to compare with.

#![allow(clippy::unwrap_used, clippy::panic)]

use aggregation::{Average, Checked, named_rule};
use coordinator::store::{CheckOutcome, FileSource, Place, Store};
use protocol::architecture::manifest;
use protocol::codec::transfer::{Arrived, Receiving};
use protocol::coordinator::Contribution;
use protocol::identity::{SiteName, Version};
use protocol::message::{RunId, TaskId, TransferHeader};
use protocol::outcome::RunKind;
use protocol::parameters::{Manifest, ParametersId, to_bytes};
use protocol::settings::Federation;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

const SETTINGS: &str = "
name = 'bench'
rounds = 1
[input]
sequences = ['bravo', 't1_pre', 't1_post', 'flair']
plane = 256
";
const START: Place<'_> = Place::INITIAL;
const FIRST: Place<'_> = Place {
    run: &RunKind::Federation,
    version: Version(1),
};
const REPEATS: usize = 3;

fn main() {
    // Cargo says `--bench` to every benchmark.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let [folder, count] = arguments.as_slice()
        && folder.contains('/')
    {
        return measure(Path::new(folder), count.parse().unwrap());
    }
    let counts: Vec<usize> = arguments
        .iter()
        .map(|count| count.parse().unwrap())
        .collect();
    println!(
        "sites    GB  check s  GB/s  average s  GB/s  peak MB  (a model is {} MB)",
        network().bytes() / 1_000_000
    );
    for count in if counts.is_empty() {
        vec![2, 8, 32]
    } else {
        counts
    } {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let arguments = [path.to_str().unwrap(), &count.to_string()].map(String::from);
        let measured = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .status()
            .unwrap();
        assert!(measured.success());
    }
}

fn federation() -> Federation {
    Federation::from_toml(SETTINGS).unwrap()
}

fn network() -> Manifest {
    let federation = federation();
    manifest(&federation.model, &federation.input)
}

/// A site's update as it arrives: values that differ from site to site, written block by block.
/// None is below zero, because variances are among them.
fn arrive(folder: &Path, site: usize, manifest: &Manifest) -> (PathBuf, ParametersId) {
    let path = folder.join(format!("{site}.f32"));
    let mut file = std::fs::File::create(&path).unwrap();
    let (mut hasher, mut state) = (blake3::Hasher::new(), site as u32 + 1);
    let mut left = manifest.len();
    while left > 0 {
        let block: Vec<f32> = (0..left.min(1 << 16))
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32
            })
            .collect();
        let bytes = to_bytes(&block);
        hasher.update(&bytes);
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        left -= block.len();
    }
    // What is still on its way to the disk would be paid for by the averaging.
    file.sync_all().unwrap();
    (path, ParametersId(*hasher.finalize().as_bytes()))
}

/// What a transfer does besides moving bytes: it hashes them, and looks for values that are not
/// finite.
fn verify(path: &Path, parameters: ParametersId, bytes: u64) -> Arrived {
    let task = TaskId::training(RunId::FEDERATION, Version::INITIAL);
    let mut receiving = Receiving::begin(
        TransferHeader {
            parameters,
            bytes,
            task,
        },
        bytes,
    )
    .unwrap();
    receiving
        .resume(&mut std::fs::File::open(path).unwrap(), bytes)
        .unwrap();
    receiving.finish().unwrap()
}

fn check(
    store: &Store,
    count: usize,
    manifest: &Manifest,
) -> (f64, Vec<(Contribution, Checked<FileSource>)>) {
    let mut seconds = 0.0;
    let take = |site: usize| {
        let (path, parameters) = arrive(&store.incoming(), site, manifest);
        let name: SiteName = format!("site-{site:02}").parse().unwrap();
        let began = Instant::now();
        let arrived = verify(&path, parameters, manifest.bytes());
        let offered = store.open_update(&path, START, manifest).unwrap();
        let outcome = store
            .accept(offered, START, &name, manifest, arrived)
            .unwrap();
        let CheckOutcome::Accepted {
            update: checked, ..
        } = outcome
        else {
            panic!("{outcome:?}");
        };
        seconds += began.elapsed().as_secs_f64();
        // Each lacks one of the four sequences.
        let sequences = federation().input.all().without(site % 4);
        (
            Contribution {
                site: name,
                parameters,
                slices: 100 + site as u64,
                sequences,
                base: Version::INITIAL,
            },
            checked,
        )
    };
    let updates = (0..count).map(take).collect();
    (seconds, updates)
}

fn measure(folder: &Path, count: usize) {
    let (federation, manifest) = (federation(), Arc::new(network()));
    let (store, _) = Store::open(folder, &federation, true).unwrap();
    std::fs::create_dir_all(store.incoming()).unwrap();
    // Streamed: `initial` would hold a model in memory, which averaging does not.
    let (start, _) = arrive(&store.incoming(), count, &manifest);
    std::fs::create_dir_all(store.model(START).parent().unwrap()).unwrap();
    std::fs::rename(start, store.model(START)).unwrap();
    let average = Average {
        manifest: &manifest,
        input: &federation.input,
        rule: &*named_rule(federation.aggregation, None),
    };
    let mut rounds = Vec::new();
    for _ in 0..REPEATS {
        let (checking, updates) = check(&store, count, &manifest);
        let began = Instant::now();
        let model = store.aggregate(&average, FIRST, updates).unwrap();
        rounds.push((began.elapsed().as_secs_f64(), checking, model));
    }
    assert!(
        rounds.windows(2).all(|pair| pair[0].2 == pair[1].2),
        "the same updates give the same model"
    );
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (averaging, checking, model) = rounds[REPEATS / 2];
    let gigabytes = count as f64 * manifest.bytes() as f64 / 1e9;
    let check_speed = gigabytes / checking;
    let speed = gigabytes / averaging;
    let peak = peak_bytes() / 1_000_000;
    println!(
        "{count:5} {gigabytes:5.2} {checking:8.2} {check_speed:5.2} {averaging:10.2} {speed:5.2} \
         {peak:8}  model {model}"
    );
}

/// The most memory this process ever held.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
