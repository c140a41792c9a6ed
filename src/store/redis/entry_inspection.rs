//! The state of one key in Redis.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{
    RedisStore, ban_logs::Candidate, codec, key_schema::EntryKeys, marker::GENERATION_BYTES,
    request::unexpected,
};
use crate::{
    model::EntryKey,
    store::{EntryInspection, LeaseInspection, LeaseInspectionState, Result, Store as _},
};

/// Position of the stamp of a lease in its record, see `common.lua`.
const LEASE_STAMP_AT: usize = 33;
/// Position of the stamp of a back-off and of a hold-off.
const STAMP_AT: usize = 1;
/// Position of the generation in a lease and in a back-off.
const GENERATION_AT: usize = 17;
/// Position of the cause in a back-off.
const CAUSE_AT: usize = 33;

impl RedisStore {
    pub(super) async fn inspection(&self, key: &EntryKey) -> Result<EntryInspection> {
        let EntryKeys { marker: marker_name, entry } = self.schema.entry_keys(key);
        let lease = self.schema.lease(key);
        let mut reads = redis::pipe();
        reads.cmd("MGET").arg(&marker_name).arg(&entry).arg(&lease);
        reads.cmd("MEMORY").arg("USAGE").arg(&entry).cmd("PTTL").arg(&lease);
        let answers = self.router.query_each(&reads).await?;
        let mut answers = answers.into_iter();
        let Some(Value::Array(values)) = answers.next() else {
            return Err(unexpected("MGET"));
        };
        let mut values = values.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        let marker = values.next().flatten().unwrap_or_default();
        let stored = values.next().flatten();
        let lease = values.next().flatten();
        let mut number = || match answers.next() {
            Some(Value::Int(number)) => u64::try_from(number).unwrap_or(0),
            _ => 0,
        };
        // A user without permission for MEMORY still learns the rest.
        let stored_bytes = number();
        let lease_ttl = Duration::from_millis(number());
        let mut found = EntryInspection { stored_bytes, ..EntryInspection::default() };
        let bans = self.bans.of(key.namespace());
        self.bans.ensure_read(&bans).await?;
        if let Some(stored) = stored {
            let since = codec::position_of_entry(&stored);
            found.is_invalidated = !codec::is_in_generation(&stored, &marker);
            // A corrupt entry is reported as missing, and the next read removes it.
            found.entry = codec::decode(stored).unwrap_or_default();
            if let Some(entry) = &found.entry
                && !found.is_invalidated
            {
                let candidate = Candidate { since, key: key.key(), tags: &entry.tags };
                let is_valid =
                    self.bans.is_valid(&bans, (&marker_name, &marker), &candidate).await?;
                found.is_invalidated = !is_valid;
                found.ban_sequence = since.sequence;
                found.bans = self.bans.matching(&bans, &candidate);
            }
        }
        let now = self.now().0;
        let generation = marker.get(..GENERATION_BYTES).unwrap_or_default();
        found.lease = lease.and_then(|record| lease_state(&record, generation, now, lease_ttl));
        if let Some(end) = self.bans.held_off_until(&bans, key.key()) {
            let (state, remaining) = (LeaseInspectionState::HeldOff, end.since(self.now()));
            let lasts =
                |lease: &LeaseInspection| lease.state == state && lease.remaining > remaining;
            if !found.lease.as_ref().is_some_and(lasts) {
                found.lease = Some(LeaseInspection { state, remaining });
            }
        }
        Ok(found)
    }
}

/// The state that a lease record describes, unless it has ended.
fn lease_state(
    record: &[u8],
    generation: &[u8],
    now: u64,
    ttl: Duration,
) -> Option<LeaseInspection> {
    let remaining = |at: usize| {
        let stamp = record.get(at..)?.first_chunk::<8>()?;
        let left = u64::from_be_bytes(*stamp).saturating_sub(now);
        (left > 0).then(|| Duration::from_millis(left))
    };
    let is_current = record.get(GENERATION_AT..CAUSE_AT) == Some(generation);
    let (state, remaining) = match *record.first()? {
        b'H' => (LeaseInspectionState::HeldOff, remaining(STAMP_AT)?),
        b'L' if is_current => (LeaseInspectionState::Held, remaining(LEASE_STAMP_AT)?),
        b'L' | b'D' | b'S' => (LeaseInspectionState::Voided, ttl),
        b'B' if is_current => {
            let cause = String::from_utf8_lossy(record.get(CAUSE_AT..)?).into_owned();
            (LeaseInspectionState::BackedOff(cause), remaining(STAMP_AT)?)
        }
        _ => return None,
    };
    Some(LeaseInspection { state, remaining })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;
    const TTL: Duration = Duration::from_secs(9);

    fn record(state: u8, parts: &[&[u8]]) -> Vec<u8> {
        [&[state][..], &parts.concat()].concat()
    }

    fn stamp(left: i64) -> [u8; 16] {
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&NOW.saturating_add_signed(left).to_be_bytes());
        stamp
    }

    #[test]
    fn lease_records_are_distinguished() {
        let (token, current, old) = ([7; 16], [1; 16], [2; 16]);
        let seen = |record: Vec<u8>| lease_state(&record, &current, NOW, TTL);
        let is = |state, remaining| Some(LeaseInspection { state, remaining });
        let second = Duration::from_secs(1);
        let held = record(b'L', &[&token, &current, &stamp(1000)]);
        assert_eq!(seen(held), is(LeaseInspectionState::Held, second));
        assert_eq!(seen(record(b'L', &[&token, &current, &stamp(0)])), None, "it has ended");
        let invalidated = record(b'L', &[&token, &old, &stamp(1000)]);
        assert_eq!(seen(invalidated), is(LeaseInspectionState::Voided, TTL));
        let superseded = record(b'S', &[&token, &current, &stamp(1000)]);
        assert_eq!(seen(superseded), is(LeaseInspectionState::Voided, TTL));
        let held_off = record(b'H', &[&stamp(1000)]);
        assert_eq!(seen(held_off), is(LeaseInspectionState::HeldOff, second));
        let backed_off = record(b'B', &[&stamp(1000), &current, b"why"]);
        let state = LeaseInspectionState::BackedOff("why".to_owned());
        assert_eq!(seen(backed_off), is(state, second));
        assert_eq!(seen(record(b'B', &[&stamp(1000), &old, b"why"])), None);
        for malformed in [&b""[..], b"L", b"H", b"X123"] {
            let state = lease_state(malformed, &current, NOW, TTL).map(|lease| lease.state);
            assert!(state.is_none_or(|state| state == LeaseInspectionState::Voided));
        }
    }
}
