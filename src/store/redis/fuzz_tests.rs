//! Fuzz targets of what other clients and servers can put into Redis, or answer.

#![allow(clippy::unwrap_used)]

use redis::Value;

use super::{
    ban_log::{BanLog, LogPart},
    key_schema::{KeySchema, ParsedKey},
    marker::{self, Position},
    script_reply::ScriptReply,
    server_identity,
};
use crate::{
    fuzzing::{Input, check},
    model::{EntryKey, Timestamp},
};

/// An answer in the format of the protocol.
fn answer(bytes: &[u8]) -> Option<Value> {
    redis::parse_redis_value(bytes).ok()
}

/// Any answer of a script is parsed or refused.
#[test]
fn script_reply() {
    check("script_reply", |bytes| {
        let Some(value) = answer(bytes) else { return };
        let _ = server_identity::is_replica(&value);
        let Ok(mut reply) = ScriptReply::parse(value) else { return };
        let _ = (reply.next::<u64>(), reply.next_millis(), reply.next::<Vec<u8>>());
        let _ = (reply.next::<Vec<(Vec<u8>, u64)>>(), reply.next_value());
    });
}

/// Parts of the log of bans, one after another. The copy has the head of the newest part, bans what
/// a part has banned since, and covers the position of its head.
#[test]
fn ban_log() {
    check("ban_log", |bytes| {
        let mut input = Input::new(bytes);
        let mut log = BanLog::default();
        while !input.is_empty() {
            let length = u16::from_be_bytes([input.byte(), input.byte()]);
            let part = input.bytes(length.into());
            let Some(mut reply) = answer(part).and_then(|answer| ScriptReply::parse(answer).ok())
            else {
                continue;
            };
            let copy = answer(part).and_then(|answer| ScriptReply::parse(answer).ok());
            let Ok(part) = LogPart::parse(&mut reply) else { continue };
            let (head, is_all, before) = (part.head(), part.is_all(), log.head());
            let newer = LogPart::parse(&mut copy.unwrap()).unwrap().newer_than(before);
            log.apply(part, Timestamp(1_000));
            let is_applied = is_all || head.sequence >= before.sequence;
            assert_eq!(log.head(), if is_applied { head } else { before });
            assert!(
                !log.is_known(Position { sequence: u64::MAX, id: [9; 16] })
                    || log.head().sequence == u64::MAX
            );
            if is_applied && log.dropped() <= before.sequence {
                for tag in newer.iter().flat_map(|(tags, _)| tags) {
                    assert!(log.table().bans(before.sequence, "k", std::slice::from_ref(tag)));
                }
            }
            let _ = (log.memory(), log.has_bans(), log.covers(head), log.covers(before));
        }
    });
}

/// A marker, and a position of 24 bytes.
#[test]
fn generation_marker() {
    check("generation_marker", |bytes| {
        let mut input = Input::new(bytes);
        let position = Position::from(input.bytes(24));
        let stored = input.rest();
        let moved = marker::moved(stored, position);
        assert!(moved.len() <= 40);
        if let Some(generation) = stored.get(..16) {
            assert!(moved.starts_with(generation));
        }
        if stored.len() >= 16 && position.sequence > 0 {
            assert_eq!(Position::of_marker(&moved), position);
            assert_eq!(marker::moved(&moved, position), moved);
        }
        let own = Position::of_marker(stored);
        assert!(own == Position::default() || stored.ends_with(&own.encode()));
    });
}

/// Names of keys. An entry whose name is parsed has that name.
#[test]
fn key_names() {
    let schema = KeySchema::new("larder", 8);
    check("key_names", move |name| {
        let _ = (schema.banned_namespace(name), schema.invalidated_namespace(name));
        let _ = schema.leased_namespace(name);
        let Some(ParsedKey::Entry { namespace, key, digest }) = schema.parse(name) else { return };
        let Some(key) = EntryKey::restored(namespace, key, digest) else { return };
        let text = String::from_utf8(name.to_vec()).unwrap();
        let expected = String::from_utf8(schema.entry_keys(&key).entry).unwrap();
        let without_shard = |text: &str| {
            let (before, after) = text.split_once('}').unwrap();
            (before.rsplit_once(':').unwrap().0.to_owned(), after.to_owned())
        };
        assert_eq!(without_shard(&text), without_shard(&expected));
    });
}
