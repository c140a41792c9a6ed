//! Tests against servers that answer, refuse, hang, break and send malformed responses.

#![allow(clippy::unwrap_used)]

mod answers;
mod connections;
mod failures;
mod redirects;
mod server;

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use self::server::Server;
use super::*;
use crate::{
    model::{EntryKey, Namespace},
    origin::Validators,
};

/// Never reached, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// For events that never happen, so that the load of the machine does not matter.
const SHORT: Duration = Duration::from_millis(200);

fn options(url: &str) -> HttpOptions {
    HttpOptions {
        url: UrlTemplate::parse(url).unwrap(),
        headers: HeaderMap::new(),
        connect_timeout: LONG,
        max_value_bytes: 1000,
        max_redirects: 0,
        stale_if_error_statuses: vec![500, 502, 503, 504],
        version: HttpVersion::Auto,
        ca_pem: None,
        respect_cache_headers: true,
        ttl: Duration::from_secs(90),
        negative_ttl: Duration::from_secs(9),
        stale_while_revalidate: Duration::from_secs(20),
        stale_if_error: Duration::from_secs(30),
    }
}

fn request(key: &str) -> FetchRequest {
    let key = EntryKey::new(Namespace::new("user").unwrap(), key, [].into_iter()).unwrap();
    FetchRequest {
        key,
        params: Arc::new(BTreeMap::new()),
        validators: Validators::default(),
        deadline: Instant::now() + LONG,
    }
}

/// Fetches the key `k` from a server.
async fn fetch(server: &Server) -> Result<FetchResponse> {
    fetch_with(options(&server.url("/{key}"))).await
}

async fn fetch_with(options: HttpOptions) -> Result<FetchResponse> {
    HttpOrigin::new(options).unwrap().fetch(&request("k")).await
}
