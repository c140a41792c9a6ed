//! The fake.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::{Code, Status, codegen::Service as _};

use super::{
    checks::status,
    leases::{Leases, Lost},
    service::Served,
    store::{FakeNamespace, Place, Store},
    watches::Watches,
};
use crate::{
    ClientBuilder,
    pb::{self, cache_service_server::CacheServiceServer, watch_response::Event},
};

const MAX_CALLS: usize = 10_000;
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A failure to switch on.
#[derive(Clone, Debug)]
pub struct FakeFailure {
    /// `Unavailable`.
    pub code: Code,
    /// The reason in the details of the error.
    pub reason: String,
    /// Calls that fail, such as `Get`; all if it is empty.
    pub methods: Vec<String>,
    /// How many calls fail; all until `recover` if it is `None`.
    pub times: Option<usize>,
    /// Time before the failure. The deadline of a call may end first.
    pub after: Duration,
    /// Streams fail after their first message; other calls do not fail.
    pub late: bool,
}

impl Default for FakeFailure {
    fn default() -> Self {
        Self {
            code: Code::Unavailable,
            reason: String::new(),
            methods: Vec::new(),
            times: None,
            after: Duration::ZERO,
            late: false,
        }
    }
}

/// A call that has reached the fake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FakeCall {
    /// Name of the call, such as `Get`.
    pub method: &'static str,
    /// The request as it was sent.
    pub request: Bytes,
}

impl FakeCall {
    /// The request; `None` if it is another message.
    #[must_use]
    pub fn decode<M: prost::Message + Default>(&self) -> Option<M> {
        M::decode(self.request.clone()).ok()
    }
}

type Rule = Arc<dyn Fn(&BTreeMap<String, String>) -> Result<Vec<pb::Target>, String> + Send + Sync>;

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) leases: Leases,
    pub(crate) watches: Watches,
    pub(crate) events: HashMap<String, Rule>,
    pub(crate) degraded: bool,
    delay: Duration,
    failures: Vec<FakeFailure>,
    calls: VecDeque<FakeCall>,
}

pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Something has changed: callers that wait look again.
    pub(crate) changed: Notify,
}

/// Larder in this process, for unit tests. It has a clock to advance and failures to switch on.
/// Clones are the same fake, and several clients can share it.
#[derive(Clone)]
pub struct FakeLarder(Arc<Shared>);

impl std::fmt::Debug for FakeLarder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FakeLarder").finish_non_exhaustive()
    }
}

impl Default for FakeLarder {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeLarder {
    /// An empty fake with the settings of a server without configuration, but without jitter.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            store: Store::new(),
            leases: Leases::default(),
            watches: Watches::default(),
            events: HashMap::new(),
            degraded: false,
            delay: Duration::ZERO,
            failures: Vec::new(),
            calls: VecDeque::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// A builder of clients of this fake. Options of connections and credentials have no effect.
    pub fn client(&self) -> ClientBuilder {
        let service = CacheServiceServer::new(Served(Arc::clone(&self.0)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        ClientBuilder::to_local(Arc::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                match service.call(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            })
        }))
    }

    /// Sets the settings of a namespace; those of all others with an empty name.
    pub fn configure(&self, namespace: &str, settings: FakeNamespace) {
        let mut state = self.0.state.lock();
        if namespace.is_empty() {
            state.store.standard = settings;
        } else {
            state.store.namespaces.insert(namespace.to_owned(), settings);
        }
    }

    /// Sets the rule of an event: the targets by its attributes, or why they are wrong.
    pub fn on_event(
        &self,
        name: &str,
        rule: impl Fn(&BTreeMap<String, String>) -> Result<Vec<pb::Target>, String>
        + Send
        + Sync
        + 'static,
    ) {
        self.0.state.lock().events.insert(name.to_owned(), Arc::new(rule));
    }

    /// The calls that have reached the fake, at most the last 10,000.
    #[must_use]
    pub fn calls(&self) -> Vec<FakeCall> {
        self.0.state.lock().calls.iter().cloned().collect()
    }

    /// Lets time pass for TTLs and leases.
    pub fn advance(&self, time: Duration) {
        self.0.state.lock().store.advance(time);
        self.0.changed.notify_waiters();
    }

    /// Lets calls fail until `recover`.
    pub fn fail(&self, failure: FakeFailure) {
        self.0.state.lock().failures.push(failure);
    }

    /// The time that each call takes.
    pub fn delay(&self, delay: Duration) {
        self.0.state.lock().delay = delay;
    }

    /// The store of the server is away: it answers, with `degraded`.
    pub fn degrade(&self) {
        self.0.state.lock().degraded = true;
    }

    /// Ends all failures, delays and degradation.
    pub fn recover(&self) {
        let mut state = self.0.state.lock();
        state.failures.clear();
        state.degraded = false;
        state.delay = Duration::ZERO;
    }

    /// Ends the streams of Watch with an error.
    pub fn break_watches(&self) {
        self.0.state.lock().watches.break_all();
    }

    /// Removes all entries, and sends Reset on the streams of Watch.
    pub fn clear(&self) {
        let mut state = self.0.state.lock();
        state.store.entries.clear();
        state.watches.reset_all();
    }
}

impl Shared {
    /// Notes a call. Fails if that is switched on; waits for the delay.
    pub(crate) async fn enter(
        &self,
        method: &'static str,
        request: &impl prost::Message,
    ) -> Result<(), Status> {
        let (wait, failure) = {
            let mut state = self.state.lock();
            if state.calls.len() == MAX_CALLS {
                state.calls.pop_front();
            }
            let request = request.encode_to_vec().into();
            state.calls.push_back(FakeCall { method, request });
            let failure = state.next_failure(method, false);
            let after = failure.as_ref().map_or(Duration::ZERO, |failure| failure.after);
            (state.delay.max(after), failure)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        failure.map_or(Ok(()), |failure| Err(failure.status()))
    }

    /// The end of a stream that fails after its first message.
    pub(crate) fn late_failure(&self, method: &str) -> Option<Status> {
        self.state.lock().next_failure(method, true).map(|failure| failure.status())
    }
}

impl FakeFailure {
    fn status(&self) -> Status {
        status(self.code, &self.reason, "the fake fails as it was asked to")
    }
}

impl State {
    fn next_failure(&mut self, method: &str, late: bool) -> Option<FakeFailure> {
        let failure = self.failures.iter_mut().find(|failure| {
            let is_left = failure.times.is_none_or(|times| times > 0);
            let is_method = failure.methods.iter().any(|own| own == method);
            failure.late == late && is_left && (failure.methods.is_empty() || is_method)
        })?;
        failure.times = failure.times.map(|times| times - 1);
        Some(failure.clone())
    }

    /// An entry was written or removed.
    pub(crate) fn changed(&mut self, place: &Place, why: Lost) {
        self.leases.void(place, why);
        self.announce(place);
    }

    /// An entry was changed in a way that leaves its lease valid.
    pub(crate) fn announce(&mut self, place: &Place) {
        let key = pb::ChangedKey { key: place.key.clone(), params_digest: place.digest() };
        let namespace = place.namespace.clone();
        self.watches.announce(
            &place.namespace,
            &Event::KeysChanged(pb::KeysChanged { namespace, keys: vec![key] }),
        );
    }
}
