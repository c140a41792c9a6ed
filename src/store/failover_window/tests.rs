#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::{Ban, BanLimits};

const LENGTH: Duration = Duration::from_secs(10);

fn key_in(namespace: &str, key: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), key, [].into_iter()).unwrap()
}

fn window() -> (FailoverWindow, Arc<AtomicU64>) {
    let epoch = Arc::new(AtomicU64::new(7));
    (FailoverWindow::new(LENGTH, epoch.clone()), epoch)
}

async fn lacks(window: &FailoverWindow, key: &EntryKey) -> bool {
    window.epoch_for(key).await.is_none()
}

fn remember(window: &FailoverWindow, key: &EntryKey) {
    window.remember(Invalidation::Key(key.clone()), Timestamp(0), window.epoch());
}

#[tokio::test(start_paused = true)]
async fn only_what_was_invalidated_lately_waits_after_a_change_of_primary() {
    let (window, epoch) = window();
    let [old, new, other] = ["old", "new", "other"].map(|key| key_in("ns", key));
    remember(&window, &old);
    tokio::time::advance(LENGTH).await;
    remember(&window, &new);
    window.forget_old();
    assert!(!lacks(&window, &new).await, "the primary is the same");
    epoch.store(8, Ordering::Release);
    assert!(lacks(&window, &new).await && window.lacked_since(7, &new));
    assert!(!lacks(&window, &old).await && !lacks(&window, &other).await);
    assert!(window.stats().is_reapplying);
    // Nothing is forgotten before it is applied again, however long that takes.
    tokio::time::advance(10 * LENGTH).await;
    window.forget_old();
    assert!(lacks(&window, &new).await);
    assert_eq!(window.lacking(8), [(Invalidation::Key(new.clone()), Timestamp(0))]);
    // The new primary has its own.
    remember(&window, &other);
    assert_eq!(window.lacking(8).len(), 1);
    window.trust(8, 1);
    assert!(!lacks(&window, &new).await);
    assert!(window.lacked_since(7, &new), "a call may have met the primary before");
    assert_eq!(window.stats().reapplied, 1);
}

#[tokio::test(start_paused = true)]
async fn the_later_end_of_a_hold_off_counts() {
    let (window, _epoch) = window();
    let invalidation = Invalidation::Key(key_in("ns", "k"));
    for (end, epoch) in [(5, 7), (9, 7), (7, 8)] {
        window.remember(invalidation.clone(), Timestamp(end), epoch);
    }
    assert_eq!(window.lacking(8), [(invalidation.clone(), Timestamp(9))]);
    window.remember(invalidation.clone(), Timestamp(9), 8);
    assert_eq!(window.lacking(8), []);
    assert_eq!(window.lacking(9), [(invalidation, Timestamp(9))]);
}

#[tokio::test(start_paused = true)]
async fn too_many_invalidations_become_one_of_their_namespace() {
    let (window, epoch) = window();
    let few = key_in("few", "k");
    remember(&window, &few);
    let held = Invalidation::Key(key_in("many", "held"));
    window.remember(held, Timestamp(9), 7);
    for number in 0..MAX_INVALIDATIONS {
        remember(&window, &key_in("many", &number.to_string()));
    }
    // The few, the whole namespace, its hold-off, and the last one.
    assert_eq!(window.stats().remembered, 4);
    epoch.store(8, Ordering::Release);
    assert!(lacks(&window, &few).await && !lacks(&window, &key_in("few", "other")).await);
    assert!(lacks(&window, &key_in("many", "another")).await);
    let whole = Namespace::new("many").unwrap();
    let everything = (Invalidation::of_everything(&whole), Timestamp(9));
    assert!(window.lacking(8).contains(&everything));
}

#[tokio::test(start_paused = true)]
async fn hold_offs_do_not_exceed_the_bound() {
    let (window, _epoch) = window();
    for number in 0..=MAX_INVALIDATIONS {
        let held = Invalidation::Key(key_in("many", &number.to_string()));
        window.remember(held, Timestamp(number as u64 + 1), 7);
    }
    assert_eq!(window.stats().remembered, 2);
    let longest = window.lacking(8).into_iter().map(|(_, held_until)| held_until).max();
    assert_eq!(longest, Some(Timestamp(MAX_INVALIDATIONS as u64 + 1)));
}

mod reapplying {
    use tokio::sync::watch;

    use super::*;
    use crate::{
        model::{Kind, Lifetime, NewEntry, Version},
        store::{
            Backend, Condition, ErrorKind, Store as _,
            failover_window::{reapply, store::FailoverWindowStore},
            memory::MemoryStore,
        },
    };

    const MINUTE: Duration = Duration::from_secs(60);

    /// A store on two primaries, the second of which has what the first had at the start.
    struct Failover {
        former: MemoryStore,
        promoted: MemoryStore,
        epoch: Arc<AtomicU64>,
        window: Arc<FailoverWindow>,
    }

    fn entry() -> NewEntry {
        NewEntry {
            kind: Kind::Text,
            data: "old".into(),
            version: Version(1),
            lifetime: Lifetime { ttl: MINUTE, ..Lifetime::default() },
            tags: vec!["t".to_owned()].into(),
            fetch_metadata: None,
        }
    }

