//! AdminService: how entries are spread over sizes and ages.

use larder::pb::v1::{
    BatchSetRequest, Distribution, DistributionsRequest, DistributionsResponse,
    admin_service_client::AdminServiceClient, distribution::Unit,
};
use tonic::Status;

use crate::support::{
    client::{Cache, NS, data, delete, set, set_for},
    status::expect_violation,
    targets::{invalidate, pattern},
    wait::{SOON, eventually},
};

async fn distributions(
    cache: &Cache,
    namespace: &str,
    sample_size: u32,
) -> Result<DistributionsResponse, Status> {
    let request = DistributionsRequest { namespace: namespace.to_owned(), sample_size };
    AdminServiceClient::new(cache.channel()).distributions(request).await.map(|r| r.into_inner())
}

/// The buckets that are not empty, by their bounds.
fn buckets(distribution: Option<&Distribution>) -> Vec<(Option<f64>, u64)> {
    let buckets = distribution.unwrap().buckets.iter();
    buckets.filter(|bucket| bucket.entries > 0).map(|b| (b.up_to, b.entries)).collect()
}

on_both_stores!(entries_are_counted_by_size_and_age, |env| {
    let cache = &env.cache;
    let empty = distributions(cache, NS, 0).await.unwrap();
    assert_eq!((empty.examined, empty.complete), (0, true));
    assert_eq!(empty.age.as_ref().unwrap().mean, 0.0);
    for number in 0..10 {
        cache.set(set_for(&format!("k{number}"), data(vec![7; 100]), 30_000)).await.unwrap();
    }
    cache.set(set(&"l".repeat(100), data(vec![7; 5000]))).await.unwrap();
    cache.set(set("gone", data(vec![7; 100_000]))).await.unwrap();
    cache.delete(delete("gone")).await.unwrap();
    cache.set(set("banned", data(vec![7; 100_000]))).await.unwrap();
    invalidate(cache, &[pattern("ban*")]).await;
    let found = distributions(cache, NS, 0).await.unwrap();
    assert_eq!((found.examined, found.complete), (11, true));
    assert_eq!(buckets(found.value_bytes.as_ref()), [(Some(256.0), 10), (Some(16384.0), 1)]);
    assert_eq!(buckets(found.key_bytes.as_ref()), [(Some(8.0), 10), (Some(128.0), 1)]);
    assert_eq!(buckets(found.ttl_remaining.as_ref()), [(Some(60.0), 10), (Some(3600.0), 1)]);
    let (sizes, age) = (found.value_bytes.unwrap(), found.age.unwrap());
    assert_eq!((sizes.unit(), age.unit()), (Unit::Bytes, Unit::Seconds));
    assert_eq!((sizes.min, sizes.max, sizes.mean), (100.0, 5000.0, 6000.0 / 11.0));
    assert!(age.max < 60.0 && age.buckets.iter().map(|b| b.entries).sum::<u64>() == 11);
    assert_eq!(distributions(cache, "other", 0).await.unwrap().examined, 0);
    expect_violation(distributions(cache, "NS", 0).await, "namespace");
});

on_both_stores!(a_sample_of_many_entries_is_enough, |env| {
    for round in 0..2 {
        let item = |number| set(&format!("{round}:{number}"), data(vec![7; 64]));
        let items = (0..1000).map(item).collect();
        env.cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
    let found = distributions(&env.cache, NS, 100).await.unwrap();
    assert!((100..1500).contains(&found.examined) && !found.complete, "{found:?}");
    // A busy machine may examine fewer in a second.
    let all = eventually("all entries are examined", SOON, async || {
        let all = distributions(&env.cache, NS, 10_000).await.unwrap();
        all.complete.then_some(all)
    })
    .await;
    assert_eq!(all.examined, 2000);
});
