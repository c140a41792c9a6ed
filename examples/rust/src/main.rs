//! A first session with the client library for Rust: compute a missing value once, invalidate it by
//! a tag, and go on without the cache.
//!
//! ```sh
//! cargo run
//! ```
//!
//! The server is at `LARDER_ENDPOINT`, or else at `127.0.0.1:50051`.

use std::{
    convert::Infallible,
    error::Error,
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use larder_client::{Client, FetchError, FetchOptions, Namespace, Read, Targets};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: String,
    /// Which of the queries it is from.
    query: u32,
}

/// Number of queries.
static QUERIES: AtomicU32 = AtomicU32::new(0);

/// Stands in for a slow operation: a query, or a call to another service.
async fn query(name: &str) -> Result<Profile, Infallible> {
    Ok(Profile { name: name.to_owned(), query: QUERIES.fetch_add(1, Relaxed) + 1 })
}

async fn profile(profiles: &Namespace<Profile>) -> Result<Read<Profile>, FetchError<Infallible>> {
    let options = FetchOptions::default().tags(["team:7"]);
    let read = profiles.get_or_fetch_with("ada", options, || query("Ada Lovelace")).await?;
    println!("{:?} from {:?}", read.value(), read.tier);
    Ok(read)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env().connect().await?;
    let profiles = client.namespace::<Profile>("example-rust").ttl(Duration::from_secs(300));
    profiles.invalidate_namespace().await?;

    let computed = profile(&profiles).await?;
    let cached = profile(&profiles).await?;
    assert_eq!(cached.value(), computed.value());

    profiles.invalidate(&Targets::new().tags(["team:7"])).await?;
    assert_ne!(profile(&profiles).await?.value(), computed.value());
    client.close().await;

    // Nothing listens on a port that was free. The cache is away, and the query answers.
    let away = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let client = Client::builder(away.to_string()).connect_lazy()?;
    let alone = profile(&client.namespace("example-rust")).await?;
    println!("without the cache: {}", alone.error.as_ref().ok_or("an error")?);
    assert_eq!(alone.value().map(|profile| profile.query), Some(3));
    client.close().await;
    Ok(())
}
