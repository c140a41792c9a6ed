//! One server with its store, and the macros that run a test on each store.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    client::Cache,
    cluster::RedisCluster,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

/// One server on one store.
pub(crate) struct Env {
    // Declared before the store, so that the server is dropped first.
    pub(crate) larder: Larder,
    pub(crate) cache: Cache,
    _redis: Option<RedisServer>,
    _cluster: Option<RedisCluster>,
}

impl Env {
    /// A server on the embedded store.
    pub(crate) async fn memory(variables: &[(&str, &str)], config: &str) -> Self {
        let larder = Larder::memory()
            .env("LARDER_DEFAULTS__TTL_JITTER", 0)
            .envs(variables)
            .config(config)
            .start()
            .await;
        Self { cache: larder.client().await, larder, _redis: None, _cluster: None }
    }

    /// A server on a new Redis server.
    pub(crate) async fn redis(variables: &[(&str, &str)], config: &str) -> Self {
        let redis = RedisServer::start().await;
        let builder = Larder::redis(&redis.url()).env("LARDER_DEFAULTS__TTL_JITTER", 0);
        let larder = builder.envs(variables).config(config).start().await;
        let cache = larder.client().await;
        await_store(&cache).await;
        Self { cache, larder, _redis: Some(redis), _cluster: None }
    }
}

impl Env {
    /// A server on a new Redis Cluster.
    pub(crate) async fn cluster(variables: &[(&str, &str)], config: &str) -> Self {
        let cluster = RedisCluster::start().await;
        let builder = Larder::redis(&cluster.url()).env("LARDER_DEFAULTS__TTL_JITTER", 0);
        let larder = builder.envs(variables).config(config).start().await;
        let cache = larder.client().await;
        await_store(&cache).await;
        Self { cache, larder, _redis: None, _cluster: Some(cluster) }
    }
}

/// Waits until the store answers. A server serves before that.
async fn await_store(cache: &Cache) {
    let store = HealthCheckRequest { service: "store".to_owned() };
    eventually("the store answers", SOON, async || {
        let answer = HealthClient::new(cache.channel()).check(store.clone()).await.ok()?;
        (answer.into_inner().status() == ServingStatus::Serving).then_some(())
    })
    .await;
}

/// Makes one test per store of an async function that takes an [`Env`].
///
/// Environment variables and a config file for the server are optional. There is no TTL jitter
/// unless one of them sets it.
macro_rules! on_both_stores {
    ($($test:tt)*) => {
        on_stores!([memory redis] $($test)*);
    };
}

/// As [`on_both_stores`], with a test on a Redis Cluster. A few tests of each part do: a cluster is
/// several servers.
macro_rules! on_all_stores {
    ($($test:tt)*) => {
        on_stores!([memory redis cluster] $($test)*);
    };
}

macro_rules! on_stores {
    ($stores:tt $name:ident, |$env:ident| $body:block) => {
        on_stores!($stores $name, env: [], config: "", |$env| $body);
    };
    ($stores:tt $name:ident, env: $variables:expr, |$env:ident| $body:block) => {
        on_stores!($stores $name, env: $variables, config: "", |$env| $body);
    };
    ($stores:tt $name:ident, config: $config:expr, |$env:ident| $body:block) => {
        on_stores!($stores $name, env: [], config: $config, |$env| $body);
    };
    (
        [$($store:ident)*] $name:ident,
        env: $variables:expr, config: $config:expr, |$env:ident| $body:block
    ) => {
        mod $name {
            // A test may use no item of its file.
            #[allow(unused_imports)]
            use super::*;
            use $crate::support::env::Env;

            async fn run($env: Env) $body

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $store() {
                    run(Env::$store(&$variables, $config).await).await;
                }
            )*
        }
    };
}

/// Makes one test per store of an async function that takes an [`Env`] and an HTTP origin.
///
/// The namespace `ns` reads through the origin at `/v/{key}`. Further keys of `[namespaces.ns]` and
/// of `[namespaces.ns.origin]` are optional.
macro_rules! with_origin {
    ($name:ident, |$env:ident, $origin:ident| $body:block) => {
        with_origin!($name, namespace: "", origin: "", |$env, $origin| $body);
    };
    ($name:ident, origin: $origin_config:expr, |$env:ident, $origin:ident| $body:block) => {
        with_origin!($name, namespace: "", origin: $origin_config, |$env, $origin| $body);
    };
    ($name:ident, namespace: $namespace_config:expr, |$env:ident, $origin:ident| $body:block) => {
        with_origin!($name, namespace: $namespace_config, origin: "", |$env, $origin| $body);
    };
    (
        $name:ident,
        namespace: $namespace:expr,
        origin: $origin_config:expr,
        |$env:ident, $origin:ident| $body:block
    ) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            use $crate::support::{env::{Env, read_through, with_defaults}, origin::Origin};

            async fn run($env: Env, $origin: Origin) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                let origin = Origin::start().await;
                let (url, settings) = (origin.url("/v/{key}"), with_defaults($origin_config));
                let config = read_through(&url, $namespace, &settings);
                run(Env::memory(&[], &config).await, origin).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                let origin = Origin::start().await;
                let (url, settings) = (origin.url("/v/{key}"), with_defaults($origin_config));
                let config = read_through(&url, $namespace, &settings);
                run(Env::redis(&[], &config).await, origin).await;
            }
        }
    };
}

/// The configuration of a namespace `ns` with an HTTP origin.
pub(crate) fn read_through(url: &str, namespace: &str, origin: &str) -> String {
    format!("[namespaces.ns]\n{namespace}\n[namespaces.ns.origin]\nurl = '{url}'\n{origin}\n")
}

/// Adds defaults to an origin's configuration: leases long enough for a busy machine, and no early
/// refreshes.
pub(crate) fn with_defaults(origin: &str) -> String {
    let unless_set = |key: &str, line: &str| {
        if origin.contains(key) { String::new() } else { format!("{line}\n") }
    };
    let min_lease = unless_set("min_lease", "min_lease = '5s'");
    let early_refresh = unless_set("early_refresh", "early_refresh = 0");
    format!("{min_lease}{early_refresh}{origin}")
}
