//! The time of a hit of the near cache: a value of 1 KiB, one task.
//!
//! `cargo run --release -p larder-client --features testing --example near_hits`

use std::time::Duration;

use bytes::Bytes;
use larder_client::{Error, NearCache, Tier, testing::FakeLarder};
use tokio::time::Instant;

const HITS: u32 = 2_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = FakeLarder::new().client().connect_lazy()?;
    let values = client.namespace::<Bytes>("values").near_cache(NearCache::default());
    values.set("key", &Bytes::from(vec![7; 1024])).await?;
    while values.get("key").await?.tier != Some(Tier::Client) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    let mut hits = 0;
    for _ in 0..HITS {
        hits += u32::from(values.get("key").await?.tier == Some(Tier::Client));
    }
    let took = begun.elapsed() / HITS;
    assert_eq!(hits, HITS, "not all reads were hits");
    println!("a hit of the near cache takes {took:?}");
    Ok(())
}
