//! A value that was fetched before an invalidation is never read after it.
//!
//! Every fill path is combined with every kind of invalidation during the fetch. The origin numbers
//! its responses in the order of the requests, so a value identifies the start of its fetch.

// The ways in which a fetched value is stored.
mod fill_paths;

use std::{str::FromStr, time::Duration};

use larder::pb::v1::{
    EventTarget, FetchStatus, FillResult, GetOrFetchRequest, GetOrFetchResponse, Target,
    target::Target as Kind,
};
use tokio::task::JoinHandle;

use self::fill_paths::{FILL_PATHS, FillPath};
use crate::support::{
    client::{Cache, Fetched as _, NS, as_text, delete, fetch, invalidate, params},
    env::{Env, read_through},
    fleet::{Fleet, metric},
    origin::Origin,
    server::Larder,
    targets,
    wait::{SOON, eventually, throughout},
};

/// The call that makes the value obsolete during its fetch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Invalidation {
    Delete,
    Set,
    InvalidateNamespace,
    /// By a tag that the origin's response has.
    Tag,
    Pattern,
    /// By the rule of an event that names the key.
    Event,
}

/// The rule of [`Invalidation::Event`].
const RULES: &str = "[[events.changed]]\nnamespace = 'ns'\nkey = '{key}'";
const CONFIG: &str = "timeout = '30s'\nmin_lease = '10s'\nearly_refresh = 100";
const WRITTEN: &str = "written";

