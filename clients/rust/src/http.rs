//! A cache of the HTTP answers of a service, as a layer of tower, with the feature `tower`.
//!
//! Answers are cached by the rules of HTTP for a shared cache (RFC 9111): what `Cache-Control`,
//! `Expires` and `Vary` permit, and [`ttl`](HttpCacheLayer::ttl) for answers without a lifetime.
//! Answers with `Set-Cookie`, streams of events and those to requests with `Authorization` are not,
//! unless HTTP permits it. Of all processes, one makes the answer of a URL, and the others wait for
//! it. The cache adds `ETag` and answers 304, and it adds `Age` and `X-Cache`: `HIT`, `MISS` or
//! `BYPASS`. A request never fails because of its cache.
//!
//! ```no_run
//! # async fn example() -> Result<(), larder_client::Error> {
//! use std::time::Duration;
//!
//! let client = larder_client::Client::from_env().connect_lazy()?;
//! let layer = larder_client::http::HttpCacheLayer::new(&client).ttl(Duration::from_secs(60));
//! // axum::Router::new().route("/report", get(report)).layer(layer.clone())
//! layer.purge("/report").await?;
//! # Ok(())
//! # }
//! ```

mod collecting;
mod engine;
mod entries;
mod keys;
mod layer;
mod options;
mod rules;

pub use collecting::CacheBody;
pub use layer::HttpCache;
pub use options::HttpCacheLayer;
