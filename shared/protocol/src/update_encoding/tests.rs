use super::*;
use crate::parameters::ParametersId;
use proptest::prelude::*;

fn manifest() -> Manifest {
    let tensor = |name: &str, shape: &[usize], kind| TensorSpec {
        name: name.into(),
        shape: shape.to_vec(),
        kind,
    };
    Manifest {
        tensors: vec![
            tensor("conv1.weight", &[5, 3, 10, 10], Kind::Weight),
            tensor("bn1.weight", &[5], Kind::Weight),
            tensor("bn1.running_var", &[5], Kind::RunningStatistic),
            tensor("conv2.weight", &[2, 2], Kind::Weight),
        ],
    }
}

const LENGTH: usize = 1500 + 5 + 5 + 4;

fn vector(seed: u32, size: f32) -> Vec<f32> {
    let random = |index: u32| (index ^ seed).wrapping_mul(2_654_435_761) >> 8;
    (0..LENGTH as u32)
        .map(|index| size * (random(index) as f32 / (1 << 23) as f32 - 1.0))
        .collect()
}

fn decode(encoding: &Encoding, start: &[f32], bytes: &[u8], range: Range<usize>) -> Vec<f32> {
    let mut out = Vec::new();
    for span in encoding.spans(range.clone()) {
        let mut values = start[span.values.clone()].to_vec();
        span.decode(
            &bytes[span.bytes.start as usize..span.bytes.end as usize],
            &mut values,
        );
        let inside = range.start.max(span.values.start)..range.end.min(span.values.end);
        out.extend_from_slice(
            &values[inside.start - span.values.start..inside.end - span.values.start],
        );
    }
    out
}

#[test]
fn full_precision_needs_no_encoding_and_the_others_take_half_and_a_quarter() {
    assert!(Encoding::new(&manifest(), Precision::F32).is_none());
    let bytes = |precision| Encoding::new(&manifest(), precision).unwrap().bytes();
    assert_eq!(bytes(Precision::Bf16), 2 * 1504 + 4 * 10);
    // Two groups in the first kernel, one in the second.
    assert_eq!(bytes(Precision::Int8), 1504 + 4 * 3 + 4 * 10);
}

#[test]
fn kernels_are_rounded_and_statistics_are_not() {
    let (start, learnt) = (vector(1, 1.0), vector(2, 1.0));
    for (precision, most) in [
        (Precision::Bf16, 2.0 / 256.0),
        (Precision::Int8, 2.0 / 254.0),
    ] {
        let encoding = Encoding::new(&manifest(), precision).unwrap();
        let bytes = encoding.encode(&start, &learnt, &mut vec![0.0; LENGTH]);
        assert_eq!(bytes.len() as u64, encoding.bytes());
        let sent = decode(&encoding, &start, &bytes, 0..LENGTH);
        assert_eq!(sent[1500..1510], learnt[1500..1510]);
        let wrong = sent
            .iter()
            .zip(&learnt)
            .map(|(sent, learnt)| (sent - learnt).abs())
            .fold(0.0, f32::max);
        assert!(
            wrong > 0.0 && wrong <= most * 1.01,
            "{precision:?}: {wrong}"
        );
    }
}

/// However little a step is, after enough rounds its sum has arrived.
#[test]
fn what_rounding_loses_is_sent_in_later_rounds() {
    let encoding = Encoding::new(&manifest(), Precision::Int8).unwrap();
    let (mut model, mut residual) = (vec![0.0f32; LENGTH], vec![0.0f32; LENGTH]);
    // One value moves a lot, so that the scale is far above the steps of its group.
    let step: Vec<f32> = (0..LENGTH)
        .map(|index| if index % GROUP == 0 { 1.0 } else { 0.001 })
        .collect();
    for _ in 0..100 {
        let learnt: Vec<f32> = model
            .iter()
            .zip(&step)
            .map(|(model, step)| model + step)
            .collect();
        let bytes = encoding.encode(&model, &learnt, &mut residual);
        model = decode(&encoding, &model, &bytes, 0..LENGTH);
    }
    // 0.1 in all, short of at most half a scale; without feedback nothing would ever move.
    assert!((model[1] - 0.1).abs() < 0.5 / 127.0 + 1e-3, "{}", model[1]);
    let lost = encoding.encode(&vec![0.0; LENGTH], &step, &mut vec![0.0; LENGTH]);
    assert_eq!(decode(&encoding, &vec![0.0; LENGTH], &lost, 1..2), [0.0]);
}

#[test]
fn what_did_not_move_or_not_to_speak_of_stays_as_it_is() {
    let encoding = Encoding::new(&manifest(), Precision::Int8).unwrap();
    let start = vector(3, 1.0);
    for moved in [0.0, f32::MIN_POSITIVE] {
        let learnt: Vec<f32> = start.iter().map(|value| value + moved).collect();
        let bytes = encoding.encode(&start, &learnt, &mut vec![0.0; LENGTH]);
        assert_eq!(decode(&encoding, &start, &bytes, 0..LENGTH), start);
    }
}

/// Rounding that changed between releases would make coordinators and sites disagree.
#[test]
fn the_bytes_are_what_they_always_were() {
    let hash = |precision| {
        let encoding = Encoding::new(&manifest(), precision).unwrap();
        let bytes = encoding.encode(&vector(1, 0.5), &vector(2, 0.6), &mut vector(3, 0.01));
        ParametersId(*blake3::hash(&bytes).as_bytes()).to_string()
    };
    assert_eq!(
        [Precision::Bf16, Precision::Int8].map(hash),
        ["e39e3c67", "ab5b90b1"]
    );
}

proptest! {
    #[test]
    fn any_range_decodes_to_the_same_values(from in 0usize..LENGTH, length in 1usize..LENGTH, seed in any::<u32>()) {
        let range = from..LENGTH.min(from + length);
        let (start, learnt) = (vector(seed, 1.0), vector(!seed, 1.0));
        for precision in [Precision::Bf16, Precision::Int8] {
            let encoding = Encoding::new(&manifest(), precision).unwrap();
            let mut residual = vector(seed ^ 7, 0.01);
            let wanted: Vec<f32> = learnt.iter().zip(&residual).map(|(a, b)| b + a).collect();
            let bytes = encoding.encode(&start, &learnt, &mut residual);
            let whole = decode(&encoding, &start, &bytes, 0..LENGTH);
            prop_assert_eq!(&decode(&encoding, &start, &bytes, range.clone()), &whole[range.clone()]);
            let lost: Vec<f32> = wanted.iter().zip(&whole).map(|(wanted, sent)| wanted - sent).collect();
            prop_assert_eq!(lost, residual);
        }
    }
}
