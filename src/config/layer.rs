//! A source of the configuration whose values name their variable or flag.

use config::{Map, Source, Value, ValueKind};

use super::store_file::StoreKeys;

/// A configuration source whose values name the variable or flag that set them.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    root: Map<String, Value>,
}

impl Layer {
    pub(super) fn set(&mut self, path: &[&str], origin: &str, value: String) {
        let value = Value::new(Some(&origin.to_owned()), value);
        insert(&mut self.root, path, value);
    }

    /// The variable or flag that sets a key of the section `store`.
    pub(super) fn store_origin(&self, key: &str) -> Option<&str> {
        let ValueKind::Table(store) = &self.root.get("store")?.kind else { return None };
        store.get(key)?.origin()
    }

    /// The keys of the store that are set.
    pub(super) fn store_keys(&self) -> StoreKeys {
        let has = |key| self.store_origin(key).is_some();
        StoreKeys { has_url: has("url"), has_file: has("url_file") }
    }
}

fn insert(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((name, below)) = path.split_first() else {
        return;
    };
    if below.is_empty() {
        table.insert((*name).to_owned(), value);
        return;
    }
    let child = table.entry((*name).to_owned()).or_insert_with(|| empty_table(&value));
    if !matches!(child.kind, ValueKind::Table(_)) {
        *child = empty_table(&value);
    }
    if let ValueKind::Table(table) = &mut child.kind {
        insert(table, below, value);
    }
}

fn empty_table(like: &Value) -> Value {
    Value::new(like.origin().map(str::to_owned).as_ref(), Map::<String, Value>::new())
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.root.clone())
    }
}
