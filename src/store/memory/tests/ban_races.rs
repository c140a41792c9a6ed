//! Bans, writes and reads at the same time.

use std::sync::{
    Barrier,
    atomic::{AtomicBool, AtomicU64},
};

use super::{
    bans::{LIMITS, glob_ban, tag_ban, tagged},
    *,
};

/// The source changes, then what was computed from it is banned. A read that begins after the
/// acknowledgement never returns what was computed from the source before.
#[test]
fn an_acknowledged_ban_is_seen_by_every_later_read() {
    const ROUNDS: u64 = 1_500;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = {
        let _guard = runtime.enter();
        MemoryStore::new(16 * MIB)
    };
    let (source, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let start = Barrier::new(4);
    let value_of = |entry: &Entry| u64::from_le_bytes(entry.data[..].try_into().unwrap());
    let new = |number: u64, tags: &[&str]| NewEntry {
        data: number.to_le_bytes().to_vec().into(),
        version: Version::random(),
        ..tagged(tags)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            for round in 1..=ROUNDS {
                source.store(round, Ordering::SeqCst);
                let ban = if round % 2 == 0 { tag_ban(&["x"]) } else { glob_ban("[k]") };
                let banned = runtime.block_on(store.ban(&namespace("a"), &ban, &LIMITS));
                assert_eq!(banned.unwrap(), BanOutcome::Banned);
                acknowledged.store(round, Ordering::SeqCst);
                // Time for a fill and for reads of it.
                (0..20).for_each(|_| std::thread::yield_now());
            }
            done.store(true, Ordering::SeqCst);
        });
        // Fills whose value is computed after the lease was granted and before it is used.
        scope.spawn(|| {
            start.wait();
            let mut is_late = false;
            while !done.load(Ordering::SeqCst) {
                let token = LeaseToken::random();
                let request = forced_request(token);
                let acquired = runtime.block_on(store.acquire(&key("k"), &request)).unwrap();
                let computed = source.load(Ordering::SeqCst);
                if is_granted(&acquired) {
                    // Every other fill is late: a ban comes in between.
                    is_late = !is_late;
                    let ban = computed + u64::from(is_late);
                    while acknowledged.load(Ordering::SeqCst) < ban && !done.load(Ordering::SeqCst)
                    {
                        std::thread::yield_now();
                    }
                    let new = new(computed, &["x"]);
                    let _ = runtime.block_on(store.fill(&key("k"), token, &new)).unwrap();
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::SeqCst) {
                    let before = acknowledged.load(Ordering::SeqCst);
                    if let Some(entry) = runtime.block_on(store.get(&key("k"))).unwrap() {
                        let value = value_of(&entry);
                        assert!(value >= before, "{value} was computed before the ban {before}");
                    }
                }
            });
        }
    });
}
