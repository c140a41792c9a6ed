//! The hub with its dispatcher and watchers, on a paused clock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, advance, timeout};

use super::*;
use crate::model::Namespace;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Namespace {
    Namespace::new(text).unwrap()
}

fn hub(options: WatchOptions) -> Arc<ChangeHub> {
    let hub = ChangeHub::new(options);
    tokio::spawn(hub.clone().run());
    hub
}

fn local() -> Arc<ChangeHub> {
    hub(WatchOptions::default())
}

fn remote() -> Arc<ChangeHub> {
    hub(WatchOptions { is_remote: true, ..WatchOptions::default() })
}

fn watch(hub: &Arc<ChangeHub>, namespaces: &[&str], has_keys: bool, token: &[u8]) -> Watcher {
    let namespaces = namespaces.iter().map(|text| name(text)).collect();
    Watcher::open(hub.clone(), namespaces, has_keys, token).unwrap()
}

fn write(hub: &ChangeHub, namespace: &str, key: &str) {
    if hub.follows_keys() {
        hub.publish_key(namespace, ChangedKey { key, digest: None });
    }
}

fn ban(hub: &ChangeHub, namespace: &str, tag: &str) {
    hub.publish(namespace, PublishedChange::Tags(vec![tag.to_owned()]));
}

fn follow(hub: &ChangeHub, namespaces: &[&str]) {
    hub.on_heartbeat(Instant::now());
    hub.on_following(&namespaces.iter().map(|text| name(text)).collect::<Vec<_>>());
}

/// A signal as a short text.
fn text(signal: &WatchSignal) -> String {
    match signal {
        WatchSignal::Ready { is_resumed: true, .. } => "resumed".to_owned(),
        WatchSignal::Ready { .. } => "ready".to_owned(),
        WatchSignal::Heartbeat { .. } => "heartbeat".to_owned(),
        WatchSignal::Reset(reason) => format!("reset {}", reason.name()),
        WatchSignal::Changed(batch) => {
            let namespace = batch.namespace();
            match batch.change() {
                PublishedChange::Keys(keys) => {
                    let keys: Vec<&str> = keys.iter().map(|name| name.key).collect();
                    format!("{namespace} {}", keys.join(","))
                }
                PublishedChange::Namespace => format!("{namespace} all"),
                PublishedChange::Tags(tags) => format!("{namespace} tag {}", tags.join(",")),
                PublishedChange::Pattern(glob) => format!("{namespace} glob {glob}"),
            }
        }
    }
}

async fn next(watcher: &mut Watcher) -> String {
    text(&watcher.next().await)
}

/// The next signals, as many as are expected.
async fn expect(watcher: &mut Watcher, expected: &[&str]) {
    for expected in expected {
        assert_eq!(next(watcher).await, *expected);
    }
}

/// Nothing comes within `time`.
async fn expect_silence(watcher: &mut Watcher, time: Duration) {
    let signal = timeout(time, watcher.next()).await;
    assert!(signal.is_err(), "{}", text(&signal.unwrap()));
}

/// The token of the next heartbeat.
async fn token(watcher: &mut Watcher) -> Vec<u8> {
    let signal = watcher.next().await;
    let WatchSignal::Heartbeat { token } = signal else { panic!("{}", text(&signal)) };
    token
}

