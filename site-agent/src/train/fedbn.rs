//! Normalisation layers that a site keeps (FedBN, Li et al. 2021, arXiv 2102.07623).

use protocol::parameters::Parameters;
use std::collections::BTreeSet;

/// The global model with the site's own batch normalisation: weight, bias and running statistics of
/// every layer that has running statistics are the site's, everything else is global.
///
/// Gives the global model unchanged if `own` belongs to another manifest.
#[must_use]
pub fn with_local_norms(global: &Parameters, own: &Parameters) -> Parameters {
    let manifest = global.manifest();
    let mut norms = BTreeSet::new();
    for spec in &manifest.tensors {
        if let Some(layer) = spec.name.strip_suffix(".running_mean") {
            norms.insert(layer);
        }
    }
    if norms.is_empty() || manifest != own.manifest() {
        return global.clone();
    }
    let mut values = global.values().to_vec();
    for (spec, range) in manifest.ranges() {
        if let Some((layer, _)) = spec.name.rsplit_once('.')
            && norms.contains(layer)
        {
            values[range.clone()].copy_from_slice(&own.values()[range]);
        }
    }
    // Both were checked finite and of this manifest's length when they were made.
    Parameters::new(manifest.clone(), values).unwrap_or_else(|_| global.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::parameters::{Kind, Manifest, TensorSpec};
    use std::sync::Arc;

    fn parameters(names: &[&str], value: f32) -> Parameters {
        let mut tensors = Vec::new();
        for name in names {
            tensors.push(TensorSpec {
                name: (*name).into(),
                shape: vec![2],
                kind: Kind::Weight,
            });
        }
        let manifest = Arc::new(Manifest { tensors });
        let values = vec![value; manifest.len()];
        Parameters::new(manifest, values).unwrap()
    }

    #[test]
    fn only_layers_with_running_statistics_are_the_sites_own() {
        let names = [
            "conv1.weight",
            "bn1.weight",
            "bn1.bias",
            "bn1.running_mean",
            "bn1.running_var",
            "head.bias",
        ];
        let mixed = with_local_norms(&parameters(&names, 1.0), &parameters(&names, 2.0));
        let firsts: Vec<f32> = mixed.tensors().map(|(_, values)| values[0]).collect();
        assert_eq!(firsts, [1.0, 2.0, 2.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn a_model_of_another_manifest_leaves_the_global_one_alone() {
        let global = parameters(&["bn1.weight", "bn1.running_mean"], 1.0);
        let other = parameters(&["bn1.running_mean"], 2.0);
        assert_eq!(with_local_norms(&global, &other), global);
    }
}