/// The servers under test. On the embedded store, both caches are clients of the same server.
struct Setup<'a> {
    origin: &'a Origin,
    servers: &'a [Larder],
    /// Fetches the value.
    fetching: Cache,
    /// Invalidates the value.
    invalidating: Cache,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_refuses_the_fill_on_redis() {
    on_redis(Invalidation::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_refuses_the_fill_on_memory() {
    on_memory(Invalidation::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_refuses_the_fill_on_redis() {
    on_redis(Invalidation::Set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_refuses_the_fill_on_memory() {
    on_memory(Invalidation::Set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidation_refuses_the_fill_on_redis() {
    on_redis(Invalidation::InvalidateNamespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidation_refuses_the_fill_on_memory() {
    on_memory(Invalidation::InvalidateNamespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_ban_refuses_the_fill_on_redis() {
    on_redis(Invalidation::Tag).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_ban_refuses_the_fill_on_memory() {
    on_memory(Invalidation::Tag).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_ban_refuses_the_fill_on_redis() {
    on_redis(Invalidation::Pattern).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_ban_refuses_the_fill_on_memory() {
    on_memory(Invalidation::Pattern).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_refuses_the_fill_on_redis() {
    on_redis(Invalidation::Event).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_refuses_the_fill_on_memory() {
    on_memory(Invalidation::Event).await;
}

fn config(origin: &Origin) -> String {
    format!("{}{RULES}\n", read_through(&origin.url("/v/{key}"), "", CONFIG))
}

async fn on_redis(invalidation: Invalidation) {
    let origin = origin().await;
    let fleet = Fleet::start(2, &config(&origin)).await;
    let [fetching, invalidating] = [0, 1].map(|number| fleet.caches[number].clone());
    run(Setup { origin: &origin, servers: &fleet.servers, fetching, invalidating }, invalidation)
        .await;
}

async fn on_memory(invalidation: Invalidation) {
    let origin = origin().await;
    let env = Env::memory(&[], &config(&origin)).await;
    let servers = std::slice::from_ref(&env.larder);
    run(
        Setup {
            origin: &origin,
            servers,
            fetching: env.cache.clone(),
            invalidating: env.larder.client().await,
        },
        invalidation,
    )
    .await;
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.answer(fill_paths::answer);
    origin
}

async fn run(world: Setup<'_>, invalidation: Invalidation) {
    for path in FILL_PATHS {
        for with_late_callers in [false, true] {
            let key = format!("{path:?}-{with_late_callers}");
            world.check(path, invalidation, &key, with_late_callers).await;
        }
    }
}

impl Invalidation {
    async fn apply(self, cache: &Cache, key: &str) {
        match self {
            Self::Delete => {
                cache.delete(delete(key)).await.unwrap();
            }
            Self::Set => {
                cache.put(key, WRITTEN).await;
            }
            Self::InvalidateNamespace => {
                cache.invalidate_namespace(invalidate(NS)).await.unwrap();
            }
            Self::Tag => {
                targets::invalidate(cache, &[targets::tags(&[key])]).await;
            }
            Self::Pattern => {
                targets::invalidate(cache, &[targets::pattern(&format!("{key}*"))]).await;
            }
            Self::Event => {
                let attributes = params(&[("key", key)]);
                let event = EventTarget { name: "changed".to_owned(), attributes };
                let target = Target { target: Some(Kind::Event(event)) };
                targets::invalidate(cache, &[target]).await;
            }
        }
    }

    /// The result of the refused fill.
    fn refusal(self) -> FillResult {
        match self {
            Self::Set => FillResult::Superseded,
            _ => FillResult::Invalidated,
        }
    }
}

// === impl Setup ===

impl Setup<'_> {
    async fn check(
        &self,
        path: FillPath,
        invalidation: Invalidation,
        key: &str,
        with_late_callers: bool,
    ) {
        let context = format!("{path:?}, {invalidation:?}, late callers: {with_late_callers}");
        if path.needs_stored_value() {
            self.fetching.fetched(key).await;
        }
        let refused = self.refused_fills().await;
        self.origin.hold();
        let callers = path.start(self, key).await;
        let fetching = async || (self.origin.in_flight() == 1).then_some(());
        eventually(&format!("the value is being fetched: {context}"), SOON, fetching).await;
        // Every fetch that has started until now is obsolete.
        let newest = self.fetches(key);
        invalidation.apply(&self.invalidating, key).await;

        let late = if with_late_callers { self.late_callers(key).await } else { Vec::new() };
        self.origin.release();
        for caller in callers {
            let Some(answer) = caller.await.unwrap() else { continue };
            // Callers that came before may receive the obsolete value, with the result of its fill.
            if answer.fetch_status() == FetchStatus::Fetched
                || answer.fetch_status() == FetchStatus::Revalidated
            {
                let stored = invalidation != Invalidation::Set && is_newer(answer.clone(), newest);
                let expected = if stored { FillResult::Stored } else { invalidation.refusal() };
                // Another caller may have been granted the lease since.
                let has_competitors = with_late_callers || path == FillPath::Coalesced;
                let is_lost = has_competitors && answer.fill() == FillResult::LeaseLost
                    // An event deletes the key and then bans it: a fetch may begin in between.
                    || invalidation == Invalidation::Event
                        && answer.fill() == FillResult::Invalidated;
                assert!(is_lost || answer.fill() == expected, "{context}: {answer:?}");
            }
        }
        for caller in late {
            let answer = caller.await.unwrap().unwrap();
            assert!(is_newer(answer.clone(), newest), "{context}: a late caller got {answer:?}");
        }
        let counted = async || (self.refused_fills().await > refused).then_some(());
        eventually(&format!("the late fill is refused: {context}"), SOON, counted).await;
        let caches = [&self.fetching, &self.invalidating];
        throughout(Duration::from_millis(30), async || {
            for cache in caches {
                let value = cache.read(key).await;
                let may_be = match invalidation {
                    Invalidation::Set => value.as_deref() == Some(WRITTEN),
                    _ => value.as_deref().is_none_or(|value| number(value) > newest),
                };
                assert!(may_be, "{context}: read {value:?}, but {newest} was obsolete");
            }
        })
        .await;
        let (value, answer) = self.fetching.fetched(key).await;
        assert!(
            is_newer(answer, newest),
            "{context}: fetched {value:?}, but {newest} was obsolete"
        );
        assert_eq!(self.invalidating.read(key).await, value, "{context}");
    }

    /// Starts calls after the invalidation and before the origin's response.
    async fn late_callers(&self, key: &str) -> Vec<JoinHandle<Option<GetOrFetchResponse>>> {
        let mut callers = Vec::new();
        for cache in [&self.fetching, &self.invalidating] {
            for _ in 0..3 {
                callers.push(call(cache, fetch(key, 50_000)));
            }
        }
        // Time for the calls to arrive.
        throughout(Duration::from_millis(50), async || {}).await;
        callers
    }

    /// Number of fetches of the key.
    fn fetches(&self, key: &str) -> u64 {
        let target = format!("/v/{key}");
        self.origin.requests().iter().filter(|request| request.target == target).count() as u64
    }

    async fn await_waiters(&self, count: f64) {
        let all = async || (self.metric("larder_waiting").await == count).then_some(());
        eventually("all callers wait", SOON, all).await;
    }

    /// Number of refused fills.
    async fn refused_fills(&self) -> f64 {
        let mut sum = 0.0;
        for reason in ["lost", "invalidated", "superseded"] {
            sum += self.metric(&format!("larder_fills_{reason}_total")).await;
        }
        sum
    }

    async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for server in self.servers {
            sum += metric(server, name).await;
        }
        sum
    }
}

fn call(cache: &Cache, request: GetOrFetchRequest) -> JoinHandle<Option<GetOrFetchResponse>> {
    let cache = cache.clone();
    tokio::spawn(async move { Some(cache.get_or_fetch(request).await.unwrap()) })
}

/// Whether an answer was set, or fetched after `newest`.
fn is_newer(answer: GetOrFetchResponse, newest: u64) -> bool {
    let value = as_text(answer.expect_found().value).unwrap();
    value == WRITTEN || number(&value) > newest
}

fn number(value: &str) -> u64 {
    u64::from_str(value).unwrap()
}
