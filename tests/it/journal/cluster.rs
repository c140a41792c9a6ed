use std::time::Duration;

use larder::pb::v1::Durability;

use super::{await_replayed, await_store, journaled};
use crate::support::{
    client::{delete, get},
    cluster::RedisCluster,
    wait::eventually,
};

const SLOW: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_of_a_part_that_is_away_are_queued_and_the_others_work() {
    let mut cluster = RedisCluster::start().await;
    let directory = tempfile::tempdir().unwrap();
    let larder = journaled(&cluster.url(), directory.path()).start().await;
    let cache = larder.client().await;
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    for key in &keys {
        await_store(&cache, key).await;
        cache.put(key, "old").await;
    }
    // The node returns with its entries.
    cluster.ask::<String>(0, &["SAVE"]).await;
    cluster.server(0).kill();
    let (mut queued, mut applied) = (Vec::new(), Vec::new());
    for key in &keys {
        let answer = cache.delete(delete(key)).await.unwrap();
        match answer.durability() {
            Durability::Queued => queued.push(key),
            durability => {
                assert_eq!(durability, Durability::Applied);
                applied.push(key);
            }
        }
    }
    assert!(queued.len() > 5 && applied.len() > 20, "{} {}", queued.len(), applied.len());
    for key in &applied {
        let answer = cache.get(get(key)).await.unwrap();
        assert!(answer.value.is_none() && !answer.degraded, "{key}: {answer:?}");
    }
    cluster.server(0).restart().await;
    eventually("all keys are read from the cluster", SLOW, async || {
        let mut is_degraded = false;
        for key in &queued {
            let answer = cache.get(get(key)).await.unwrap();
            assert!(answer.value.is_none(), "{key}: {answer:?}");
            is_degraded |= answer.degraded;
        }
        (!is_degraded).then_some(())
    })
    .await;
    await_replayed(&larder).await;
}
