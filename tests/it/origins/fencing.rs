//! What was fetched before an invalidation is never read after it: every way in which a fetched value gets into the store,
//! crossed with everything that makes it obsolete while the origin thinks.
//!
//! The origin numbers its answers in the order in which it was asked, so that a value tells when its fetch began.

// Every way in which a fetched value gets into the store.
mod ways;

use std::{str::FromStr, time::Duration};

use larder::pb::v1::{FetchStatus, FillResult, GetOrFetchRequest, GetOrFetchResponse};
use tokio::task::JoinHandle;

use self::ways::{WAYS, Way};
use crate::support::{
    client::{Cache, Fetched as _, NS, as_text, delete, fetch, invalidate},
    env::{Env, read_through},
    fleet::{Fleet, metric},
    origin::Origin,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

/// What makes it obsolete meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    Delete,
    Set,
    InvalidateNamespace,
}

const CONFIG: &str = "timeout = '30s'\nmin_lease = '10s'\nearly_refresh = 100";
const WRITTEN: &str = "written";

/// Where everything happens. On the embedded store, both caches are clients of the same server.
struct World<'a> {
    origin: &'a Origin,
    servers: &'a [Larder],
    /// Through which the value is fetched.
    here: Cache,
    /// Through which it becomes obsolete.
    there: Cache,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_on_redis() {
    on_redis(Means::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_on_memory() {
    on_memory(Means::Delete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_on_redis() {
    on_redis(Means::Set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_on_memory() {
    on_memory(Means::Set).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidated_on_redis() {
    on_redis(Means::InvalidateNamespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidated_on_memory() {
    on_memory(Means::InvalidateNamespace).await;
}

async fn on_redis(means: Means) {
    let origin = origin().await;
    let fleet = Fleet::start(2, &read_through(&origin.url("/v/{key}"), "", CONFIG)).await;
    let [here, there] = [0, 1].map(|number| fleet.caches[number].clone());
    run(World { origin: &origin, servers: &fleet.servers, here, there }, means).await;
}

async fn on_memory(means: Means) {
    let origin = origin().await;
    let env = Env::memory(&[], &read_through(&origin.url("/v/{key}"), "", CONFIG)).await;
    let servers = std::slice::from_ref(&env.larder);
    run(
        World {
            origin: &origin,
            servers,
            here: env.cache.clone(),
            there: env.larder.client().await,
        },
        means,
    )
    .await;
}

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.answer(ways::answer);
    origin
}

async fn run(world: World<'_>, means: Means) {
    for way in WAYS {
        for with_late_callers in [false, true] {
            let key = format!("{way:?}-{with_late_callers}");
            world.check(way, means, &key, with_late_callers).await;
        }
    }
}

impl Means {
    async fn apply(self, cache: &Cache, key: &str) {
        match self {
            Self::Delete => drop(cache.delete(delete(key)).await.unwrap()),
            Self::Set => drop(cache.put(key, WRITTEN).await),
            Self::InvalidateNamespace => {
                drop(cache.invalidate_namespace(invalidate(NS)).await.unwrap())
            }
        }
    }

    /// What the refused fill is told.
    fn refusal(self) -> FillResult {
        match self {
            Self::Set => FillResult::Superseded,
            Self::Delete | Self::InvalidateNamespace => FillResult::Invalidated,
        }
    }
}

// === impl World ===

impl World<'_> {
    async fn check(&self, way: Way, means: Means, key: &str, with_late_callers: bool) {
        let context = format!("{way:?}, {means:?}, late callers: {with_late_callers}");
        if way.needs_a_value() {
            self.here.fetched(key).await;
        }
        let refused = self.refused().await;
        self.origin.hold();
        let callers = way.begin(self, key).await;
        let asked = async || (self.origin.in_flight() == 1).then_some(());
        eventually(&format!("it is being fetched: {context}"), SOON, asked).await;
        // Whatever was fetched until now is obsolete.
        let newest = self.number(key);
        means.apply(&self.there, key).await;

        let late = if with_late_callers { self.late_callers(key).await } else { Vec::new() };
        self.origin.release();
        for caller in callers {
            let Some(answer) = caller.await.unwrap() else { continue };
            // Who came before may have it, and is told.
            if answer.fetch_status() == FetchStatus::Fetched
                || answer.fetch_status() == FetchStatus::Revalidated
            {
                let stored = means != Means::Set && is_newer(answer.clone(), newest);
                let expected = if stored { FillResult::Stored } else { means.refusal() };
                // By then, the lease may be another caller's.
                let has_rivals = with_late_callers || way == Way::Coalesced;
                let is_lost = has_rivals && answer.fill() == FillResult::LeaseLost;
                assert!(is_lost || answer.fill() == expected, "{context}: {answer:?}");
            }
        }
        for caller in late {
            let answer = caller.await.unwrap().unwrap();
            assert!(is_newer(answer.clone(), newest), "{context}: a late caller got {answer:?}");
        }
        let counted = async || (self.refused().await > refused).then_some(());
        eventually(&format!("the late fill is refused: {context}"), SOON, counted).await;
        let caches = [&self.here, &self.there];
        throughout(Duration::from_millis(30), async || {
            for cache in caches {
                let value = cache.read(key).await;
                let may_be = match means {
                    Means::Set => value.as_deref() == Some(WRITTEN),
                    Means::Delete | Means::InvalidateNamespace => {
                        value.as_deref().is_none_or(|value| number(value) > newest)
                    }
                };
                assert!(may_be, "{context}: {value:?} is read, but {newest} was obsolete");
            }
        })
        .await;
        let (value, answer) = self.here.fetched(key).await;
        assert!(
            is_newer(answer, newest),
            "{context}: {value:?} is fetched, but {newest} was obsolete"
        );
        assert_eq!(self.there.read(key).await, value, "{context}");
    }

    /// Calls that come after it was all over, and before the origin has answered.
    async fn late_callers(&self, key: &str) -> Vec<JoinHandle<Option<GetOrFetchResponse>>> {
        let mut callers = Vec::new();
        for cache in [&self.here, &self.there] {
            for _ in 0..3 {
                callers.push(call(cache, fetch(key, 50_000)));
            }
        }
        // Time for them to be there.
        throughout(Duration::from_millis(50), async || {}).await;
        callers
    }

    /// How often the key was fetched.
    fn number(&self, key: &str) -> u64 {
        let target = format!("/v/{key}");
        self.origin.asked().iter().filter(|asked| asked.target == target).count() as u64
    }

    async fn waiting(&self, count: f64) {
        let all = async || (self.metric("larder_waiting").await == count).then_some(());
        eventually("they wait", SOON, all).await;
    }

    /// Fills that were refused.
    async fn refused(&self) -> f64 {
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

/// Whether an answer was written, or fetched after so many fetches had begun.
fn is_newer(answer: GetOrFetchResponse, newest: u64) -> bool {
    let value = as_text(answer.expect_found().value).unwrap();
    value == WRITTEN || number(&value) > newest
}

fn number(value: &str) -> u64 {
    u64::from_str(value).unwrap()
}
