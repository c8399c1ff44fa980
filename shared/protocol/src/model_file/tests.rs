use super::*;
use crate::federation::{Layout, Norm};
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
    let input = Input { sequences, slices: 3, plane: 32, spacing_mm: Some(0.9), clip_percentiles: Some([0.5, 99.5]) };
    ModelCard { name: "two-sites".into(), input, model, round: 7, threshold: Some(0.37) }
}

fn parameters(card: &ModelCard) -> Parameters {
    initial(&Arc::new(manifest(&card.model, &card.input)), 5)
}

/// A state dict as torchvision would save it: `colours` stem channels, `classes` outputs, and what it keeps beside.
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
    specs.push(("backbone.bn1.num_batches_tracked".into(), Dtype::I64, vec![]));
    change(&mut specs);
    let data = |count: usize| (0..count).flat_map(|i| (1.0 + i as f32).to_le_bytes()).collect::<Vec<u8>>();
    let buffers: Vec<_> =
        specs.iter().map(|(_, dtype, shape)| data(shape.iter().product::<usize>() * dtype.bitsize() / 32)).collect();
    let views = specs
        .iter()
        .zip(&buffers)
        .map(|((name, dtype, shape), bytes)| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn import(bytes: &[u8]) -> Result<Parameters, ModelFileError> {
    import_state_dict(bytes, &card().model, &card().input)
}

#[test]
fn a_model_comes_back_as_it_was_and_equal_models_are_equal_bytes() {
    let (card, parameters) = (card(), parameters(&card()));
    let bytes = encode(&parameters, &card).unwrap();
    assert_eq!(bytes, encode(&parameters, &card).unwrap());
    assert!(bytes.ends_with(&to_bytes(parameters.values())), "the values in manifest order");
    assert_eq!(decode(&bytes), Ok((card, parameters)));
}

#[test]
fn a_card_of_another_network_is_not_written() {
    let parameters = parameters(&card());
    let mut other = card();
    other.input.slices = 5;
    let error = encode(&parameters, &other).unwrap_err();
    assert!(matches!(error, ModelFileError::Shape { ref tensor, .. } if tensor == STEM), "{error}");
    other.input.slices = 4;
    assert!(matches!(encode(&parameters, &other), Err(ModelFileError::Settings(_))));
}

#[test]
fn a_card_that_cannot_be_is_refused() {
    let bytes = encode(&parameters(&card()), &card()).unwrap();
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "so that the header keeps its length");
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        decode(&bytes).unwrap_err().to_string()
    };
    assert!(replaced(r#"width\":4"#, r#"width\":0"#).contains("model.width"));
    assert!(replaced(r#"threshold\":0.37"#, r#"threshold\":9.37"#).contains("no probability"));
    assert!(replaced(r#"round"#, r#"rouns"#).contains("rouns"));
    assert!(replaced(r#""card_version":"1""#, r#""card_version":"2""#).contains("no model card"));
    assert!(replaced("backbone.layer4.1.bn2.bias", "backbone.layer4.9.bn2.bias").contains("backbone.layer4.9"));
}

#[test]
fn not_a_number_in_a_file_is_named() {
    let mut bytes = encode(&parameters(&card()), &card()).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(decode(&bytes).unwrap_err().to_string().starts_with("classifier.4.bias"));
}

#[test]
fn a_state_dict_of_three_colours_and_21_classes_fills_the_network() {
    let parameters = import(&state_dict(3, 21, |_| {})).unwrap();
    let values = |name: &str| parameters.tensors().find(|(spec, _)| spec.name == name).unwrap().1;
    // Red, green and blue hold i + 1, i + 50 and i + 99 at pixel i; there are six channels.
    let stem = values(STEM);
    assert_eq!(stem[..49], stem[5 * 49..6 * 49]);
    assert!((stem[0] - (1.0 + 50.0 + 99.0) / 6.0).abs() < 1e-5);
    let grey: f32 = stem[..6 * 49].iter().sum();
    let colours: f32 = (1..=147).map(|i| i as f32).sum();
    assert!((grey / colours - 1.0).abs() < 1e-5, "the response to equal channels is the photograph's");
    assert_eq!(values("backbone.bn1.running_var"), [1.0, 2.0, 3.0, 4.0]);
    let untrained = initial(parameters.manifest(), 0);
    let fresh = |name: &str| untrained.tensors().find(|(spec, _)| spec.name == name).unwrap().1.to_vec();
    assert_eq!(values("classifier.4.weight"), fresh("classifier.4.weight"));
    assert_eq!(values("classifier.4.bias"), fresh("classifier.4.bias"));
}

#[test]
fn a_state_dict_of_our_own_shape_keeps_its_stem_and_its_classifier() {
    let parameters = import(&state_dict(6, 1, |_| {})).unwrap();
    let first = |name: &str| parameters.tensors().find(|(spec, _)| spec.name == name).unwrap().1[..2].to_vec();
    assert_eq!((first(STEM), first("classifier.4.weight")), (vec![1.0, 2.0], vec![1.0, 2.0]));
}

#[test]
fn a_state_dict_that_does_not_fit_says_where() {
    let refused = |change: &dyn Fn(&mut Specs)| import(&state_dict(3, 21, change)).unwrap_err();
    assert_eq!(
        refused(&|specs| specs[6].1 = Dtype::F64),
        ModelFileError::Type { tensor: "backbone.layer1.0.bn1.weight".into(), found: "F64".into() }
    );
    assert_eq!(
        refused(&|specs| drop(specs.remove(1))),
        ModelFileError::Missing { tensor: "backbone.bn1.weight".into() }
    );
    assert_eq!(
        refused(&|specs| specs[0].0 = "fc.weight".into()),
        ModelFileError::Unexpected { tensor: "fc.weight".into() }
    );
    let wider = refused(&|specs| specs[5].2 = vec![8, 4, 3, 3]);
    assert!(matches!(wider, ModelFileError::Shape { ref expected, .. } if *expected == [4, 4, 3, 3]), "{wider}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_file_is_an_error_or_another_model_but_never_a_panic(at in 0.0f64..1.0, byte: u8, cut: bool, head: bool) {
        let mut bytes = encode(&parameters(&card()), &card()).unwrap();
        let reach = if head { 4000 } else { bytes.len() };
        let at = (at * reach as f64) as usize;
        if cut {
            bytes.truncate(at);
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(import(&bytes).is_err());
        } else {
            bytes[at] = byte;
            let _ = (decode(&bytes), import(&bytes));
        }
    }

    #[test]
    fn garbage_is_no_model(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(import(&bytes).is_err());
    }
}
