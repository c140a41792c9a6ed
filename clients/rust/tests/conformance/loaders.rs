//! The loaders of a case, which are counted and can be held back by a gate.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use larder_client::{Key, Loaded, Ttl};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    grammar::{Bound, duration, expand},
    value::Value,
};

const LIMIT: Duration = Duration::from_secs(20);

/// The failure of a loader on purpose.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoaderFailed(pub String);

pub type Gate = watch::Sender<bool>;

/// A loader of a case.
pub struct CountedLoader {
    pub begun: AtomicUsize,
    pub keys: Mutex<Vec<Value>>,
    spec: Value,
    gate: Option<Arc<Gate>>,
}

/// The TTL of an argument.
pub fn ttl(value: &Value) -> Option<Ttl> {
    match value.as_text() {
        Some("forever") => Some(Ttl::FOREVER),
        _ => duration(value).map(Ttl::from),
    }
}

/// A list of text.
pub fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_list).unwrap_or_default();
    items.iter().filter_map(Value::as_text).map(str::to_owned).collect()
}

impl CountedLoader {
    pub fn new(spec: Value, gate: Option<Arc<Gate>>) -> Self {
        Self { begun: AtomicUsize::new(0), keys: Mutex::default(), spec, gate }
    }

    async fn begin(&self) -> Result<(), LoaderFailed> {
        self.begun.fetch_add(1, SeqCst);
        if let Some(delay) = self.spec.field("delay").and_then(duration) {
            tokio::time::sleep(delay).await;
        }
        if let Some(gate) = &self.gate {
            let mut opened = gate.subscribe();
            let passed = tokio::time::timeout(LIMIT, opened.wait_for(|opened| *opened)).await;
            passed.expect("the gate is opened").expect("the gate exists");
        }
        match self.spec.field("fail").and_then(Value::as_text) {
            Some(message) => Err(LoaderFailed(message.to_owned())),
            None => Ok(()),
        }
    }

    pub async fn one(self: Arc<Self>) -> Result<Loaded<Value>, LoaderFailed> {
        self.begin().await?;
        let value = self.spec.field("value").map(|value| expand(value, &Bound::new()));
        let mut loaded = Loaded::new(value.unwrap_or(Value::Null));
        if let Some(ttl) = self.spec.field("ttl").and_then(ttl) {
            loaded = loaded.ttl(ttl);
        }
        loaded = loaded.tags(texts(self.spec.field("tags")));
        let is_stored = !matches!(self.spec.field("store"), Some(Value::Bool(false)));
        Ok(if is_stored { loaded } else { loaded.unstored() })
    }

    pub async fn many(
        self: Arc<Self>,
        keys: Vec<Key<'static>>,
    ) -> Result<HashMap<Key<'static>, Value>, LoaderFailed> {
        let names = keys.iter().map(|key| Value::text(key.text())).collect();
        self.keys.lock().push(Value::List(names));
        self.begin().await?;
        let values = self.spec.field("by_key").cloned().unwrap_or(Value::Null);
        let value = |key: Key<'static>| values.field(key.text()).cloned().map(|value| (key, value));
        Ok(keys.into_iter().filter_map(value).collect())
    }
}
