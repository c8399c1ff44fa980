use super::*;
use crate::operating::OperatingPoints;
use crate::settings::{Layout, Norm};
use metrics::lesion::FrocPoint;
use proptest::prelude::*;
use safetensors::tensor::TensorView;

type Specs = Vec<(String, Dtype, Vec<usize>)>;

fn card() -> ModelCard {
    let model = Model {
        layout: Layout::ResNet18,
        width: 4,
        output_stride: 8,
        rates: [1, 2, 3],
        norm: Norm::Batch,
        head_dropout: 0.1,
    };
    let sequences = ["t1", "flair"].map(String::from).to_vec();
    let input = Input {
        sequences,
        slices: 3,
        plane: 32,
        spacing_mm: Some(0.9),
        clip_percentiles: Some([0.5, 99.5]),
    };
    let point = FrocPoint {
        threshold: 0.5,
        sensitivity: 0.75,
        false_positives: 1.5,
        false_positives_10mm3: 0.25,
    };
    let points = OperatingPoints {
        dice: Some(0.37),
        youden: Some(0.03),
        patients: 4,
        curve: vec![point],
    };
    ModelCard {
        name: "two-sites".into(),
        input,
        model,
        round: 7,
        operating_points: points,
    }
}

fn parameters(card: &ModelCard) -> Parameters {
    initial(&Arc::new(manifest(&card.model, &card.input)), 5)
}

