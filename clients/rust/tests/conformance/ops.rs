//! The operations of the cases as calls of the library.

use std::sync::Arc;

use larder_client::{
    Condition, DeleteOptions, Error, FetchError, FetchOptions, IncrementOptions, Key, ListOptions,
    Namespace, Patch, PatchOptions, ReadOptions, Targets, WriteOptions,
};

use crate::{
    data, functions,
    grammar::duration,
    loaders::{CountedLoader, LoaderFailed, texts, ttl},
    value::Value,
};

/// Why a call has failed.
#[derive(Debug)]
pub enum Failed {
    Library(Error),
    Loader(LoaderFailed),
    Cancelled,
    /// The runner cannot make the call.
    #[expect(dead_code, reason = "the reason is shown")]
    Runner(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<FetchError<LoaderFailed>> for Failed {
    fn from(error: FetchError<LoaderFailed>) -> Self {
        match error {
            FetchError::Loader(error) => Self::Loader((*error).clone()),
            FetchError::Cache(error) => Self::Library(error),
        }
    }
}

type Called = Result<Value, Failed>;

/// The arguments of a call.
pub struct Arguments(pub Value);

impl Arguments {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.field(name)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_true)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(Value::as_text).map(str::to_owned)
    }

    fn value(&self, name: &str) -> Value {
        self.get(name).cloned().unwrap_or(Value::Null)
    }

    fn keys(&self) -> Vec<Key<'static>> {
        texts(self.get("keys")).into_iter().map(Key::from).collect()
    }

    fn key(&self) -> Result<Key<'static>, Failed> {
        let text = self.text("key").ok_or_else(|| Failed::Runner("a key is text".to_owned()))?;
        let params = self.get("params").and_then(Value::as_map).into_iter().flatten();
        Ok(params.fold(Key::from(text), |key, (name, value)| {
            key.param(name, value.as_text().unwrap_or_default())
        }))
    }

    fn check_ttl(&self) -> Result<(), Failed> {
        match self.get("ttl") {
            Some(given) if ttl(given).is_none() => Err(Failed::Runner("not a ttl".to_owned())),
            _ => Ok(()),
        }
    }

    fn read(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(max_stale) = self.get("max_stale").and_then(duration) {
            options = options.max_stale(max_stale);
        }
        if let Some(touch) = self.get("touch").and_then(duration) {
            options = options.touch(touch);
        }
        if self.flag("consistent") { options.consistent() } else { options }
    }

    fn write(&self) -> WriteOptions {
        let mut options = WriteOptions::default().tags(texts(self.get("tags")));
        if let Some(ttl) = self.get("ttl").and_then(ttl) {
            options = options.ttl(ttl);
        }
        if self.flag("if_absent") {
            options = options.condition(Condition::IfAbsent);
        }
        if self.flag("if_present") {
            options = options.condition(Condition::IfPresent);
        }
        if let Some(version) = self.text("if_version") {
            options = options.condition(Condition::IfVersion(version));
        }
        options
    }

    fn fetch(&self) -> FetchOptions {
        let mut options = FetchOptions::default().tags(texts(self.get("tags"))).read(self.read());
        if let Some(ttl) = self.get("ttl").and_then(ttl) {
            options = options.ttl(ttl);
        }
        if let Some(timeout) = self.get("timeout").and_then(duration) {
            options = options.timeout(timeout);
        }
        if self.flag("refresh") { options.refresh() } else { options }
    }

    fn delete(&self) -> DeleteOptions {
        let mut options = DeleteOptions::default();
        if let Some(version) = self.text("if_version") {
            options = options.if_version(version);
        }
        if let Some(hold_off) = self.get("hold_off").and_then(duration) {
            options = options.hold_off(hold_off);
        }
        if self.flag("return_value") { options.return_value() } else { options }
    }

    fn increment(&self) -> IncrementOptions {
        let number = |name| self.get(name).and_then(Value::as_int).unwrap_or_default();
        let mut options = IncrementOptions::default().initial(number("initial") as i64);
        if let Some(ttl) = self.get("ttl").and_then(ttl) {
            options = options.ttl(ttl);
        }
        if self.flag("if_present") { options.if_present() } else { options }
    }

    fn patch(&self) -> Result<(Patch, PatchOptions), Failed> {
        let made = match self.get("merge") {
            Some(merge) => Patch::merge(merge),
            None => Patch::operations(&self.value("json_patch")),
        };
        let patch = made.map_err(|error| Failed::Runner(error.to_string()))?;
        let mut options = PatchOptions::default();
        if let Some(ttl) = self.get("ttl").and_then(ttl) {
            options = options.ttl(ttl);
        }
        if let Some(version) = self.text("if_version") {
            options = options.if_version(version);
        }
        Ok((patch, if self.flag("keep_ttl") { options.keep_ttl() } else { options }))
    }

    fn list(&self) -> ListOptions {
        let mut options = ListOptions::default();
        if let Some(glob) = self.text("glob") {
            options = options.glob(glob);
        }
        if let Some(size) = self.get("page_size").and_then(Value::as_int) {
            options = options.page_size(size as u32);
        }
        options
    }

    fn targets(&self) -> Targets {
        let mut targets = Targets::new().tags(texts(self.get("tags"))).keys(self.keys());
        targets = targets.globs(texts(self.get("globs")));
        match self.get("hold_off").and_then(duration) {
            Some(hold_off) => targets.hold_off(hold_off),
            None => targets,
        }
    }
}