#[tokio::test(start_paused = true)]
async fn changes_after_ready_arrive_once_and_only_those_that_are_watched() {
    let hub = local();
    assert!(!hub.follows_keys());
    write(&hub, "a", "before");
    let mut plain = watch(&hub, &["a"], false, b"");
    assert!(!hub.follows_keys(), "no keys are watched");
    let mut keys = watch(&hub, &["b", "a"], true, b"");
    expect(&mut plain, &["ready"]).await;
    expect(&mut keys, &["ready"]).await;
    for key in ["x", "y", "x"] {
        write(&hub, "a", key);
        write(&hub, "c", key);
    }
    expect(&mut keys, &["a x,y"]).await;
    ban(&hub, "a", "t");
    hub.publish("b", PublishedChange::Namespace);
    hub.publish("c", PublishedChange::Namespace);
    hub.publish("a", PublishedChange::Pattern("p*".to_owned()));
    expect(&mut plain, &["a tag t", "a glob p*"]).await;
    expect(&mut keys, &["a tag t", "a glob p*", "b all"]).await;
    write(&hub, "a", "x");
    expect(&mut keys, &["a x"]).await;
    expect_silence(&mut plain, SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_change_is_sent_at_once_and_later_ones_together() {
    let hub = local();
    let mut watcher = watch(&hub, &["a"], true, b"");
    expect(&mut watcher, &["ready"]).await;
    let began = Instant::now();
    write(&hub, "a", "1");
    expect(&mut watcher, &["a 1"]).await;
    assert!(began.elapsed() < Duration::from_millis(1), "{:?}", began.elapsed());
    for key in ["2", "3", "4"] {
        write(&hub, "a", key);
        advance(Duration::from_millis(5)).await;
    }
    expect(&mut watcher, &["a 2,3,4"]).await;
    assert!(began.elapsed() < Duration::from_millis(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn heartbeats_come_while_nothing_changes() {
    let hub = local();
    let mut watcher = watch(&hub, &["a"], false, b"");
    expect(&mut watcher, &["ready"]).await;
    for _ in 0..3 {
        let began = Instant::now();
        expect(&mut watcher, &["heartbeat"]).await;
        assert_eq!(began.elapsed(), 5 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_reads_too_slowly_is_reset_and_continues() {
    let hub = hub(WatchOptions { buffer_bytes: 64 * 1024, ..WatchOptions::default() });
    let (mut slow, mut fast) = (watch(&hub, &["a"], true, b""), watch(&hub, &["a"], true, b""));
    expect(&mut slow, &["ready"]).await;
    expect(&mut fast, &["ready"]).await;
    for round in 0..100 {
        for number in 0..100 {
            write(&hub, "a", &format!("key-{round}-{number}"));
        }
        assert!(next(&mut fast).await.starts_with("a key"), "the fast one misses nothing");
    }
    let buffered = hub.stats().buffered_bytes;
    assert!((1_000..40_000).contains(&buffered), "{buffered}");
    expect(&mut slow, &["reset slow_reader", "ready"]).await;
    write(&hub, "a", "x");
    expect(&mut slow, &["a x"]).await;
    assert_eq!(hub.stats().resets[ResetReason::SlowReader as usize], 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_sent_too_late_becomes_a_reset() {
    let hub = local();
    let mut watcher = watch(&hub, &["a"], false, b"");
    expect(&mut watcher, &["ready"]).await;
    ban(&hub, "a", "t");
    advance(Duration::from_millis(1001)).await;
    expect(&mut watcher, &["reset slow_reader", "ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_the_feed_and_its_end_is_a_reset() {
    let hub = remote();
    let mut watcher = watch(&hub, &["a", "b"], true, b"");
    assert_eq!(hub.wanted().borrow().len(), 2);
    expect_silence(&mut watcher, SECOND).await;
    follow(&hub, &["a"]);
    write(&hub, "a", "before");
    expect_silence(&mut watcher, SECOND).await;
    follow(&hub, &["a", "b"]);
    write(&hub, "b", "also before");
    expect(&mut watcher, &["ready"]).await;
    write(&hub, "b", "after");
    expect(&mut watcher, &["b after"]).await;
    write(&hub, "b", "lost");
    hub.on_lost(ResetReason::StoreFlushed);
    hub.on_lost(ResetReason::StoreUnavailable);
    expect(&mut watcher, &["reset store_flushed"]).await;
    // Sent again, so that the stream is not silent.
    let began = Instant::now();
    expect(&mut watcher, &["reset store_flushed"]).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    write(&hub, "a", "between");
    follow(&hub, &["a", "b"]);
    expect(&mut watcher, &["ready"]).await;
    write(&hub, "a", "after");
    expect(&mut watcher, &["a after"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_never_starts_is_reported_as_an_unavailable_store() {
    let hub = remote();
    let mut watcher = watch(&hub, &["a"], false, b"");
    let began = Instant::now();
    expect(&mut watcher, &["reset store_unavailable"]).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_only_sent_while_the_feed_answers() {
    let hub = remote();
    let mut watcher = watch(&hub, &["a"], false, b"");
    follow(&hub, &["a"]);
    expect(&mut watcher, &["ready"]).await;
    advance(Duration::from_millis(4500)).await;
    hub.on_heartbeat(Instant::now());
    expect(&mut watcher, &["heartbeat"]).await;
    expect(&mut watcher, &["reset feed_lost"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_continues_where_its_token_ends() {
    let hub = local();
    let mut watcher = watch(&hub, &["a", "b"], true, b"");
    expect(&mut watcher, &["ready"]).await;
    write(&hub, "a", "1");
    expect(&mut watcher, &["a 1"]).await;
    let token = token(&mut watcher).await;
    write(&hub, "a", "2");
    drop(watcher);
    ban(&hub, "b", "t");
    write(&hub, "b", "3");
    let mut resumed = watch(&hub, &["b", "a"], true, &token);
    expect(&mut resumed, &["a 2", "b tag t", "b 3", "resumed"]).await;
    write(&hub, "a", "4");
    expect(&mut resumed, &["a 4"]).await;
    // Other namespaces, or without keys: another stream.
    for (namespaces, has_keys) in [(&["a"][..], true), (&["a", "b"], false)] {
        let mut other = watch(&hub, namespaces, has_keys, &token);
        expect(&mut other, &["reset not_resumable", "ready"]).await;
    }
    let mut malformed = watch(&hub, &["a"], true, b"nonsense");
    expect(&mut malformed, &["reset not_resumable", "ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_resumed_watch_is_ready_before_later_changes() {
    let hub = local();
    let mut watcher = watch(&hub, &["a"], true, b"");
    expect(&mut watcher, &["ready"]).await;
    let token = token(&mut watcher).await;
    write(&hub, "a", "missed");
    let mut resumed = watch(&hub, &["a"], true, &token);
    expect(&mut resumed, &["a missed"]).await;
    write(&hub, "a", "later");
    expect(&mut resumed, &["resumed", "a later"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_replica_or_of_long_ago_continues_nothing() {
    let (hub, other) = (local(), local());
    let mut watcher = watch(&hub, &["a"], true, b"");
    expect(&mut watcher, &["ready"]).await;
    let token = token(&mut watcher).await;
    drop(watcher);
    let mut elsewhere = watch(&other, &["a"], true, &token);
    expect(&mut elsewhere, &["reset not_resumable", "ready"]).await;
    advance(59 * SECOND).await;
    hub.tidy(Instant::now());
    let mut soon = watch(&hub, &["a"], true, &token);
    expect(&mut soon, &["resumed"]).await;
    drop(soon);
    advance(61 * SECOND).await;
    hub.tidy(Instant::now());
    assert_eq!((hub.stats().namespaces, hub.follows_keys()), (0, false));
    let mut late = watch(&hub, &["a"], true, &token);
    expect(&mut late, &["reset not_resumable", "ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_recorded_no_longer_than_they_are_watched() {
    let hub = local();
    let mut plain = watch(&hub, &["a"], false, b"");
    let mut keys = watch(&hub, &["a"], true, b"");
    expect(&mut keys, &["ready"]).await;
    let token = token(&mut keys).await;
    drop(keys);
    advance(61 * SECOND).await;
    hub.tidy(Instant::now());
    assert_eq!((hub.stats().namespaces, hub.follows_keys()), (1, false));
    write(&hub, "a", "unseen");
    let mut late = watch(&hub, &["a"], true, &token);
    expect(&mut late, &["reset not_resumable", "ready"]).await;
    expect(&mut plain, &["ready"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_loss_of_the_feed_ends_every_token() {
    let hub = remote();
    let mut watcher = watch(&hub, &["a"], true, b"");
    follow(&hub, &["a"]);
    expect(&mut watcher, &["ready"]).await;
    advance(4 * SECOND).await;
    hub.on_heartbeat(Instant::now());
    advance(SECOND).await;
    let token = token(&mut watcher).await;
    drop(watcher);
    hub.on_lost(ResetReason::FeedLost);
    follow(&hub, &["a"]);
    let mut resumed = watch(&hub, &["a"], true, &token);
    expect(&mut resumed, &["reset not_resumable", "ready"]).await;
}

/// A source that accepts one proof.
struct Source(Proof);

#[async_trait]
impl MissedChanges for Source {
    async fn missed(&self, _: &Namespace, proof: &Proof) -> Option<Vec<PublishedChange>> {
        (*proof == self.0).then(|| vec![PublishedChange::Tags(vec!["missed".to_owned()])])
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_can_prove_what_another_replica_has_missed() {
    let (one, two) = (remote(), remote());
    two.set_source(Arc::new(Source(Proof([7; 48]))));
    for (proof, expected) in
        [(7, &["a tag missed", "resumed"][..]), (8, &["reset not_resumable", "ready"])]
    {
        let mut watcher = watch(&one, &["a"], false, b"");
        follow(&one, &["a"]);
        one.set_proof(&name("a"), Some(Proof([proof; 48])));
        let WatchSignal::Ready { token, .. } = watcher.next().await else { panic!() };
        let mut resumed = watch(&two, &["a"], false, &token);
        follow(&two, &["a"]);
        expect(&mut resumed, expected).await;
    }
    let mut keys = watch(&one, &["a"], true, b"");
    let WatchSignal::Ready { token, .. } = keys.next().await else { panic!() };
    let mut resumed = watch(&two, &["a"], true, &token);
    expect(&mut resumed, &["reset not_resumable"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_number_of_namespaces_is_bounded_and_unwatched_ones_make_room() {
    let hub = hub(WatchOptions { max_namespaces: 2, ..WatchOptions::default() });
    let one = watch(&hub, &["a"], false, b"");
    let two = watch(&hub, &["b", "b"], false, b"");
    let open = |names: &[&str]| {
        let names = names.iter().map(|text| name(text)).collect();
        Watcher::open(hub.clone(), names, false, b"")
    };
    assert_eq!(open(&["c"]).err(), Some(TooManyNamespaces { limit: 2 }));
    let same = watch(&hub, &["a", "b"], false, b"");
    drop(one);
    assert!(open(&["c"]).is_err(), "still watched");
    drop(same);
    let three = open(&["c"]).unwrap();
    assert_eq!(hub.stats().watchers, 2);
    drop((two, three));
    assert_eq!(hub.stats().watchers, 0);
}

#[tokio::test(start_paused = true)]
async fn more_namespaces_share_the_memory() {
    let hub = hub(WatchOptions { buffer_bytes: 100_000, ..WatchOptions::default() });
    let _one = watch(&hub, &["a"], true, b"");
    for number in 0..1000 {
        ban(&hub, "a", &format!("{number:0>100}"));
    }
    let alone = hub.stats().buffered_bytes;
    assert!((40_000..=50_000).contains(&alone), "{alone}");
    let _two = watch(&hub, &["b", "c", "d", "e"], true, b"");
    let shared = hub.stats().buffered_bytes;
    assert!((8_000..=10_000).contains(&shared), "{shared}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_encoded_once() {
    let hub = local();
    let mut watchers = [watch(&hub, &["a"], false, b""), watch(&hub, &["a"], false, b"")];
    for watcher in &mut watchers {
        expect(watcher, &["ready"]).await;
    }
    ban(&hub, "a", "t");
    let mut times = 0;
    for watcher in &mut watchers {
        let WatchSignal::Changed(batch) = watcher.next().await else { panic!() };
        batch.encoded(|_| {
            times += 1;
            bytes::Bytes::from_static(b"encoded")
        });
    }
    assert_eq!(times, 1);
}
