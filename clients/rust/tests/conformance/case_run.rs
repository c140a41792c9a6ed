//! Runs the steps of a case.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use larder_client::{Client, Error, Namespace, NearCache};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    clients::{builder_with, handle_with},
    data, functions,
    grammar::{Bound, Mismatch, check, check_step, duration, expand},
    loaders::{CountedLoader, Gate},
    ops::{self, Arguments, Failed},
    place::Place,
    spans,
    value::{Fields, Value},
};

const WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_secs(60);
type Called = Result<Value, Failed>;

/// The end of a case.
pub enum Stop {
    /// A step may pass later.
    Mismatch(Mismatch),
    Failed(Failed),
}

impl From<Mismatch> for Stop {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mismatch(mismatch) => formatter.write_str(mismatch),
            Self::Failed(failed) => write!(formatter, "{failed:?}"),
        }
    }
}

type Step = Result<(), Stop>;

#[derive(Default)]
struct Watched {
    events: Vec<Value>,
    ended: bool,
}

/// One case on one kind of server.
pub struct CaseRun<'a> {
    case: &'a Value,
    place: &'a Place,
    bound: Bound,
    clients: HashMap<String, Client>,
    handles: HashMap<String, Namespace<Value>>,
    tasks: HashMap<String, JoinHandle<Called>>,
    watches: HashMap<String, (Arc<Mutex<Watched>>, JoinHandle<()>)>,
    gates: HashMap<String, Arc<Gate>>,
    loaders: HashMap<String, Arc<CountedLoader>>,
    runs: functions::Runs,
}

fn fields<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.field(name).and_then(Value::as_map).into_iter().flatten()
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.field(name).and_then(Value::as_text)
}

impl<'a> CaseRun<'a> {
    pub fn new(case: &'a Value, place: &'a Place) -> Self {
        let mut gates: HashMap<String, Arc<Gate>> = HashMap::new();
        let mut loaders = HashMap::new();
        for (name, spec) in fields(case, "loaders") {
            let gate = text(spec, "gate").map(|gate| {
                Arc::clone(
                    gates.entry(gate.to_owned()).or_insert_with(|| Arc::new(Gate::new(false))),
                )
            });
            loaders.insert(name.clone(), Arc::new(CountedLoader::new(spec.clone(), gate)));
        }
        Self {
            case,
            place,
            bound: Bound::new(),
            clients: HashMap::new(),
            handles: HashMap::new(),
            tasks: HashMap::new(),
            watches: HashMap::new(),
            gates,
            loaders,
            runs: functions::Runs::default(),
        }
    }

    /// Runs all steps. The error names the one that is not as expected.
    pub async fn run(mut self) -> Result<(), String> {
        let ended = self.steps().await;
        for gate in self.gates.values() {
            gate.send_replace(true);
        }
        for (_, task) in self.tasks.drain() {
            task.abort();
            let _ = task.await;
        }
        self.place.restore().await;
        for client in self.clients.values() {
            client.close().await;
        }
        for (_, (_, task)) in self.watches.drain() {
            task.abort();
        }
        ended
    }

    async fn steps(&mut self) -> Result<(), String> {
        let standard = Value::Map(Fields::from([("a".to_owned(), Value::Map(Fields::new()))]));
        let clients = self.case.field("clients").unwrap_or(&standard).clone();
        for (name, options) in clients.as_map().into_iter().flatten() {
            let client = self.new_client(options).await.map_err(|error| error.to_string())?;
            self.clients.insert(name.clone(), client);
        }
        let names: Vec<_> = self.clients.keys().cloned().collect();
        for name in names {
            self.new_handle(&name, &Value::Map(Fields::new()))?;
        }
        for (name, settings) in fields(self.case, "handles") {
            self.new_handle(name, settings)?;
        }
        let steps = self.case.field("steps").and_then(Value::as_list).unwrap_or_default();
        for (index, step) in steps.iter().enumerate() {
            let ended = Box::pin(self.step(step)).await;
            ended.map_err(|stop| format!("{stop}\n  step {}: {step}", index + 1))?;
        }
        Ok(())
    }