    impl Failover {
        async fn new(keys: &[&EntryKey]) -> Self {
            let [former, promoted] = [(); 2].map(|()| MemoryStore::new(1 << 20));
            for store in [&former, &promoted] {
                for key in keys {
                    store.put(key, &entry(), Condition::Always).await.unwrap();
                }
            }
            let epoch = Arc::new(AtomicU64::new(0));
            let window = Arc::new(FailoverWindow::new(LENGTH, epoch.clone()));
            Self { former, promoted, epoch, window }
        }

        fn on(&self, primary: &MemoryStore) -> Arc<dyn Backend> {
            let inner = Arc::new(primary.clone());
            Arc::new(FailoverWindowStore::new(inner, self.window.clone()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_promoted_primary_is_not_read_before_it_has_every_invalidation() {
        let [deleted, kept] = ["deleted", "kept"].map(|key| key_in("ns", key));
        let [banned, whole] = ["banned", "whole"].map(|namespace| key_in(namespace, "k"));
        let all = [&deleted, &kept, &banned, &whole];
        let failover = Failover::new(&all).await;
        let store = failover.on(&failover.former);
        assert!(store.delete(&deleted, Duration::ZERO).await.unwrap());
        store.invalidate(whole.namespace()).await.unwrap();
        let ban = Ban { tags: vec!["t".to_owned()], ..Ban::default() };
        store.ban(banned.namespace(), &ban, &BanLimits::default()).await.unwrap();
        failover.epoch.store(1, Ordering::Release);
        let store = failover.on(&failover.promoted);
        for key in [&deleted, &banned, &whole] {
            let kind = store.get(key).await.unwrap_err().kind;
            assert_eq!(kind, ErrorKind::Reapplying, "{key:?}");
            assert!(failover.promoted.get(key).await.unwrap().is_some(), "the loss is there");
        }
        assert!(store.get(&kept).await.unwrap().is_some());
        let several = store.get_many(&[kept.clone(), deleted.clone()]).await.unwrap();
        assert!(several[0].as_ref().unwrap().is_some() && several[1].is_err());
        let follow = reapply::follow(
            failover.window.clone(),
            store.clone(),
            watch::Sender::new(true).subscribe(),
        );
        let _ = tokio::time::timeout(Duration::from_millis(1), follow).await;
        for key in [&deleted, &banned, &whole] {
            assert!(store.get(key).await.unwrap().is_none(), "{key:?}");
        }
        assert!(store.get(&kept).await.unwrap().is_some());
        assert_eq!(failover.window.stats().reapplied, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_a_little_for_the_invalidations() {
        let key = key_in("ns", "k");
        let failover = Failover::new(&[&key]).await;
        failover.on(&failover.former).delete(&key, Duration::ZERO).await.unwrap();
        failover.epoch.store(1, Ordering::Release);
        let store = failover.on(&failover.promoted);
        let answers = watch::Sender::new(true).subscribe();
        let follow = reapply::follow(failover.window.clone(), store.clone(), answers);
        let put = async {
            store.put(&key, &entry(), Condition::Always).await.unwrap();
            store.get(&key).await.unwrap()
        };
        let found = tokio::select! {
            () = follow => None,
            found = put => found,
        };
        assert!(found.is_some(), "a later write is not undone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_another_primary_may_have_given_does_not_count() {
        let key = key_in("ns", "k");
        let failover = Failover::new(&[&key]).await;
        failover.on(&failover.former).delete(&key, Duration::ZERO).await.unwrap();
        let (promoted, epoch) = (failover.promoted.clone(), failover.epoch.clone());
        let store = FailoverWindowStore::new(Arc::new(promoted.clone()), failover.window.clone());
        let read = store.checked(&key, async {
            let answer = promoted.get(&key).await;
            epoch.store(1, Ordering::Release);
            // The invalidations are applied again after the answer.
            failover.window.trust(1, 1);
            answer
        });
        assert_eq!(read.await.unwrap_err().kind, ErrorKind::Reapplying);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_that_another_primary_may_lack_is_not_acknowledged() {
        let key = key_in("ns", "k");
        let failover = Failover::new(&[&key]).await;
        let inner = Arc::new(failover.former.clone());
        let store = FailoverWindowStore::new(inner, failover.window.clone());
        let invalidation = || Invalidation::Key(key.clone());
        assert!(store.is_kept(invalidation(), Duration::ZERO, 0));
        failover.epoch.store(1, Ordering::Release);
        failover.window.trust(1, 0);
        assert!(!store.is_kept(invalidation(), Duration::ZERO, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_invalidation_is_applied_to_a_primary_that_stays() {
        let key = key_in("ns", "k");
        let failover = Failover::new(&[&key]).await;
        let store =
            FailoverWindowStore::new(Arc::new(failover.former.clone()), failover.window.clone());
        let mut calls = 0;
        let invalidation = Invalidation::Key(key.clone());
        let applied = store.apply(invalidation, Duration::ZERO, || {
            calls += 1;
            if calls == 1 {
                failover.epoch.fetch_add(1, Ordering::AcqRel);
            }
            std::future::ready(Ok(calls))
        });
        assert_eq!(applied.await.unwrap(), 2);
        let never = store.apply(Invalidation::Key(key), Duration::ZERO, || {
            failover.epoch.fetch_add(1, Ordering::AcqRel);
            std::future::ready(Ok(()))
        });
        assert_eq!(never.await.unwrap_err().kind, ErrorKind::Unreachable);
    }
}
