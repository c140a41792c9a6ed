//! Converts the keys of entries.

use std::collections::BTreeMap;

use super::Checked;
use crate::{
    model::{EntryKey, Namespace},
    pb::v1 as pb,
};

/// The key of a request that names one entry.
pub(in crate::rpc) fn entry_key(
    namespace: &str,
    key: &str,
    params: &BTreeMap<String, String>,
) -> Checked<EntryKey> {
    EntryKey::new(Namespace::new(namespace)?, key, pairs(params))
}

/// The keys of a batch.
pub(in crate::rpc) fn entry_keys(refs: &[pb::KeyRef]) -> Checked<Vec<EntryKey>> {
    let mut keys: Vec<EntryKey> = Vec::with_capacity(refs.len());
    for (index, key_ref) in refs.iter().enumerate() {
        let key = entry_key_after(keys.last().map(EntryKey::namespace), key_ref);
        keys.push(key.map_err(|violation| violation.within(&format!("keys[{index}].")))?);
    }
    Ok(keys)
}

/// Consecutive keys of a batch often share their namespace, which is then validated only once.
fn entry_key_after(previous: Option<&Namespace>, key_ref: &pb::KeyRef) -> Checked<EntryKey> {
    let namespace = match previous {
        Some(namespace) if namespace.as_str() == key_ref.namespace => namespace.clone(),
        _ => Namespace::new(&key_ref.namespace)?,
    };
    EntryKey::new(namespace, &key_ref.key, pairs(&key_ref.params))
}

fn pairs(params: &BTreeMap<String, String>) -> impl ExactSizeIterator<Item = (&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key_ref(namespace: &str, key: &str) -> pb::KeyRef {
        pb::KeyRef {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            params: BTreeMap::default(),
        }
    }

    #[test]
    fn keys_of_a_batch_equal_keys_of_single_requests() {
        let params = BTreeMap::from([("page".to_owned(), "2".to_owned())]);
        let refs = [
            key_ref("one", "a"),
            pb::KeyRef { params: params.clone(), ..key_ref("one", "a") },
            key_ref("two", "a"),
        ];
        let expected = [
            entry_key("one", "a", &BTreeMap::default()).unwrap(),
            entry_key("one", "a", &params).unwrap(),
            entry_key("two", "a", &BTreeMap::default()).unwrap(),
        ];
        assert_eq!(entry_keys(&refs).unwrap(), expected);
        assert_ne!(expected[0], expected[1]);
    }

    #[test]
    fn violation_in_a_batch_names_the_index() {
        let invalid_key = entry_keys(&[key_ref("one", "a"), key_ref("one", "")]).unwrap_err();
        assert_eq!(invalid_key.field(), "keys[1].key");
        let invalid_namespace = entry_keys(&[key_ref("one", "a"), key_ref("ONE", "a")]);
        assert_eq!(invalid_namespace.unwrap_err().field(), "keys[1].namespace");
    }
}
