//! Warm lists: the keys that the operator names in the configuration or in a file.

use std::{collections::BTreeMap, io, num::NonZeroU32, path::PathBuf, time::Duration};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::{
    cache::WarmPlan,
    config::WarmConfig,
    model::{EntryKey, Namespace},
};

/// Maximum number of keys of one warm list.
const MAX_WARM_LIST: usize = 100_000;
/// The shortest time between two lines about one list.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Reads the warm list of a namespace. Keys that break a rule are logged and left out.
///
/// # Errors
/// The file cannot be read.
pub async fn read(namespace: Namespace, config: WarmConfig) -> io::Result<WarmPlan> {
    let WarmConfig { mut keys, file, interval: _, rate } = config;
    if let Some(file) = file {
        // The error of the system names no file.
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        keys.extend(read_file(file.clone()).await.map_err(named)?);
    }
    if keys.len() > MAX_WARM_LIST {
        if is_line_due(&namespace) {
            tracing::warn!(
                %namespace,
                keys = keys.len(),
                limit = MAX_WARM_LIST,
                "the warm list is cut off at its limit"
            );
        }
        keys.truncate(MAX_WARM_LIST);
    }
    // One line for all of them: a list may have 100,000.
    let (mut left_out, mut first) = (0_usize, None);
    let entry = |key: &String| match EntryKey::new(namespace.clone(), key, std::iter::empty()) {
        Ok(key) => Some((key, BTreeMap::new())),
        Err(violation) => {
            left_out += 1;
            first.get_or_insert(violation);
            None
        }
    };
    let keys = keys.iter().filter_map(entry).collect();
    if let Some(violation) = first
        && is_line_due(&namespace)
    {
        tracing::warn!(
            %namespace,
            count = left_out,
            %violation,
            "keys of the warm list are left out"
        );
    }
    let rate = NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
    Ok(WarmPlan { namespace, keys, refresh: false, rate })
}

/// Whether a line about the warm list of a namespace may be logged: calls to Warm cause them. Only
/// configured namespaces have lists.
fn is_line_due(namespace: &Namespace) -> bool {
    static LOGS: Mutex<BTreeMap<Namespace, LogInterval>> = Mutex::new(BTreeMap::new());
    let mut logs = LOGS.lock();
    let log = logs.entry(namespace.clone()).or_insert_with(|| LogInterval::new(LINE_INTERVAL));
    log.occurred().is_some()
}

/// Reads one key per line, without empty lines, up to the limit.
async fn read_file(file: PathBuf) -> io::Result<Vec<String>> {
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = read.map_err(io::Error::other)??;
    let keys = text.lines().filter(|line| !line.is_empty()).take(MAX_WARM_LIST);
    Ok(keys.map(str::to_owned).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config(keys: &[&str], file: Option<PathBuf>) -> WarmConfig {
        let keys = keys.iter().map(ToString::to_string).collect();
        WarmConfig { keys, file, interval: None, rate: 50 }
    }

    async fn keys(config: WarmConfig) -> Vec<String> {
        let plan = read(Namespace::new("user").unwrap(), config).await.unwrap();
        plan.keys.iter().map(|(key, _)| key.key().to_owned()).collect()
    }

    #[tokio::test]
    async fn keys_of_the_file_follow_those_of_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys");
        std::fs::write(&file, "b\n\n c\r\nd").unwrap();
        assert_eq!(keys(config(&["a"], Some(file))).await, ["a", "b", " c", "d"]);
    }

    #[tokio::test]
    async fn invalid_keys_are_left_out() {
        let too_long = "k".repeat(crate::model::MAX_KEY_BYTES + 1);
        assert_eq!(keys(config(&["a", "", &too_long, "b"], None)).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn list_is_cut_off_at_its_limit() {
        let mut long = config(&[], None);
        long.keys = (0..=MAX_WARM_LIST).map(|number| number.to_string()).collect();
        assert_eq!(keys(long).await.len(), MAX_WARM_LIST);
    }

    #[tokio::test]
    async fn unreadable_file_is_an_error_that_names_it() {
        let namespace = Namespace::new("user").unwrap();
        let missing = config(&["a"], Some(PathBuf::from("/nonexistent/keys")));
        let error = read(namespace, missing).await.err().unwrap().to_string();
        assert!(error.starts_with("/nonexistent/keys: "), "{error}");
    }
}