/// Makes a call.
pub async fn call(
    operation: &str,
    on: &Namespace<Value>,
    arguments: &Arguments,
    loader: Option<Arc<CountedLoader>>,
    runs: &functions::Runs,
) -> Called {
    arguments.check_ttl()?;
    let count = |count: u64| data::map([("value", Value::Int(count.into()))]);
    Ok(match operation {
        "get" => data::read(&on.get_with(arguments.key()?, &arguments.read()).await?),
        // A value that is read cannot be changed.
        "get_and_change" => data::read(&on.get(arguments.key()?).await?),
        "set" => {
            let value = arguments.value("value");
            data::write(&on.set_with(arguments.key()?, &value, &arguments.write()).await?)
        }
        "delete" => data::deleted(&on.delete_with(arguments.key()?, &arguments.delete()).await?),
        "get_many" => {
            let results = on.get_many_with(arguments.keys(), &arguments.read()).await?;
            data::many(&results, data::read)
        }
        "set_many" => {
            let items = arguments.value("items");
            let entries = items.as_map().into_iter().flatten();
            let results = on.set_many(entries, &arguments.write()).await?;
            data::many(&results, data::write)
        }
        "delete_many" => {
            let results = on.delete_many(arguments.keys(), &arguments.delete()).await?;
            data::many(&results, data::deleted)
        }
        "contains" => data::map([("value", Value::Bool(on.contains(arguments.key()?).await?))]),
        "touch" => {
            let ttl = arguments.get("ttl").and_then(ttl);
            let ttl = ttl.ok_or_else(|| Failed::Runner("no ttl".to_owned()))?;
            data::touched(&on.touch(arguments.key()?, ttl).await?)
        }
        "increment" => {
            let delta = arguments.get("delta").and_then(Value::as_int).unwrap_or(1);
            let options = arguments.increment();
            data::incremented(&on.increment(arguments.key()?, delta as i64, &options).await?)
        }
        "patch" => {
            let (patch, options) = arguments.patch()?;
            data::patched(&on.patch(arguments.key()?, patch, &options).await?)
        }
        "get_or_fetch" => match loader {
            Some(loader) => data::read(
                &on.get_or_fetch_with(arguments.key()?, arguments.fetch(), || loader.one()).await?,
            ),
            None => data::read(&on.fetch_with(arguments.key()?, arguments.fetch()).await?),
        },
        "get_or_fetch_many" => {
            let loader = loader.ok_or_else(|| Failed::Runner("no loader".to_owned()))?;
            let load = move |keys| Arc::clone(&loader).many(keys);
            let keys = arguments.keys();
            data::many(&on.get_or_fetch_many(keys, arguments.fetch(), load).await?, data::read)
        }
        "invalidate" => data::invalidated(&on.invalidate(&arguments.targets()).await?),
        "invalidate_namespace" => data::invalidated(&on.invalidate_namespace().await?),
        "publish_event" => {
            let attributes = arguments.value("attributes");
            let pairs = attributes.as_map().into_iter().flatten();
            let pairs = pairs.map(|(name, value)| (name, value.as_text().unwrap_or_default()));
            let name = arguments.text("name").unwrap_or_default();
            let published = on.publish_event(name, pairs).await?;
            data::map([
                ("targets", Value::Int(published.targets as i128)),
                ("queued", Value::Bool(published.queued)),
            ])
        }
        "list_keys" => {
            let mut keys = on.list_keys(arguments.list()).all().await?;
            keys.sort();
            keys.dedup_by(|a, b| a.key == b.key);
            let keys = keys.into_iter().map(|listed| Value::Text(listed.key)).collect();
            data::map([("sorted", Value::List(keys))])
        }
        "count_keys" => count(on.count_keys(&arguments.list()).await?),
        "watch" => {
            let mut watch = on.watch(arguments.flag("keys"))?;
            watch.next().await?;
            Value::Null
        }
        "call" => functions::call(on, arguments, runs).await?,
        "stats" => {
            on.stats().await?;
            Value::Null
        }
        other => return Err(Failed::Runner(format!("no operation {other}"))),
    })
}
