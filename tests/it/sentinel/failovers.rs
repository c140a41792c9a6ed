//! Failovers: the primary is killed, demoted or paused, and the sentinels name another one.

use std::time::{Duration, Instant};

use crate::support::{
    client::{Cache, delete, get, set, text},
    load::Load,
    sentinel::{FAILOVER, Service},
    server::Larder,
    wait::{eventually, throughout},
};

/// Longest answer of a call, as in any outage: `store.timeout`, and tolerance for a slow machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Two replicas of Larder on a service that has a value.
struct Setup {
    service: Service,
    one: Larder,
    caches: [Cache; 2],
    _two: Larder,
}

// === impl Setup ===

impl Setup {
    async fn start() -> Self {
        Self::on(Service::start().await).await
    }

    async fn on(service: Service) -> Self {
        let (one, two) = (service.larder().start().await, service.larder().start().await);
        let caches = [one.client().await, two.client().await];
        stored(&caches[0], "old").await;
        caches[0].put("other", "v").await;
        service.is_in_sync().await;
        Self { service, one, caches, _two: two }
    }

    /// Waits until the new primary has deleted the value. The former one may acknowledge deletes
    /// until the sentinels name the new one, and these are lost.
    async fn delete(&self, primary: usize) {
        eventually("the value is deleted", FAILOVER, async || {
            self.caches[1].delete(delete("k")).await.ok()?;
            (!self.service.has_entry(primary, "k").await).then_some(())
        })
        .await;
    }

    /// Waits until the replica that has not deleted it reads from the new primary.
    async fn is_seen(&self) {
        eventually("the delete is seen", FAILOVER, async || {
            let answer = self.caches[0].get(get("k")).await.unwrap();
            (!answer.degraded && answer.value.is_none()).then_some(())
        })
        .await;
    }

    async fn is_never_read_again(&self, time: Duration) {
        throughout(time, async || {
            assert_eq!(self.caches[0].read("k").await, None);
        })
        .await;
    }
}

async fn stored(cache: &Cache, value: &str) {
    eventually("a value is stored", FAILOVER, async || {
        (!cache.set(set("k", text(value))).await.unwrap().degraded).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_the_primary_is_killed() {
    let mut setup = Setup::start().await;
    let load = Load::start(&setup.caches[0]);
    setup.service.servers[0].kill();
    let (_, promoted_at) = setup.service.promoted().await;
    stored(&setup.caches[0], "new").await;
    eprintln!("writes go on {:?} after the promotion", promoted_at.elapsed());
    assert_eq!(setup.caches[1].read("k").await.as_deref(), Some("new"));
    assert_eq!(setup.caches[1].read("other").await.as_deref(), Some("v"), "it was replicated");
    load.finish("primary killed", ANSWER_LIMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_primary_is_left() {
    let setup = Setup::start().await;
    let load = Load::start(&setup.caches[0]);
    setup.service.sentinels[1].fail_over().await;
    let (primary, promoted_at) = setup.service.promoted().await;
    setup.delete(primary).await;
    let deleted_at = Instant::now();
    setup.is_seen().await;
    eprintln!(
        "deleted {:?} after the promotion, and seen {:?} later",
        deleted_at - promoted_at,
        deleted_at.elapsed()
    );
    setup.is_never_read_again(Duration::from_secs(2)).await;
    stored(&setup.caches[0], "new").await;
    load.finish("failover by a sentinel", ANSWER_LIMIT).await;
    let log = setup.one.logs();
    let is_told = ["the sentinels name another primary", "another Redis server answers"];
    assert!(is_told.iter().any(|words| log.contains(words)), "{log}");
}

/// The former primary believes for seconds that it is the primary, and has what was deleted.
async fn left_while_paused(setup: &Setup) {
    let former = &setup.service.servers[0];
    former.pause();
    let (primary, _) = setup.service.promoted().await;
    setup.delete(primary).await;
    setup.is_seen().await;
    former.resume();
    // The test would see it: a client of the former primary reads the value.
    let outdated = Larder::redis(&former.url()).default_timeouts().start().await;
    let outdated = outdated.client().await;
    let is_primary = setup.service.believes_to_be_primary(0).await;
    let has_value = outdated.read("k").await.as_deref() == Some("old");
    assert!(is_primary && has_value, "primary: {is_primary}, value: {has_value}");
    setup.is_never_read_again(Duration::from_secs(3)).await;
    // Nor does a replica that starts now read it.
    let new = setup.service.larder().start().await;
    let answer = new.client().await.get(get("k")).await.unwrap();
    assert!(answer.value.is_none() && !answer.degraded, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_primary_is_left_before_it_is_demoted() {
    left_while_paused(&Setup::start().await).await;
}

/// Only the sentinels cannot reach the primary: it stays one for good, and has what was deleted at
/// the new one.
async fn left_while_it_works(announces: bool) {
    let mut service = Service::start().await;
    service.add_user().await;
    if !announces {
        silence(&service).await;
    }
    let setup = Setup::on(service).await;
    let copy = setup.service.copy_entry("k").await;
    setup.service.isolate_primary().await;
    let (primary, promoted_at) = setup.service.promoted().await;
    setup.delete(primary).await;
    let deleted_at = Instant::now();
    // The former primary may have taken a delete as well.
    setup.service.restore_entry(&copy).await;
    setup.is_seen().await;
    eprintln!(
        "announcements: {announces}; deleted {:?} after the promotion, and seen {:?} later",
        deleted_at - promoted_at,
        deleted_at.elapsed()
    );
    for _ in 0..5 {
        setup.is_never_read_again(Duration::from_millis(600)).await;
        assert!(setup.service.believes_to_be_primary(0).await);
        assert!(setup.service.has_entry(0, "k").await, "the test would see it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_primary_is_left() {
    left_while_it_works(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_primary_is_left_without_announcements() {
    left_while_it_works(false).await;
}

/// The sentinels are only asked: they announce nothing.
async fn silence(service: &Service) {
    for sentinel in &service.sentinels {
        sentinel.command(&["ACL", "SETUSER", "default", "-subscribe", "-psubscribe"]).await;
    }
}

/// A sentinel that was away names the former primary until it learns of the failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_is_late_is_outvoted() {
    let setup = Setup::start().await;
    setup.service.sentinels[0].pause();
    setup.service.servers[0].pause();
    let (primary, _) = setup.service.promoted().await;
    setup.delete(primary).await;
    setup.is_seen().await;
    setup.service.servers[0].resume();
    setup.service.sentinels[0].resume();
    setup.is_never_read_again(Duration::from_secs(3)).await;
}

/// There and back again: the first primary is one again, and its connections are not suspect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failovers_follow_one_another() {
    let setup = Setup::on(Service::start_with(1, 3, None).await).await;
    for round in 0..2 {
        let primary = setup.service.primary_port().await;
        setup.service.fail_over_from(primary).await;
        stored(&setup.caches[0], &format!("{round}")).await;
        let value = format!("{round}");
        eventually("both replicas agree", FAILOVER, async || {
            (setup.caches[1].read("k").await.as_ref() == Some(&value)).then_some(())
        })
        .await;
    }
}