    async fn new_client(&self, options: &Value) -> Result<Client, Error> {
        let options = expand(options, &self.bound);
        let via = text(self.case, "via").unwrap_or("server");
        let builder = self.place.builder(via, text(&options, "target")).await;
        builder_with(builder, &options)?.connect_lazy()
    }

    fn new_handle(&mut self, name: &str, settings: &Value) -> Result<(), String> {
        let own = if self.clients.contains_key(name) { name } else { "a" };
        let owner = &self.clients[text(settings, "client").unwrap_or(own)];
        let id = text(self.case, "id").unwrap_or_default().replace('/', "-");
        let given = settings.field("namespace").or_else(|| self.case.field("namespace"));
        let namespace = given.map_or(Value::Text(id), |given| expand(given, &self.bound));
        let handle = owner.namespace(namespace.as_text().unwrap_or_default());
        let handle = handle_with(handle, settings).map_err(|error| error.to_string())?;
        let has_near = settings.field("near_cache").is_some_and(Value::is_true);
        let handle = if has_near { handle.near_cache(NearCache::default()) } else { handle };
        self.handles.insert(name.to_owned(), handle);
        Ok(())
    }

    async fn step(&mut self, step: &Value) -> Step {
        if let Some(every) = step.field("for_each") {
            let mut plain = step.as_map().cloned().unwrap_or_default();
            plain.remove("for_each");
            let plain = Value::Map(plain);
            for item in expand(every, &self.bound).as_list().unwrap_or_default() {
                self.bound.insert("$each".to_owned(), item.clone());
                Box::pin(self.step(&plain)).await?;
            }
            return Ok(());
        }
        if let Some(name) = text(step, "as") {
            return self.begin(name, step).await;
        }
        let limit = match step.field("wait_until") {
            Some(Value::Bool(true)) => WAIT,
            Some(limit) => duration(limit).unwrap_or_default(),
            None => Duration::ZERO,
        };
        let deadline = Instant::now() + limit;
        loop {
            match self.once(step).await {
                Err(Stop::Mismatch(_) | Stop::Failed(Failed::Library(_)))
                    if Instant::now() < deadline => {}
                ended => return ended,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Begins a call or a watch beside the next steps.
    async fn begin(&mut self, name: &str, step: &Value) -> Step {
        if text(step, "do") == Some("watch") {
            let handle = &self.handles[text(step, "handle").unwrap_or("a")];
            let keys = step.field("args").and_then(|args| args.field("keys"));
            let mut watch = handle.watch(keys.is_some_and(Value::is_true)).map_err(Failed::from)?;
            let watched = Arc::new(Mutex::new(Watched::default()));
            let own = Arc::clone(&watched);
            let task = tokio::spawn(async move {
                while let Ok(Some(change)) = watch.next().await {
                    own.lock().events.push(data::change(change));
                }
                own.lock().ended = true;
            });
            self.watches.insert(name.to_owned(), (watched, task));
            return Ok(());
        }
        let call = tokio::spawn(self.call(step)?);
        self.tasks.insert(name.to_owned(), call);
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    async fn once(&mut self, step: &Value) -> Step {
        let begun = Instant::now();
        if let Some(operation) = text(step, "do") {
            let called = match operation {
                "connect" | "close" | "new_client" => self.client_call(operation, step).await,
                _ => self.call(step)?.await,
            };
            self.check_call(step, called)?;
        } else if let Some(name) = text(step, "join") {
            let task = self.tasks.remove(name).ok_or_else(|| "no such step".to_owned())?;
            let called = task.await.unwrap_or_else(|error| {
                if error.is_cancelled() {
                    return Err(Failed::Cancelled);
                }
                Err(Failed::Runner(error.to_string()))
            });
            self.check_call(step, called)?;
        } else {
            self.control(step).await?;
        }
        let took = begun.elapsed();
        let least = step.field("at_least").and_then(duration).unwrap_or_default();
        if took < least || took > step.field("within").and_then(duration).unwrap_or(STEP) {
            return Err(format!("it took {took:?}").into());
        }
        Ok(())
    }

    async fn client_call(&self, operation: &str, step: &Value) -> Called {
        let client = &self.clients[text(step, "handle").unwrap_or("a")];
        match operation {
            "connect" => client.connect().await?,
            "close" => client.close().await,
            _ => {
                let options = step.field("args").cloned().unwrap_or(Value::Null);
                self.new_client(&options).await?.close().await;
            }
        }
        Ok(Value::Null)
    }

    /// The call of a step, to be run.
    fn call(
        &mut self,
        step: &Value,
    ) -> Result<impl Future<Output = Called> + Send + 'static, Mismatch> {
        let handle = text(step, "handle").unwrap_or("a");
        if !self.handles.contains_key(handle) {
            self.new_handle(handle, &Value::Null)?;
        }
        let operation = text(step, "do").unwrap_or_default().to_owned();
        let arguments = expand(step.field("args").unwrap_or(&Value::Null), &self.bound);
        let loader = text(&arguments, "loader").map(|name| Arc::clone(&self.loaders[name]));
        let on = self.handles[handle].clone();
        let runs = Arc::clone(&self.runs);
        let copies = step.field("copies").and_then(Value::as_int);
        let span = text(step, "traced").map(|name| {
            let (context, trace) = spans::begin();
            self.bound.insert(name.to_owned(), Value::Text(trace));
            context
        });
        Ok(spans::within(span, async move {
            let arguments = Arguments(arguments);
            let Some(copies) = copies else {
                return ops::call(&operation, &on, &arguments, loader, &runs).await;
            };
            let calls =
                (0..copies).map(|_| ops::call(&operation, &on, &arguments, loader.clone(), &runs));
            let results = futures_util::future::join_all(calls).await;
            results.into_iter().collect::<Result<_, _>>().map(Value::List)
        }))
    }

    fn check_call(&mut self, step: &Value, called: Called) -> Step {
        let raises = step.field("raises");
        let result = match (called, raises) {
            (Err(failed), None) => return Err(failed.into()),
            (Err(failed), Some(expected)) => return self.check_error(expected, failed),
            (Ok(result), Some(_)) => return Err(format!("no error: {result}").into()),
            (Ok(result), None) => result,
        };
        if let Some(expected) = step.field("expect") {
            check_step(expected, &result, &self.bound)?;
        }
        for (name, field) in fields(step, "bind") {
            let value = field.as_text().and_then(|field| result.field(field));
            self.bound.insert(name.clone(), value.cloned().unwrap_or(Value::Null));
        }
        Ok(())
    }

    fn check_error(&self, expected: &Value, failed: Failed) -> Step {
        let is = |name| expected.field(name).is_some_and(Value::is_true);
        let error = match &failed {
            Failed::Cancelled if is("cancelled") => return Ok(()),
            Failed::Loader(error) if is("loader") => {
                data::map([("message", Value::Text(error.to_string()))])
            }
            Failed::Library(error) if !is("cancelled") && !is("loader") => data::error(error),
            _ => return Err(failed.into()),
        };
        let plain = |text: Option<&Value>| {
            let text = text.and_then(Value::as_text).unwrap_or_default();
            text.to_lowercase().replace('_', "")
        };
        if !plain(error.field("message")).contains(&plain(expected.field("message"))) {
            return Err(format!("the message is {error}").into());
        }
        for name in ["class", "code", "reason", "retry_after"] {
            if let Some(wanted) = expected.field(name) {
                let own = error.field(name).unwrap_or(&Value::Null);
                check(wanted, own, &format!("error.{name}"), &self.bound)?;
            }
        }
        Ok(())
    }
}

mod controls;
