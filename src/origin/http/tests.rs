//! The origin against servers that answer, refuse, lie, hang and break.

#![allow(clippy::unwrap_used)]

mod answers;
mod connections;
mod failures;
mod server;

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use self::server::Server;
use super::*;
use crate::{model::Namespace, origin::Validators};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what will not come; also on a busy machine, it is not there before.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn options(url: &str) -> HttpOptions {
    HttpOptions {
        url: UrlTemplate::parse(url).unwrap(),
        headers: HeaderMap::new(),
        connect_timeout: PATIENCE,
        max_value_bytes: 1000,
        max_redirects: 0,
        version: HttpVersion::Auto,
        ca_pem: None,
        respect_cache_headers: true,
        ttl: Duration::from_secs(90),
        negative_ttl: Duration::from_secs(9),
    }
}

fn order(key: &str) -> FetchRequest {
    let key = EntryKey::new(Namespace::new("user").unwrap(), key, [].into_iter()).unwrap();
    FetchRequest {
        key,
        params: Arc::new(BTreeMap::new()),
        validators: Validators::default(),
        deadline: Instant::now() + PATIENCE,
    }
}

/// Asks a server for the key `k`.
async fn ask(server: &Server) -> Result<FetchResponse> {
    ask_with(options(&server.url("/{key}"))).await
}

async fn ask_with(options: HttpOptions) -> Result<FetchResponse> {
    HttpOrigin::new(options).unwrap().fetch(&order("k")).await
}
