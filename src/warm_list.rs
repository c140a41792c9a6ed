//! Warm lists: the keys that the operator names in the configuration or in a file.

use std::{collections::BTreeMap, io, num::NonZeroU32, path::PathBuf};

use crate::{
    cache::WarmPlan,
    config::WarmConfig,
    model::{EntryKey, Namespace},
};

/// Maximum number of keys of one warm list.
const MAX_WARM_LIST: usize = 100_000;

/// Reads the warm list of a namespace. Keys that break a rule are logged and left out.
///
/// # Errors
/// The file cannot be read.
pub async fn read(namespace: Namespace, config: WarmConfig) -> io::Result<WarmPlan> {
    let WarmConfig { mut keys, file, interval: _, rate } = config;
    if let Some(file) = file {
        keys.extend(read_file(file).await?);
    }
    if keys.len() > MAX_WARM_LIST {
        tracing::warn!(
            %namespace,
            keys = keys.len(),
            limit = MAX_WARM_LIST,
            "the warm list is cut off at its limit"
        );
        keys.truncate(MAX_WARM_LIST);
    }
    let entry = |key: &String| match EntryKey::new(namespace.clone(), key, std::iter::empty()) {
        Ok(key) => Some((key, BTreeMap::new())),
        Err(violation) => {
            tracing::warn!(%namespace, %violation, "a key of the warm list is left out");
            None
        }
    };
    let keys = keys.iter().filter_map(entry).collect();
    let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
    Ok(WarmPlan { namespace, keys, refresh: false, rate })
}

/// Reads one key per line, without empty lines, up to the limit.
async fn read_file(file: PathBuf) -> io::Result<Vec<String>> {
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = read.map_err(io::Error::other)??;
    let keys = text.lines().filter(|line| !line.is_empty()).take(MAX_WARM_LIST);
    Ok(keys.map(str::to_owned).collect())
}
