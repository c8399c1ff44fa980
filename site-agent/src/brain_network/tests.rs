//! The network against the original's numbers (`tests/fixtures/brain_network.py`), its files, and
//! what is done to an image before and after.

use super::weights::Values;
use super::*;
use imaging::nifti::{Form, Source};
use proptest::prelude::*;
use protocol::case::Grid;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Fixture {
    network: Answer,
    file: BTreeMap<String, Stored>,
}

/// What the original answers.
#[derive(Deserialize)]
struct Answer {
    shape: [usize; 3],
    every: usize,
    logits: Vec<f32>,
    tensors: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
struct Stored {
    shape: Vec<usize>,
    values: Vec<f32>,
}

const FILE: &[u8] = include_bytes!("../../../tests/fixtures/brain_network.model");

fn fixture() -> Fixture {
    let text = include_str!("../../../tests/fixtures/brain_network.json");
    serde_json::from_str(text).unwrap()
}

/// The formula of the script: FNV-1a over the name, murmur3's finaliser over the index, numbers in
/// [-1, 1).
fn noise(name: &str, count: usize) -> Vec<f64> {
    let mut seed: u32 = 2_166_136_261;
    for byte in name.bytes() {
        seed = (seed ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    let mut numbers = Vec::with_capacity(count);
    for index in 0..count as u32 {
        let mut x = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9));
        x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
        x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
        numbers.push(f64::from((x ^ x >> 16) >> 8) / f64::from(1 << 23) - 1.0);
    }
    numbers
}

fn value(name: &str, shape: &[usize], u: f64) -> f32 {
    let is_norm = name.contains(".bn") || name.contains("_bn") || name.starts_with("bn_");
    let value = if let [_, rest @ ..] = shape
        && rest.len() == 4
    {
        u * (6.0 / rest.iter().product::<usize>() as f64).sqrt()
    } else if is_norm {
        let level = if name.ends_with("weight") { 1.0 } else { 0.0 };
        0.3 * u + level
    } else {
        0.1 * u
    };
    value as f32
}

/// The fixture's network, but for the layers that only training needs.
fn weights(answer: &Answer) -> Weights {
    let mut tensors = BTreeMap::new();
    for (name, shape) in &answer.tensors {
        let count = shape.iter().product();
        let values = noise(name, count)
            .into_iter()
            .map(|u| value(name, shape, u))
            .collect();
        let shape = shape.clone();
        tensors.insert(name.clone(), Values { shape, values });
    }
    Weights::of(tensors)
}

fn processor() -> Device {
    device::open("cpu").unwrap()
}

fn small_network() -> BrainNetwork {
    BrainNetwork {
        names: vec!["small"],
        networks: vec![UNet::new(&weights(&fixture().network), &processor()).unwrap()],
        device: processor(),
    }
}

fn image(dims: [usize; 3], spacing_mm: [f32; 3], values: Vec<f32>) -> Volume {
    let grid = Grid { dims, spacing_mm };
    Volume {
        grid,
        values,
        source: Source::new(&grid, "RAS", Form::Sform).unwrap(),
        warnings: Vec::new(),
    }
}

#[test]
fn the_network_answers_as_the_original() {
    let answer = fixture().network;
    let network = UNet::new(&weights(&answer), &processor()).unwrap();
    let [depth, height, width] = answer.shape;
    let voxels = depth * height * width;
    let mut input = Vec::with_capacity(voxels);
    for u in noise("input", voxels) {
        input.push((1.7 * u) as f32);
    }
    let data = TensorData::new(input, [1, 1, depth, height, width]);
    let logits = network.forward(Tensor::from_data(data, &processor()));
    assert_eq!(logits.dims(), [1, 2, depth, height, width]);
    let logits = device::read(logits).unwrap();
    let (mut size, mut difference) = (0.0_f32, 0.0_f32);
    for (logit, expected) in logits.iter().step_by(answer.every).zip(&answer.logits) {
        size = size.max(expected.abs());
        difference = difference.max((logit - expected).abs());
    }
    assert_eq!(logits.len().div_ceil(answer.every), answer.logits.len());
    assert!(size > 1.0, "{size}: the answer says nothing");
    assert!(difference < 2e-5 * size, "{difference} of {size}");
}

#[test]
fn a_published_file_is_read_as_pytorch_reads_it() {
    let read = checkpoint::read(FILE).unwrap();
    let expected = fixture().file;
    assert_eq!(
        read.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, tensor) in read {
        assert_eq!(tensor.shape, expected[&name].shape, "{name}");
        assert_eq!(tensor.values, expected[&name].values, "{name}");
    }
    // What the network does not use is not kept, and what it uses survives.
    let weights = Weights::from_checkpoint(FILE).unwrap();
    assert!(weights.values("init_conv.bias", &[2]).is_ok());
    assert!(weights.values("down1.bn.running_mean", &[2]).is_err());
    assert!(weights.values("loc2_seg.weight", &[2, 3, 1, 1, 1]).is_err());
    let safetensors = weights.to_safetensors().unwrap();
    assert_eq!(Weights::from_safetensors(&safetensors), Ok(weights));
}

#[test]
fn weights_that_hd_bets_authors_did_not_publish_are_refused() {
    assert!(matches!(convert(FILE), Err(WeightsError::Unknown(_))));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.safetensors");
    let weights = weights(&fixture().network);
    std::fs::write(&path, weights.to_safetensors().unwrap()).unwrap();
    let error = BrainNetwork::open(&[path], &processor()).unwrap_err();
    assert!(error.to_string().contains("none of the five"), "{error}");
}

#[test]
fn a_file_of_something_else_says_what_is_wrong_with_it() {
    for bytes in [&b""[..], b"PK\x03\x04", b"a long text that is no pickle"] {
        let error = convert(bytes).unwrap_err().to_string();
        assert!(error.contains("0.model"), "{error}");
    }
    let error = Weights::from_safetensors(FILE).unwrap_err().to_string();
    assert!(error.contains("not a safetensors file"), "{error}");
    // The magic number, then a call of a function that is none of the three.
    let call = b"ccollections";
    let start = FILE.windows(call.len()).position(|bytes| bytes == call);
    let start = start.unwrap();
    let mut hostile = FILE[..start].to_vec();
    hostile.extend_from_slice(b"cos\nsystem\n(U\x02lstR.");
    let error = convert(&hostile).unwrap_err().to_string();
    assert!(error.contains("the function os system"), "{error}");
}

#[test]
fn weights_of_another_network_are_refused_by_name() {
    let mut answer = fixture().network;
    answer.tensors.get_mut("loc1.conv2.weight").unwrap()[0] = 3;
    let error = UNet::new(&weights(&answer), &processor()).unwrap_err();
    assert!(error.to_string().contains("loc1.conv2.weight"), "{error}");
    let mut answer = fixture().network;
    answer.tensors.remove("up2.bn.bias");
    let error = UNet::new(&weights(&answer), &processor()).unwrap_err();
    assert!(matches!(error, WeightsError::Missing(_)), "{error}");
}

proptest! {
    /// Files that were cut or changed are refused or read, and never a panic or a large allocation.
    #[test]
    fn no_damage_to_a_file_is_a_panic(
        cut in 0..FILE.len(),
        places in prop::collection::vec((0..FILE.len(), any::<u8>()), 0..4),
    ) {
        prop_assert!(checkpoint::read(&FILE[..cut]).is_err());
        let mut bytes = FILE.to_vec();
        for (place, byte) in places {
            bytes[place] = byte;
        }
        let _ = checkpoint::read(&bytes);
    }

    #[test]
    fn padding_is_undone(dims in prop::array::uniform3(1usize..9), more in prop::array::uniform3(0usize..5)) {
        let padded = [0, 1, 2].map(|axis| dims[axis] + more[axis]);
        let values: Vec<f32> = (1..=dims.iter().product()).map(|value| value as f32).collect();
        let large = pad(&values, dims, padded);
        prop_assert_eq!(large.iter().filter(|&&value| value != 0.0).count(), values.len());
        prop_assert_eq!(unpad(&large, dims, padded), values);
    }
}

#[test]
fn an_image_comes_to_the_networks_spacing_and_no_further() {
    // 155 mm and 240 mm.
    let found = coarse_dims([155, 240, 240], [1.0, 1.0, 1.0]);
    assert_eq!(found, Ok([103, 160, 160]));
    assert_eq!(padded_dims([103, 160, 161]), [128, 160, 176]);
    assert_eq!(
        coarse_dims([24, 256, 1], [6.5, 0.9, 0.4]),
        Ok([104, 154, 1])
    );
    let error = coarse_dims([100, 500, 500], [5.0, 1.0, 1.0]).unwrap_err();
    assert_eq!(error, BrainNetworkError::TooLarge([500, 500, 500]));
}

#[test]
fn standardised_values_have_mean_0_and_variance_1() {
    let mut values = vec![1000.0, 1002.0, 1004.0];
    standardise(&mut values).unwrap();
    let expected = [-1.224_744_9, 0.0, 1.224_744_9];
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6, "{values:?}");
    }
    assert_eq!(standardise(&mut [3.0; 5]), Err(BrainNetworkError::Flat));
}

#[test]
fn only_the_largest_region_is_brain() {
    let mut mask = vec![1, 0, 1, 1, 0, 1, 0, 1, 0];
    // In a plane of 3 x 3 the corner at the lower left is on its own.
    mask[6] = 0;
    mask[3] = 0;
    keep_largest(&mut mask, [1, 3, 3]);
    assert_eq!(mask, [0, 0, 1, 0, 0, 1, 0, 1, 0]);
    let mut none = vec![0; 9];
    keep_largest(&mut none, [1, 3, 3]);
    assert_eq!(none, [0; 9]);
}

#[test]
fn an_image_that_no_network_can_use_is_refused() {
    let network = small_network();
    let dims = [2, 2, 2];
    let flat = image(dims, [1.5; 3], vec![4.0; 8]);
    assert_eq!(network.mask(&flat), Err(BrainNetworkError::Flat));
    let mut broken = flat;
    broken.values[3] = f32::NAN;
    assert_eq!(network.mask(&broken), Err(BrainNetworkError::Values));
}
