//! The ways in which a fetched value is stored.

use std::time::Duration;

use larder::pb::v1::{
    BatchGetOrFetchRequest, FetchStatus, GetOrFetchRequest, GetOrFetchResponse, WarmKey,
    WarmRequest, admin_service_client::AdminServiceClient,
    batch_get_or_fetch_result::Result as KeyResult,
};
use tokio::task::JoinHandle;

use super::{Setup, call};
use crate::support::{
    client::{NS, fetch, key_ref},
    origin::{OriginRequest, Reply, after, ok, send},
    wait::{SOON, eventually},
};

/// Cause of a fetch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FillPath {
    Foreground,
    /// A second call waits for the same value, on another replica if there is one.
    Coalesced,
    StaleRefresh,
    EarlyRefresh,
    NoCache,
    Batch,
    Warm,
    /// The origin answers that the stored value is still valid.
    Revalidation,
}

pub(super) const FILL_PATHS: [FillPath; 8] = [
    FillPath::Foreground,
    FillPath::Coalesced,
    FillPath::StaleRefresh,
    FillPath::EarlyRefresh,
    FillPath::NoCache,
    FillPath::Batch,
    FillPath::Warm,
    FillPath::Revalidation,
];

// === impl FillPath ===

impl FillPath {
    /// Whether a value must be stored before the fetch.
    pub(super) fn needs_stored_value(self) -> bool {
        matches!(self, Self::StaleRefresh | Self::EarlyRefresh | Self::NoCache | Self::Revalidation)
    }

    /// Starts the fetch and returns its callers. Each resolves to the answer, or none for a warm.
    pub(super) async fn start(
        self,
        setup: &Setup<'_>,
        key: &str,
    ) -> Vec<JoinHandle<Option<GetOrFetchResponse>>> {
        let cache = setup.fetching.clone();
        match self {
            Self::Foreground | Self::Revalidation => vec![call(&cache, fetch(key, 50_000))],
            Self::NoCache => {
                vec![call(&cache, GetOrFetchRequest { no_cache: true, ..fetch(key, 50_000) })]
            }
            Self::Coalesced => {
                let first = call(&cache, fetch(key, 50_000));
                setup.await_waiters(1.0).await;
                let second = call(&setup.invalidating, fetch(key, 50_000));
                setup.await_waiters(2.0).await;
                vec![first, second]
            }
            Self::StaleRefresh | Self::EarlyRefresh => {
                let status = if self == Self::StaleRefresh {
                    FetchStatus::Refreshing
                } else {
                    FetchStatus::RefreshingEarly
                };
                let started = async || {
                    let answer = cache.get_or_fetch(fetch(key, 50_000)).await.unwrap();
                    (answer.fetch_status() == status).then_some(())
                };
                eventually("a refresh starts", SOON, started).await;
                Vec::new()
            }
            Self::Batch => {
                let request =
                    BatchGetOrFetchRequest { keys: vec![key_ref(key)], ..Default::default() };
                vec![tokio::spawn(async move {
                    match cache
                        .batch_get_or_fetch(request)
                        .await
                        .unwrap()
                        .pop()
                        .unwrap()
                        .result
                        .unwrap()
                    {
                        KeyResult::Answer(answer) => Some(answer),
                        KeyResult::Error(error) => panic!("{error:?}"),
                    }
                })]
            }
            Self::Warm => {
                let keys = vec![WarmKey { key: key.to_owned(), ..Default::default() }];
                let request = WarmRequest { namespace: NS.to_owned(), keys, ..Default::default() };
                vec![tokio::spawn(async move {
                    let mut admin = AdminServiceClient::new(cache.channel());
                    let mut progress = admin.warm(request).await.unwrap().into_inner();
                    while let Some(message) = progress.message().await.unwrap() {
                        assert_eq!((message.stored, message.failed), (0, 0), "{message:?}");
                    }
                    None
                })]
            }
        }
    }
}

/// Replies so that the key, which is named after its path, is fetched again by that path.
pub(super) fn answer(request: &OriginRequest) -> Reply {
    let body = format!("{}", request.before + 1);
    let tag = request.target.trim_start_matches("/v/");
    let is_path = |path: FillPath| request.target.contains(&format!("{path:?}"));
    if request.before > 0 && request.header("if-none-match").is_some() {
        let headers = [("etag", "\"v\""), ("cache-control", "max-age=60"), ("cache-tag", tag)];
        return send(304, "", &headers);
    }
    let is_first = request.before == 0;
    let lifetime = match is_first {
        true if is_path(FillPath::StaleRefresh) => "max-age=0, stale-while-revalidate=60",
        true if is_path(FillPath::Revalidation) => "max-age=0, stale-while-revalidate=0",
        true if is_path(FillPath::EarlyRefresh) => "max-age=10",
        _ => "max-age=60",
    };
    let mut headers = vec![("cache-control", lifetime), ("cache-tag", tag)];
    if is_path(FillPath::Revalidation) {
        headers.push(("etag", "\"v\""));
    }
    let reply = ok(body, &headers);
    // A slow fetch makes an early refresh likely.
    if is_first && is_path(FillPath::EarlyRefresh) {
        after(Duration::from_millis(200), reply)
    } else {
        reply
    }
}
