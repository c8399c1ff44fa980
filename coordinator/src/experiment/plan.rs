//! The `[experiment]` table: which arms there are, and the plan of each arm's run with each seed.

use crate::simulate::plan::{Plan, PlanError};
use protocol::identity::is_valid_name;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The checked settings of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Experiment {
    /// The name in the settings.
    pub(crate) name: String,
    /// The text of the settings file.
    pub(super) text: String,
    /// Each arm is run once with each of these seeds.
    pub(super) seeds: Vec<u64>,
    /// The arms; the others are compared with the first.
    pub(super) arms: Vec<Arm>,
    base: toml::Table,
}

/// One way to train.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arm {
    /// Also the name of its folder.
    pub(super) name: String,
    /// Settings that differ from the file's.
    #[serde(default)]
    set: toml::Table,
    /// Put the images of all training sites in one place.
    #[serde(default)]
    pub(super) pool: bool,
    /// Also train each site alone, and score the consensus of what they learn.
    #[serde(default)]
    pub(super) with_local: bool,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ExperimentError {
    /// Not TOML, a missing table, an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    #[error("experiment.{key}: {reason}")]
    Value { key: String, reason: &'static str },
    #[error("the arm {arm}: {error}")]
    Arm { arm: String, error: PlanError },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    seeds: Vec<u64>,
    #[serde(default)]
    may_pool: bool,
    arms: Vec<Arm>,
}

/// Keys and tables that an arm must not set.
const NOT_FOR_ARMS: [&str; 5] = ["name", "seed", "serve", "simulate", "experiment"];

impl Experiment {
    /// Reads and checks a file with `[simulate]` and `[experiment]` tables, down to every arm's
    /// settings.
    ///
    /// # Errors
    /// [`ExperimentError`] names the key or the arm.
    pub(crate) fn from_toml(text: &str) -> Result<Self, ExperimentError> {
        let mut base: toml::Table = toml::from_str(text)
            .map_err(|error| ExperimentError::Syntax(protocol::text::explain(&error, text)))?;
        let Some(table) = base.remove("experiment") else {
            let what = "there is no [experiment] table: it names the arms and seeds";
            return Err(ExperimentError::Syntax(what.into()));
        };
        let table: Text = table
            .try_into()
            .map_err(|error| ExperimentError::Syntax(format!("experiment: {error}")))?;
        check(&table)?;
        let name = base
            .get("name")
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let experiment = Self {
            name,
            text: text.into(),
            seeds: table.seeds,
            arms: table.arms,
            base,
        };
        for arm in &experiment.arms {
            experiment.plan(arm, 0, 1)?;
        }
        Ok(experiment)
    }

    /// The plan of an arm's run with a seed, for a machine with so many cores. All runs share the
    /// phantoms and the split of the file's own seed.
    ///
    /// # Errors
    /// [`ExperimentError::Arm`]: never for an experiment that was read.
    pub(super) fn plan(&self, arm: &Arm, seed: u64, cores: usize) -> Result<Plan, ExperimentError> {
        match self.checked_plan(arm, seed, cores) {
            Ok(plan) => Ok(plan),
            Err(error) => Err(ExperimentError::Arm {
                arm: arm.name.clone(),
                error,
            }),
        }
    }

    fn checked_plan(&self, arm: &Arm, seed: u64, cores: usize) -> Result<Plan, PlanError> {
        let mut table = self.base.clone();
        let split = table
            .get("seed")
            .cloned()
            .unwrap_or(toml::Value::Integer(1));
        merge(&mut table, &arm.set);
        set_default(&mut table, &["evaluation", "split_seed"], split.clone());
        set_default(&mut table, &["simulate", "phantom", "seed"], split);
        table.insert("name".into(), format!("{}-{}", self.name, arm.name).into());
        table.insert(
            "seed".into(),
            toml::Value::Integer(i64::try_from(seed).unwrap_or(i64::MAX)),
        );
        let text = toml::to_string(&table).map_err(|error| PlanError::Syntax(error.to_string()))?;
        let mut plan = Plan::from_toml(&text, cores)?;
        if arm.pool {
            plan = plan.pooled()?;
            let names: BTreeSet<&str> = plan.sites.iter().map(|site| site.name.as_str()).collect();
            if names.len() < plan.sites.len() {
                return Err(PlanError::SameName(plan.sites[0].name.clone()));
            }
        }
        // Part of the text, so that a run that was started with other values is noticed.
        plan.text.insert_str(
            0,
            &format!("# pool = {}, with_local = {}\n", arm.pool, arm.with_local),
        );
        Ok(plan)
    }
}

fn wrong(key: String, reason: &'static str) -> Result<(), ExperimentError> {
    Err(ExperimentError::Value { key, reason })
}

fn check(table: &Text) -> Result<(), ExperimentError> {
    if table.seeds.iter().collect::<BTreeSet<_>>().len() < table.seeds.len().max(1) {
        return wrong("seeds".into(), "give at least one seed, and none twice");
    }
    if table.seeds.iter().any(|&seed| i64::try_from(seed).is_err()) {
        return wrong("seeds".into(), "a seed does not fit into 63 bits");
    }
    let mut names = BTreeSet::new();
    for arm in &table.arms {
        if !is_valid_name(&arm.name) || arm.name == "consensus" || !names.insert(&arm.name) {
            return wrong(
                format!("arms: {:?}", arm.name),
                "each arm needs a plain name of its own, other than consensus",
            );
        }
        if arm.pool && !table.may_pool {
            let reason = "pool puts all sites' images in one place; say experiment.may_pool = \
                          true if that is allowed";
            return wrong(format!("arms: {}", arm.name), reason);
        }
        if arm.pool && arm.with_local {
            return wrong(
                format!("arms: {}", arm.name),
                "with pool there are no sites that could train alone",
            );
        }
        if arm
            .set
            .keys()
            .any(|key| NOT_FOR_ARMS.contains(&key.as_str()))
        {
            return wrong(
                format!("arms: {}", arm.name),
                "set is for settings of training, not for names, seeds or sites",
            );
        }
    }
    if table.arms.is_empty() {
        wrong("arms".into(), "give at least one arm")
    } else {
        Ok(())
    }
}

/// Sets a value that the file leaves open. A key on the path that is not a table is left for the
/// plan to refuse.
fn set_default(table: &mut toml::Table, path: &[&str], value: toml::Value) {
    match path {
        [] => {}
        [key] => {
            table.entry(*key).or_insert(value);
        }
        [key, rest @ ..] => {
            let inner = table
                .entry(*key)
                .or_insert_with(|| toml::Table::new().into());
            if let Some(inner) = inner.as_table_mut() {
                set_default(inner, rest, value);
            }
        }
    }
}

/// Replaces settings by others, table by table.
fn merge(table: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (table.get_mut(key), value) {
            // A table of one key is a choice, such as { fixed = [...] }: it replaces.
            (Some(toml::Value::Table(old)), toml::Value::Table(new))
                if key != "dropout" && key != "schedule" =>
            {
                merge(old, new);
            }
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::plan::Images;
    use protocol::dropout::DropOut;
    use protocol::settings::{LocalWork, Norm};

    const BASE: &str = "name = 'x'\nrounds = 1\nseed = 7\n[input]\nsequences = ['bravo', 'flair']\n\
        [model]\npreset = 'tiny'\n[training]\nsteps = 10\n\
        [[simulate.sites]]\nname = 'north'\nrole = 'train'\ncases = 3\n\
        [[simulate.sites]]\nname = 'south'\nrole = 'train'\ncases = 3\n\
        [[simulate.sites]]\nname = 'harbour'\nrole = 'evaluate'\ncases = 3\n";
    const ARMS: &str = "[experiment]\nseeds = [1, 2]\nmay_pool = true\n[[experiment.arms]]\nname \
                        = 'dropout'\nwith_local = true\n[[experiment.arms]]\nname = 'fixed'\nset \
                        = { dropout = { fixed = ['flair'] }, model = { norm = 'group' } \
                        }\n[[experiment.arms]]\nname = 'pooled'\npool = true\n";

    fn read(arms: &str) -> Result<Experiment, ExperimentError> {
        Experiment::from_toml(&format!("{BASE}{arms}"))
    }

    #[test]
    fn arms_differ_in_what_they_set_and_share_phantoms_and_split() {
        let experiment = read(ARMS).unwrap();
        let plans: Vec<Plan> = experiment
            .arms
            .iter()
            .map(|arm| experiment.plan(arm, 2, 2).unwrap())
            .collect();
        for plan in &plans {
            assert_eq!(
                (plan.federation.seed, plan.federation.evaluation.split_seed),
                (2, Some(7))
            );
            assert_eq!(plan.phantom["seed"].as_integer(), Some(7));
            assert_eq!(plan.federation.model.width, 16, "the preset stays");
        }
        assert_eq!(plans[0].federation.dropout, DropOut::Uniform);
        assert!(matches!(plans[1].federation.dropout, DropOut::Fixed(_)));
        assert_eq!(
            (
                plans[0].federation.model.norm,
                plans[1].federation.model.norm
            ),
            (Norm::Batch, Norm::Group)
        );
        assert_eq!(plans[2].federation.training.effort, LocalWork::Steps(20));
        assert!(matches!(plans[2].sites[0].images, Images::Pooled(_)));
        assert_eq!(plans[0].federation.name, "x-dropout");
    }

    #[test]
    fn what_cannot_be_an_experiment_is_named() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("").contains("[experiment]"));
        assert!(error(&ARMS.replace("may_pool = true\n", "")).contains("may_pool"));
        assert!(error(&ARMS.replace("[1, 2]", "[1, 1]")).contains("seeds"));
        assert!(error(&ARMS.replace("'fixed'\n", "'dropout'\n")).contains("name of its own"));
        assert!(error(&ARMS.replace("'group'", "'grup'")).contains("fixed"));
        assert!(
            error(&ARMS.replace("dropout = {", "seed = 3, dropout = {")).contains("set is for")
        );
        assert!(error(&ARMS.replace("'pooled'", "'pooled'\nwith_local = true")).contains("alone"));
        assert!(error(&ARMS.replace("seeds = ", "seed = ")).contains("seed"));
    }
}
