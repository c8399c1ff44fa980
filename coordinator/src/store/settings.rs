//! `settings.json`: a run folder belongs to a federation with these settings, and to no other.

use super::{Store, StoreError, json};
use protocol::settings::Federation;
use std::path::Path;

impl Store {
    pub(super) fn compare_settings(
        &self,
        path: &Path,
        text: &[u8],
        federation: &Federation,
    ) -> Result<(), StoreError> {
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: path.into(),
            reason: error.to_string(),
        };
        // The folder's may lack keys that came since: they had the defaults that they are read
        // with.
        let old: Federation = serde_json::from_slice(text).map_err(damaged)?;
        // Through text: a value tree would hold an f32 with the digits of an f64.
        let tree =
            |settings: &Federation| serde_json::from_slice(&json(settings, path)?).map_err(damaged);
        let (old, new): (serde_json::Value, serde_json::Value) = (tree(&old)?, tree(federation)?);
        let mut differences = Vec::new();
        compare("", &old, &new, &mut differences);
        if differences.is_empty() {
            return Ok(());
        }
        Err(StoreError::Settings {
            folder: self.root.clone(),
            differences,
        })
    }
}

/// Every key that differs, with both values.
fn compare(
    key: &str,
    old: &serde_json::Value,
    new: &serde_json::Value,
    differences: &mut Vec<String>,
) {
    use serde_json::Value;
    let below = |name: &str| {
        if key.is_empty() {
            name.to_string()
        } else {
            format!("{key}.{name}")
        }
    };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let value = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(&below(name), &value(old), &value(new), differences);
            }
        }
        _ if old == new => {}
        _ => differences.push(format!("{key} was {old} and is {new}")),
    }
}
