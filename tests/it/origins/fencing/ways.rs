//! Every way in which a fetched value gets into the store.

use std::time::Duration;

use larder::pb::v1::{
    BatchGetOrFetchRequest, FetchStatus, GetOrFetchRequest, GetOrFetchResponse, WarmKey,
    WarmRequest, admin_service_client::AdminServiceClient,
    batch_get_or_fetch_result::Result as OfKey,
};
use tokio::task::JoinHandle;

use super::{World, call};
use crate::support::{
    client::{NS, fetch, key_ref},
    origin::{Asked, Reply, after, ok, send},
    wait::{SOON, eventually},
};

/// Why a value is fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Foreground,
    /// Another call waits for the same value, in another replica if there is one.
    Coalesced,
    StaleRefresh,
    EarlyRefresh,
    NoCache,
    Batch,
    Warm,
    /// The origin says that what is stored is still good.
    Confirmation,
}

pub(super) const WAYS: [Way; 8] = [
    Way::Foreground,
    Way::Coalesced,
    Way::StaleRefresh,
    Way::EarlyRefresh,
    Way::NoCache,
    Way::Batch,
    Way::Warm,
    Way::Confirmation,
];
// === impl Way ===

impl Way {
    /// Whether there is a value before the fetch in question.
    pub(super) fn needs_a_value(self) -> bool {
        matches!(self, Self::StaleRefresh | Self::EarlyRefresh | Self::NoCache | Self::Confirmation)
    }

    /// Begins the fetch; the values that its callers get, if they waited for it.
    pub(super) async fn begin(
        self,
        world: &World<'_>,
        key: &str,
    ) -> Vec<JoinHandle<Option<GetOrFetchResponse>>> {
        let here = world.here.clone();
        match self {
            Self::Foreground | Self::Confirmation => vec![call(&here, fetch(key, 50_000))],
            Self::NoCache => {
                vec![call(&here, GetOrFetchRequest { no_cache: true, ..fetch(key, 50_000) })]
            }
            Self::Coalesced => {
                let first = call(&here, fetch(key, 50_000));
                world.waiting(1.0).await;
                let second = call(&world.there, fetch(key, 50_000));
                world.waiting(2.0).await;
                vec![first, second]
            }
            Self::StaleRefresh | Self::EarlyRefresh => {
                let status = if self == Self::StaleRefresh {
                    FetchStatus::Refreshing
                } else {
                    FetchStatus::RefreshingEarly
                };
                let begun = async || {
                    let answer = here.get_or_fetch(fetch(key, 50_000)).await.unwrap();
                    (answer.fetch_status() == status).then_some(())
                };
                eventually("a refresh begins", SOON, begun).await;
                Vec::new()
            }
            Self::Batch => {
                let request =
                    BatchGetOrFetchRequest { keys: vec![key_ref(key)], ..Default::default() };
                vec![tokio::spawn(async move {
                    match here
                        .batch_get_or_fetch(request)
                        .await
                        .unwrap()
                        .pop()
                        .unwrap()
                        .result
                        .unwrap()
                    {
                        OfKey::Answer(answer) => Some(answer),
                        OfKey::Error(error) => panic!("{error:?}"),
                    }
                })]
            }
            Self::Warm => {
                let keys = vec![WarmKey { key: key.to_owned(), ..Default::default() }];
                let request = WarmRequest { namespace: NS.to_owned(), keys, ..Default::default() };
                vec![tokio::spawn(async move {
                    let mut admin = AdminServiceClient::new(here.channel());
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

/// Answers so that the key, which is named after the way, is fetched once more in that way.
pub(super) fn answer(asked: &Asked) -> Reply {
    let body = format!("{}", asked.before + 1);
    let is = |way: Way| asked.target.contains(&format!("{way:?}"));
    if asked.before > 0 && asked.header("if-none-match").is_some() {
        return send(304, "", &[("etag", "\"v\""), ("cache-control", "max-age=60")]);
    }
    let is_first = asked.before == 0;
    let lifetime = match is_first {
        true if is(Way::StaleRefresh) => "max-age=0, stale-while-revalidate=60",
        true if is(Way::Confirmation) => "max-age=0, stale-while-revalidate=0",
        true if is(Way::EarlyRefresh) => "max-age=10",
        _ => "max-age=60",
    };
    let mut headers = vec![("cache-control", lifetime)];
    if is(Way::Confirmation) {
        headers.push(("etag", "\"v\""));
    }
    let reply = ok(body, &headers);
    // The longer a fetch takes, the earlier it is begun.
    if is_first && is(Way::EarlyRefresh) { after(Duration::from_millis(200), reply) } else { reply }
}
