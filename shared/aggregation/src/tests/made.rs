//! What rules make of updates that are held in memory.

use super::*;
use protocol::settings::ServerOptimiser;

/// A vector of its own, for rules that hold a source for as long as they like.
pub(super) struct Owned(Vec<f32>);

impl Source for Owned {
    type Error = std::convert::Infallible;

    fn read(&mut self, start: usize, out: &mut [f32]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.0[start..start + out.len()]);
        Ok(())
    }
}

/// A model, and what the rule keeps with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    pub(super) values: Vec<f32>,
    pub(super) state: Vec<f32>,
}

impl Made {
    /// A model of a federation that has not begun.
    pub(super) fn first(values: &[f32]) -> Self {
        Self {
            values: values.to_vec(),
            state: Vec::new(),
        }
    }
}

/// The rule of these settings.
pub(super) fn rule(name: Aggregation, optimiser: Option<ServerOptimiser>) -> Box<dyn Rule<Owned>> {
    match optimiser {
        Some(optimiser) => with_optimiser(named_rule(name, None), optimiser),
        None => named_rule(name, None),
    }
}

/// The model that a rule makes of the sites' updates, in the order in which `arrival` names them.
pub(super) fn make_of(
    rule: &dyn Rule<Owned>,
    manifest: &Manifest,
    input: &Input,
    newest: &Made,
    (sites, arrival): (&[Site], &[usize]),
) -> Made {
    let mut updates = Vec::new();
    for &index in arrival {
        let site = &sites[index];
        let parameters = id(&site.values);
        let contribution = Contribution {
            site: format!("site-{index}").parse().unwrap(),
            parameters,
            slices: site.slices,
            sequences: site.sequences,
            base: Version::INITIAL,
        };
        let source = Owned(site.values.clone());
        let checked = Checked::check(source, manifest, parameters).unwrap();
        updates.push((contribution, checked));
    }
    let mut models = Models::only(Version::INITIAL, Owned(newest.values.clone()));
    if !newest.state.is_empty() {
        models.state = Some(Owned(newest.state.clone()));
    }
    let average = Average {
        manifest,
        input,
        rule,
    };
    let mut made = Made {
        values: Vec::new(),
        state: Vec::new(),
    };
    let write = |block: crate::Made<'_>| {
        made.values.extend_from_slice(block.values);
        made.state.extend_from_slice(block.state);
        Ok(())
    };
    average.run(models, updates, write).unwrap();
    made
}

/// The same for the small model, in the order of the names.
pub(super) fn make(rule: &dyn Rule<Owned>, newest: &Made, sites: &[Site]) -> Made {
    let arrival: Vec<usize> = (0..sites.len()).collect();
    make_of(rule, &manifest(), &input(), newest, (sites, &arrival))
}
