//! The checks: pure functions from calls to a broken promise.

mod availability;
mod conditions;
mod counters;
mod durability;
mod expiry;
mod invalidation;
mod leases;
#[cfg(test)]
pub(crate) mod testing;
mod values;
pub(crate) mod watches;

use std::collections::{BTreeMap, HashMap};

use crate::history::{
    Answer, Call, Condition, Emptied, Fault, History, Key, Micros, NEVER, Record, Rules, Target,
    Violation, WriteId,
};
use crate::weakening::counts_from;

/// A check of one entry.
pub(crate) type KeyCheck = fn(&KeyHistory<'_>) -> Option<Violation>;

/// All checks of an entry, with their names.
pub(crate) const KEY_CHECKS: [(&str, KeyCheck); 8] = [
    ("values name their source", values::check),
    ("invalidation is final", invalidation::check),
    ("one lease, one fill", leases::check),
    ("nothing outlives its expiry", expiry::check),
    ("conditions are atomic", conditions::check),
    ("counters count each increment once", counters::check),
    ("stored values survive", durability::check),
    ("reads fail open", availability::check),
];

/// The calls that concern an entry, in the order of their begin.
pub(crate) struct KeyHistory<'a> {
    pub(crate) key: Key,
    pub(crate) records: Vec<&'a Record>,
    pub(crate) faults: &'a [Fault],
    pub(crate) emptied: &'a [Emptied],
    pub(crate) rules: &'a Rules,
}

// === impl KeyHistory ===

impl<'a> KeyHistory<'a> {
    /// Invalidations, also failed ones.
    fn invalidations(&self) -> impl Iterator<Item = (&'a Record, Target)> {
        self.records.iter().filter_map(|record| match record.call {
            Call::Invalidate(target) => Some((*record, target)),
            _ => None,
        })
    }

    /// Writes, also failed ones.
    fn writes(&self) -> impl Iterator<Item = Write<'a>> {
        self.records.iter().filter_map(|record| Write::of(record))
    }

    fn writes_by_id(&self) -> HashMap<WriteId, Write<'a>> {
        self.writes().map(|write| (write.id, write)).collect()
    }

    /// Leases that were granted by the store.
    fn grants(&self) -> impl Iterator<Item = Grant<'a>> {
        self.records.iter().filter_map(|record| match record.answer {
            Answer::Granted { lease, expires_in, degraded: false, .. } => {
                Some(Grant { record, lease, expires_in })
            }
            _ => None,
        })
    }

    /// When an invalidation counts for another call at the latest; none if it may not count.
    fn counts_from(&self, invalidation: &Record, seen: &Record) -> Option<Micros> {
        counts_from(self.faults, self.emptied, self.rules, invalidation, seen)
    }

    /// The moment before which a write certainly began to count: that of its lease for a fill.
    fn basis_end(&self, write: &Write<'a>) -> Micros {
        if let Condition::Lease(lease) = write.condition {
            let grant = self.records.iter().find(|record| {
                matches!(record.answer, Answer::Granted { lease: other, .. } if other == lease)
            });
            if let Some(grant) = grant {
                return grant.ended;
            }
        }
        write.record.effect_until()
    }

    fn violation(&self, promise: &'static str, at: &Record, text: String) -> Option<Violation> {
        Some(Violation { promise, text, key: Some(self.key), at: at.began })
    }
}

/// A write with its call.
#[derive(Clone, Copy)]
struct Write<'a> {
    record: &'a Record,
    id: WriteId,
    ttl: Micros,
    tags: u8,
    condition: Condition,
}

/// A lease with the call that was granted it.
#[derive(Clone, Copy)]
struct Grant<'a> {
    record: &'a Record,
    lease: u64,
    expires_in: Micros,
}

// === impl Write ===

impl<'a> Write<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let Call::Write { write: id, ttl, tags, condition, .. } = record.call else { return None };
        let ttl = match record.answer {
            Answer::Stored { ttl, .. } => ttl,
            _ => ttl,
        };
        Some(Self { record, id, ttl, tags, condition })
    }

    fn is_stored(&self) -> bool {
        matches!(self.record.answer, Answer::Stored { .. })
    }

    /// The moment at which the value may first be gone by itself.
    fn expires_from(&self) -> Micros {
        self.record.began.saturating_add(self.ttl)
    }
}

/// Splits a history by entries. What concerns several is part of each.
pub(crate) fn by_key(history: &History) -> Vec<KeyHistory<'_>> {
    let mut keys: BTreeMap<Key, Vec<&Record>> = BTreeMap::new();
    for record in &history.records {
        if let Some(key) = record.call.key() {
            keys.entry(key).or_default();
        }
    }
    for record in &history.records {
        match record.call {
            Call::Invalidate(
                target @ (Target::Tags { .. } | Target::Group { .. } | Target::Namespace(_)),
            ) => {
                for (key, records) in &mut keys {
                    if target.may_match(*key) {
                        records.push(record);
                    }
                }
            }
            ref call => {
                if let Some(records) = call.key().and_then(|key| keys.get_mut(&key)) {
                    records.push(record);
                }
            }
        }
    }
    let of_key = |(key, records)| KeyHistory {
        key,
        records,
        faults: &history.faults,
        emptied: &history.emptied,
        rules: &history.rules,
    };
    keys.into_iter().map(of_key).collect()
}

/// The violations of all entries, with the number of checks made.
pub(crate) fn check_keys(history: &History) -> (Vec<(Violation, KeyCheck)>, u64) {
    let mut violations = Vec::new();
    let mut made = 0;
    for entry in by_key(history) {
        for (_, check) in KEY_CHECKS {
            made += 1;
            violations.extend(check(&entry).map(|violation| (violation, check)));
        }
    }
    (violations, made)
}

/// Removes calls of an entry that are not needed for its check to fail.
pub(crate) fn reduce<'a>(entry: KeyHistory<'a>, check: KeyCheck) -> KeyHistory<'a> {
    let mut entry = entry;
    let Some(original) = check(&entry) else { return entry };
    let mut size = entry.records.len().div_ceil(2);
    loop {
        let mut position = 0;
        while position < entry.records.len() {
            let all = entry.records.clone();
            let end = (position + size).min(all.len());
            entry.records.drain(position..end);
            // The same one: without some calls others would fail that the whole history explains.
            if check(&entry).as_ref() != Some(&original) {
                entry.records = all;
                position = end;
            }
        }
        if size == 1 {
            return entry;
        }
        size = size.div_ceil(2);
    }
}

/// The end of an open interval, in text.
fn moment(at: Micros) -> String {
    if at == NEVER { "never".to_owned() } else { format!("{:.3}s", at as f64 / 1e6) }
}
