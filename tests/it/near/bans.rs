//! Bans by tag and pattern remove what they hide from the near caches, and nothing else.

use std::time::{Duration, Instant};

use larder::pb::v1::{Consistency, GetRequest, SetRequest, SetResult, Tier};

use super::{CONFIG, read_with_tier, wait_until_coherent, wait_until_near};
use crate::support::{
    client::{Cache, as_text, get, invalidate as whole_namespace, set, text},
    fleet::Fleet,
    targets::{invalidate, pattern, tags},
    wait::{SOON, eventually},
};

const KEYS: usize = 100;

async fn fleet() -> Fleet {
    let fleet = Fleet::start(2, CONFIG).await;
    for server in &fleet.servers {
        wait_until_coherent(server).await;
    }
    fleet
}

async fn put(cache: &Cache, key: &str, value: &str, tag: &str) {
    let request = SetRequest { tags: vec![tag.to_owned()], ..set(key, text(value)) };
    assert_eq!(cache.set(request).await.unwrap().result(), SetResult::Stored);
}

/// How many of the keys the near cache answers at the first attempt.
async fn near_hits(cache: &Cache) -> usize {
    let mut hits = 0;
    for number in 0..KEYS {
        let (value, tier) = read_with_tier(cache, get(&format!("k{number}"))).await;
        assert_eq!(value.as_deref(), Some("v"));
        hits += usize::from(tier == Tier::Near);
    }
    hits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_no_ban_hides_are_kept() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    for number in 0..KEYS {
        put(there, &format!("k{number}"), "v", "kept").await;
        wait_until_near(here, &format!("k{number}"), "v").await;
    }
    for banner in [there, here] {
        // The markers of all shards were announced when the value of each is gone.
        let mut probes = 0;
        eventually("the copies are kept", SOON, async || {
            probes += 1;
            let probe = format!("probe-{probes}");
            put(there, &probe, "v", "banned").await;
            wait_until_near(here, &probe, "v").await;
            invalidate(banner, &[tags(&["banned"]), pattern("none*")]).await;
            eventually("the ban has arrived", SOON, async || {
                here.read(&probe).await.is_none().then_some(())
            })
            .await;
            // The marker of a shard may be read a moment later than the announcement arrives.
            (near_hits(here).await > KEYS * 9 / 10).then_some(())
        })
        .await;
    }
    here.invalidate_namespace(whole_namespace("ns")).await.unwrap();
    assert_eq!(here.read("k0").await, None, "an invalidation removes all copies");
}

/// Each round bans what was read a moment ago, through either replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_banned_copy_is_served_after_the_bound() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let mut slowest = Duration::ZERO;
    for round in 0..60 {
        let value = round.to_string();
        let key = format!("user:{}", round % 5);
        put(there, &key, &value, "t").await;
        wait_until_near(here, &key, &value).await;
        let banner = if round % 3 == 0 { here } else { there };
        let target = if round % 2 == 0 { tags(&["t"]) } else { pattern("user:?") };
        invalidate(banner, &[target]).await;
        let banned_at = Instant::now();
        let strict = GetRequest { consistency: Consistency::Store as i32, ..get(&key) };
        assert_eq!(as_text(here.get(strict).await.unwrap().value), None);
        if round % 3 == 0 {
            assert_eq!(here.read(&key).await, None, "a replica applies its own ban");
        }
        eventually("the copy is not served", SOON, async || {
            here.read(&key).await.is_none().then_some(())
        })
        .await;
        slowest = slowest.max(banned_at.elapsed());
    }
    eprintln!("a banned copy was served for {slowest:?} at most");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}