/// A state dict as torchvision would save it: `colours` stem channels, `classes` outputs, and what
/// it keeps besides.
fn state_dict(colours: usize, classes: usize, change: impl Fn(&mut Specs)) -> Vec<u8> {
    let card = card();
    let mut specs: Vec<_> = manifest(&card.model, &card.input)
        .tensors
        .into_iter()
        .map(|mut spec| {
            match spec.name.as_str() {
                STEM => spec.shape[1] = colours,
                "classifier.4.weight" | "classifier.4.bias" => spec.shape[0] = classes,
                _ => {}
            }
            (spec.name, Dtype::F32, spec.shape)
        })
        .collect();
    specs.push(("aux_classifier.0.weight".into(), Dtype::F32, vec![2]));
    specs.push((
        "backbone.bn1.num_batches_tracked".into(),
        Dtype::I64,
        vec![],
    ));
    change(&mut specs);
    let data = |count: usize| {
        (0..count)
            .flat_map(|i| (1.0 + i as f32).to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let buffers: Vec<_> = specs
        .iter()
        .map(|(_, dtype, shape)| data(shape.iter().product::<usize>() * dtype.bitsize() / 32))
        .collect();
    let views = specs
        .iter()
        .zip(&buffers)
        .map(|((name, dtype, shape), bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
    safetensors::serialize(views, None).unwrap()
}

fn import(bytes: &[u8]) -> Result<Parameters, ModelFileError> {
    import_state_dict(bytes, &card().model, &card().input).map(|imported| imported.parameters)
}

/// The header's text, whose length is before it.
fn text_of(bytes: &[u8]) -> String {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    String::from_utf8(bytes[8..8 + length].to_vec()).unwrap()
}

/// The same weights under another header.
fn under(header: &str, bytes: &[u8]) -> Vec<u8> {
    let data = &bytes[8 + text_of(bytes).len()..];
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// As the release before wrote it: Youden's threshold alone, and no hash.
fn of_the_version_before(bytes: &[u8]) -> Vec<u8> {
    let text = text_of(bytes);
    let card = serde_json::to_string(&card()).unwrap();
    let points = serde_json::to_string(&card_points()).unwrap();
    let old = card.replace(
        &format!(r#""operating_points":{points}"#),
        r#""threshold":0.25"#,
    );
    let old = format!(
        r#""card_version":"1","card":{}}}"#,
        serde_json::to_string(&old).unwrap()
    );
    let (start, end) = (
        text.find(r#""card_version""#).unwrap(),
        text.find(r#","backbone.conv1"#).unwrap(),
    );
    under(&(text[..start].to_owned() + &old + &text[end..]), bytes)
}

fn card_points() -> OperatingPoints {
    card().operating_points
}

#[test]
fn a_model_comes_back_as_it_was_and_equal_models_are_equal_bytes() {
    let (card, parameters) = (card(), parameters(&card()));
    let bytes = encode(&parameters, &card).unwrap();
    assert_eq!(bytes, encode(&parameters, &card).unwrap());
    assert!(
        bytes.ends_with(&to_bytes(parameters.values())),
        "the values in manifest order"
    );
    assert_eq!(
        decode(&bytes),
        Ok(Loaded {
            card,
            parameters,
            hashed: true
        })
    );
}

#[test]
fn every_turned_bit_of_a_model_file_is_refused() {
    let bytes = encode(&parameters(&card()), &card()).unwrap();
    let data = 8 + text_of(&bytes).len();
    // Every byte of the hashes and the card, and some of the tensors' names and of the weights.
    let places = (0..1200)
        .chain((1200..data).step_by(41))
        .chain((data..bytes.len()).step_by(9973));
    for at in places.chain([bytes.len() - 1]) {
        let mut turned = bytes.clone();
        turned[at] ^= 1 << (at % 8);
        assert!(decode(&turned).is_err(), "byte {at}");
        assert!(import(&turned).is_err(), "byte {at}");
    }
    let mut turned = bytes.clone();
    turned[data] ^= 1;
    assert!(
        decode(&turned)
            .unwrap_err()
            .to_string()
            .contains("damaged or was changed: its weights")
    );
    let mut turned = bytes;
    let at = turned
        .windows(9)
        .position(|window| window == b"two-sites")
        .unwrap();
    turned[at] ^= 1;
    assert_eq!(decode(&turned), Err(ModelFileError::Header));
}

#[test]
fn a_file_of_the_version_before_is_read_and_known_to_have_no_hash() {
    let old = of_the_version_before(&encode(&parameters(&card()), &card()).unwrap());
    let loaded = decode(&old).unwrap();
    assert!(!loaded.hashed);
    assert_eq!(
        loaded.card.operating_points,
        OperatingPoints {
            youden: Some(0.25),
            ..OperatingPoints::default()
        }
    );
    assert_eq!(loaded.parameters, parameters(&card()));
    let imported = import_state_dict(&old, &card().model, &card().input).unwrap();
    assert_eq!(
        (imported.parameters, imported.hashed),
        (parameters(&card()), false)
    );
}

#[test]
fn a_model_of_equal_shape_that_is_another_network_is_not_begun_from() {
    let bytes = encode(&parameters(&card()), &card()).unwrap();
    let refused = |change: &dyn Fn(&mut ModelCard)| {
        let mut other = card();
        change(&mut other);
        import_state_dict(&bytes, &other.model, &other.input)
            .unwrap_err()
            .to_string()
    };
    let words = refused(&|card| card.input.sequences.reverse());
    assert!(
        words.contains("input.sequences") && words.contains(r#"["flair", "t1"]"#),
        "{words}"
    );
    assert!(refused(&|card| card.model.rates = [1, 2, 4]).contains("model.rates"));
    assert!(import(&bytes).is_ok());
}

#[test]
fn a_card_of_another_network_is_not_written() {
    let parameters = parameters(&card());
    let mut other = card();
    other.input.slices = 5;
    let error = encode(&parameters, &other).unwrap_err();
    assert!(
        matches!(error, ModelFileError::Shape { ref tensor, .. } if tensor == STEM),
        "{error}"
    );
    other.input.slices = 4;
    assert!(matches!(
        encode(&parameters, &other),
        Err(ModelFileError::Settings(_))
    ));
}

#[test]
fn a_card_that_cannot_be_is_refused() {
    let bytes = of_the_version_before(&encode(&parameters(&card()), &card()).unwrap());
    let replaced = |from: &str, to: &str| {
        let text = text_of(&bytes);
        assert!(text.contains(from), "{text}");
        decode(&under(&text.replacen(from, to, 1), &bytes))
            .unwrap_err()
            .to_string()
    };
    assert!(replaced(r#"width\":4"#, r#"width\":0"#).contains("model.width"));
    assert!(replaced(r#"threshold\":0.25"#, r#"threshold\":9.25"#).contains("no probability"));
    assert!(replaced(r#"round\""#, r#"rouns\""#).contains("rouns"));
    assert!(replaced(r#""card_version":"1""#, r#""card_version":"3""#).contains("no model card"));
    assert!(
        replaced("backbone.layer4.1.bn2.bias", "backbone.layer4.9.bn2.bias")
            .contains("backbone.layer4.9")
    );
}

#[test]
fn values_that_are_no_model_are_named_where_no_hash_tells() {
    let whole = of_the_version_before(&encode(&parameters(&card()), &card()).unwrap());
    let mut bytes = whole.clone();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(
        decode(&bytes)
            .unwrap_err()
            .to_string()
            .starts_with("classifier.4.bias")
    );
    assert!(
        import(&bytes)
            .unwrap_err()
            .to_string()
            .starts_with("classifier.4.bias")
    );
    let manifest = manifest(&card().model, &card().input);
    let variance = manifest
        .ranges()
        .find(|(spec, _)| spec.name == "backbone.bn1.running_var")
        .unwrap()
        .1;
    let at = end - 4 * manifest.len() + 4 * variance.start;
    let mut bytes = whole;
    bytes[at..at + 4].copy_from_slice(&(-1.0f32).to_le_bytes());
    let words = decode(&bytes).unwrap_err().to_string();
    assert!(
        words.contains("backbone.bn1.running_var") && words.contains("below zero"),
        "{words}"
    );
}

#[test]
fn a_state_dict_of_three_colours_and_21_classes_fills_the_network() {
    let parameters = import(&state_dict(3, 21, |_| {})).unwrap();
    let values = |name: &str| {
        parameters
            .tensors()
            .find(|(spec, _)| spec.name == name)
            .unwrap()
            .1
    };
    // Red, green and blue hold i + 1, i + 50 and i + 99 at pixel i; there are six channels.
    let stem = values(STEM);
    assert_eq!(stem[..49], stem[5 * 49..6 * 49]);
    assert!((stem[0] - (1.0 + 50.0 + 99.0) / 6.0).abs() < 1e-5);
    let grey: f32 = stem[..6 * 49].iter().sum();
    let colours: f32 = (1..=147).map(|i| i as f32).sum();
    assert!(
        (grey / colours - 1.0).abs() < 1e-5,
        "the response to equal channels is the photograph's"
    );
    assert_eq!(values("backbone.bn1.running_var"), [1.0, 2.0, 3.0, 4.0]);
    let untrained = initial(parameters.manifest(), 0);
    let fresh = |name: &str| {
        untrained
            .tensors()
            .find(|(spec, _)| spec.name == name)
            .unwrap()
            .1
            .to_vec()
    };
    assert_eq!(values("classifier.4.weight"), fresh("classifier.4.weight"));
    assert_eq!(values("classifier.4.bias"), fresh("classifier.4.bias"));
}

#[test]
fn a_state_dict_of_our_own_shape_keeps_its_stem_and_its_classifier() {
    let parameters = import(&state_dict(6, 1, |_| {})).unwrap();
    let first = |name: &str| {
        parameters
            .tensors()
            .find(|(spec, _)| spec.name == name)
            .unwrap()
            .1[..2]
            .to_vec()
    };
    assert_eq!(
        (first(STEM), first("classifier.4.weight")),
        (vec![1.0, 2.0], vec![1.0, 2.0])
    );
}

#[test]
fn a_state_dict_that_does_not_fit_says_where() {
    let refused = |change: &dyn Fn(&mut Specs)| import(&state_dict(3, 21, change)).unwrap_err();
    assert_eq!(
        refused(&|specs| specs[6].1 = Dtype::F64),
        ModelFileError::Type {
            tensor: "backbone.layer1.0.bn1.weight".into(),
            found: "F64".into()
        }
    );
    assert_eq!(
        refused(&|specs| drop(specs.remove(1))),
        ModelFileError::Missing {
            tensor: "backbone.bn1.weight".into()
        }
    );
    assert_eq!(
        refused(&|specs| specs[0].0 = "fc.weight".into()),
        ModelFileError::Unexpected {
            tensor: "fc.weight".into()
        }
    );
    let wider = refused(&|specs| specs[5].2 = vec![8, 4, 3, 3]);
    assert!(
        matches!(wider, ModelFileError::Shape { ref expected, .. } if *expected == [4, 4, 3, 3]),
        "{wider}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic(at in 0.0f64..1.0, byte: u8, cut: bool, head: bool) {
        let mut bytes = encode(&parameters(&card()), &card()).unwrap();
        let reach = if head { 4000 } else { bytes.len() };
        let at = (at * reach as f64) as usize;
        if cut {
            bytes.truncate(at);
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(import(&bytes).is_err());
        } else {
            let same = bytes[at] == byte;
            bytes[at] = byte;
            prop_assert_eq!(decode(&bytes).is_ok(), same);
            prop_assert_eq!(import(&bytes).is_ok(), same);
        }
    }

    #[test]
    fn garbage_is_no_model(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(import(&bytes).is_err());
    }
}
