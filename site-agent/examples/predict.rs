//! Predicts the lesions of a synthetic patient, with all sequences and with each one missing.
//!
//! ```sh
//! cargo run --release --locked --example predict -- runs/demo/models/federation.safetensors
//! ```
//!
//! Without a model file it uses a tiny network with untrained weights, whose results mean nothing.

use metrics::sequence::SequenceSet;
use metrics::voxel::sigmoid;
use protocol::architecture::{initial, manifest};
use protocol::model_file;
use protocol::parameters::Parameters;
use protocol::settings::{Federation, Input, Model};
use site_agent::data::{self, Archives};
use site_agent::phantom::{self, Common, ScannerChoice, Site};
use site_agent::predictor::Predictor;
use std::error::Error;
use std::sync::Arc;

/// The settings of the network that is used without a model file.
const TINY: &str = "
name = 'untrained'
rounds = 1
[input]
sequences = ['bravo', 't1_pre', 't1_post', 'flair']
plane = 64
[model]
preset = 'tiny'
";

/// Slices that the network is shown at once.
const BATCH: usize = 8;

struct Network {
    model: Model,
    input: Input,
    parameters: Parameters,
    /// The probability from which a voxel is lesion.
    threshold: f32,
}

/// The `[data]` table that is written with the phantoms.
#[derive(serde::Deserialize)]
struct DataFile {
    data: Archives,
}

fn main() -> Result<(), Box<dyn Error>> {
    let network = match std::env::args().nth(1) {
        Some(path) => read_network(&path)?,
        None => untrained_network()?,
    };
    let folder = tempfile::tempdir()?;

    // One patient, as files. A site has its own files and [data] table instead.
    let site = Site {
        name: "phantom".into(),
        cases: 1,
        lacks: Vec::new(),
        scanner: ScannerChoice::Reference,
    };
    let cohort = phantom::Cohort::new(&Common::default(), &site)?;
    let written = phantom::write(&folder.path().join("images"), &cohort, &mut |_| ())?;
    let table: DataFile = toml::from_str(&std::fs::read_to_string(&written.data)?)?;

    // Reads, checks and normalises the images, and caches the result in the work folder.
    let work = folder.path().join("work");
    let cohort = data::open(&table.data, &network.input, &work, &mut |_, _| ())?;
    let case = cohort.cases.first().ok_or("no case")?.load()?;
    println!("{}: {} lesions in the reference", case.id, written.lesions);

    let device = site_agent::device::open("cpu")?;
    let predictor = Predictor::new(
        &[network.parameters],
        (&network.model, &network.input),
        BATCH,
        &device,
    )?;
    let reference = case.native.lesion.as_deref().ok_or("no reference")?;
    for shown in subsets(case.present()) {
        let logits = predictor.logits(&case, 0..case.depth(), shown, |_, _| ())?;
        println!(
            "  {:30} Dice {:.3}",
            shown.label(&network.input.sequences),
            dice(&logits, reference, network.threshold)
        );
    }
    Ok(())
}

fn read_network(path: &str) -> Result<Network, Box<dyn Error>> {
    let loaded = model_file::decode(&std::fs::read(path)?)?;
    Ok(Network {
        model: loaded.card.model,
        input: loaded.card.input,
        parameters: loaded.parameters,
        threshold: loaded.card.operating_points.dice.unwrap_or(0.5),
    })
}

fn untrained_network() -> Result<Network, Box<dyn Error>> {
    let federation = Federation::from_toml(TINY)?;
    let manifest = Arc::new(manifest(&federation.model, &federation.input));
    Ok(Network {
        parameters: initial(&manifest, 1),
        model: federation.model,
        input: federation.input,
        threshold: 0.5,
    })
}

/// All sequences, and all but each one.
fn subsets(all: SequenceSet) -> Vec<SequenceSet> {
    let mut subsets = vec![all];
    for sequence in all.iter() {
        subsets.push(all.without(sequence));
    }
    subsets
}

/// The overlap of the voxels from `threshold` on with the reference: 1 is perfect, 0 is none.
fn dice(logits: &[f32], reference: &[u8], threshold: f32) -> f64 {
    let mut both = 0;
    let mut either = 0;
    for (&logit, &lesion) in logits.iter().zip(reference) {
        let called = sigmoid(logit) >= threshold;
        both += u64::from(called && lesion == 1);
        either += u64::from(called) + u64::from(lesion == 1);
    }
    2.0 * both as f64 / either.max(1) as f64
}
