//! Entries in their slots, and their memory.

use super::*;
use crate::{
    model::{FetchMetadata, FetchSource, Tags, Validators},
    store::memory::{
        block,
        entries::{ENTRY_OVERHEAD, Entries},
    },
};

#[test]
fn slot_and_overhead_are_small() {
    assert_eq!(size_of::<Slot>(), 80);
    assert_eq!(ENTRY_OVERHEAD, 80 + 11 + 8);
    assert_eq!(entry_cost(&key("1234567"), 100), ENTRY_OVERHEAD + 128);
}

#[test]
fn name_and_value_share_a_block_unless_that_wastes_memory() {
    let memory = |size| entry_cost(&key("key"), size) - ENTRY_OVERHEAD;
    for size in [0, 100, 1_000, 70_000] {
        assert_eq!(memory(size), block::memory(8 + 3 + size), "{size}");
    }
    // A block for both would be a quarter larger.
    for size in [1_024, 65_536] {
        let extras = 64;
        assert_eq!(memory(size), block::memory(size) + 16 + extras, "{size}");
    }
}

#[test]
fn tags_metadata_and_windows_are_accounted() {
    let plain = new_entry(100, MINUTE);
    let memory = |new: &NewEntry| cost_of(&key("k"), new) - cost_of(&key("k"), &plain);
    let windows = Lifetime { stale_if_error: SECOND, ..plain.lifetime };
    let extras = memory(&NewEntry { lifetime: windows, ..plain.clone() });
    assert_eq!(extras, 64);
    let tags: Tags = ["ab".to_owned(), "c".repeat(100)].into();
    let list = 64;
    assert_eq!(memory(&NewEntry { tags, ..plain.clone() }), extras + list + 8 + 112);
    let validators = Validators { etag: Some("\"1\"".into()), last_modified: None };
    let metadata = FetchMetadata {
        validators,
        fetch_time: SECOND,
        source: Some(FetchSource { target: 1, headers: 2 }),
    };
    let fetched = NewEntry { fetch_metadata: Some(Arc::new(metadata)), ..plain.clone() };
    assert_eq!(memory(&fetched), extras + 96 + 8);
}

#[test]
fn times_saturate_after_34_years() {
    let year = 365 * 24 * 60 * MINUTE;
    for (ttl, expected) in
        [(34 * year, 34 * year), (100 * year, Duration::from_millis((1 << 40) - 1))]
    {
        let key = key("k");
        let generation = Generations::default().current(key.namespace(), &Budget::new(MIB));
        let epoch = Timestamp(1_700_000_000_000);
        let entry = Entry::written(&new_entry(1, ttl), epoch);
        let slot = Slot::new(&hashed(&key), entry, generation, epoch, epoch);
        assert_eq!(slot.entry(epoch).fresh_until, epoch.after(expected));
        assert_eq!(slot.expires_at(), u64::try_from(expected.as_millis()).unwrap());
    }
}

/// The order of use and of expiry, and the table, stay consistent when slots move.
#[test]
fn orders_stay_consistent_under_random_operations() {
    let hasher = RandomState::new();
    let keys: Vec<EntryKey> = (0..1_000).map(|number| key(&number.to_string())).collect();
    let generation = Generations::default().current(&namespace("a"), &Budget::new(MIB));
    let mut entries = Entries::new(Timestamp(0));
    let mut used = 0;
    for step in 0..20_000_u64 {
        let random: u64 = rand::random();
        // Grows first, then shrinks.
        let is_insert = random % 16 < if step < 10_000 { 10 } else { 5 };
        let key = &keys[usize::try_from((random >> 8) % 1_000).unwrap()];
        let key = HashedKey { key, hash: hasher.hash_one(key) };
        let now = Timestamp(step);
        if is_insert {
            let size = usize::try_from((random >> 20) % 300).unwrap();
            let ttl = Duration::from_millis((random >> 32) % 10_000);
            let entry = Entry::written(&new_entry(size, ttl), now);
            let slot = Slot::new(&key, entry, generation.clone(), now, Timestamp(0));
            used += memory_of(&slot);
            used -= entries.insert(&key, slot);
        } else if random % 16 < 12 {
            used -= entries.remove(&key);
        } else if random % 16 < 14 {
            entries.get(&key, now);
        } else {
            used -= entries.expire(now, 2).freed;
        }
        if step % 100 == 0 {
            assert_eq!(entries.recount(), used, "step {step}");
        }
    }
    while entries.len() > 0 {
        used -= entries.evict_oldest();
    }
    assert_eq!((entries.recount(), used, entries.oldest_use()), (0, 0, None));
}
