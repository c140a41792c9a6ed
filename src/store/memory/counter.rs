//! Arithmetic of counters.

use crate::{
    model::{Entry, Kind, NewEntry, Timestamp},
    store::{Increment, IncrementOutcome},
};

/// Adds to the counter in `current`, which is fresh. Returns the new value and the entry that holds
/// it, or the reason why it cannot be incremented.
pub(super) fn add(
    current: Option<&Entry>,
    increment: &Increment,
    now: Timestamp,
) -> Result<(i64, Entry), IncrementOutcome> {
    let before = match current {
        None => increment.initial.ok_or(IncrementOutcome::Missing)?,
        Some(entry) if entry.kind == Kind::Text => {
            parse(&entry.data).ok_or(IncrementOutcome::NotAnInteger)?
        }
        Some(_) => return Err(IncrementOutcome::NotAnInteger),
    };
    let value = before.checked_add(increment.delta).ok_or(IncrementOutcome::Overflow)?;
    let new = NewEntry {
        kind: Kind::Text,
        data: value.to_string().into(),
        version: increment.version,
        lifetime: increment.lifetime,
        tags: current.map(|entry| entry.tags.clone()).unwrap_or_default(),
        fetch_metadata: None,
    };
    let mut entry = Entry::written(&new, now);
    if let Some(current) = current {
        entry.fresh_until = current.fresh_until;
        entry.stale_while_revalidate = current.stale_while_revalidate;
        entry.stale_if_error = current.stale_if_error;
    }
    Ok((value, entry))
}

/// Parses a counter as strictly as Redis does: decimal digits, no plus sign, no leading zeros.
fn parse(data: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(data).ok()?;
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
