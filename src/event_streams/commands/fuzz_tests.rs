//! Fuzz target of the answers of Redis about streams.

use super::*;
use crate::fuzzing::check;

/// Any answer is a list of entries or an error. An event has the attributes of its entry.
#[test]
fn stream_entries() {
    check("stream_entries", |bytes| {
        let Ok(answer) = redis::parse_redis_value(bytes) else { return };
        let _ = (fact(&answer, "lag"), text(&answer));
        let source = EventSourceConfig::default();
        let json = EventSourceConfig { data_field: "id".to_owned(), ..source.clone() };
        let Ok((entries, _)) = entries(answer) else { return };
        for entry in entries {
            let Ok(event) = entry.event(&source, ["id".to_owned(), "a.b".to_owned()]) else {
                continue;
            };
            let id = event.attribute("id").map(str::as_bytes);
            assert!(id.is_none_or(|id| entry.fields.contains(&(b"id".to_vec(), id.to_vec()))));
            let _ = entry.event(&json, ["a.b".to_owned()]);
        }
    });
}
