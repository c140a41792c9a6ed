use proptest::prelude::*;

use super::*;
use crate::{
    model::Glob,
    stats::windows::{HOUR, WEEK},
};

fn key(key: &str, params: &[(&str, &str)]) -> EntryKey {
    EntryKey::new(Namespace::new("user").unwrap(), key, params.iter().copied()).unwrap()
}

fn text(name: &[u8]) -> String {
    String::from_utf8(name.to_vec()).unwrap()
}

/// Replicas of two releases can share one Redis, so they must agree on the names.
#[test]
fn names_never_change() {
    let schema = KeySchema::new("larder", 64);
    let (plain, with_params) = (key("42", &[]), key("42", &[("lang", "de")]));
    let names = [
        text(&schema.entry_keys(&plain).marker),
        text(&schema.entry_keys(&plain).entry),
        text(&schema.lease(&plain)),
        text(&schema.scratch(&plain)),
        text(&schema.staging(&plain, 7)),
        text(&schema.entry_keys(&with_params).entry),
        text(&schema.lease(&with_params)),
        schema.totals(),
        schema.bucket(HOUR, 29_000_000),
        schema.bucket(WEEK, 500_000),
        schema.replica_reports(15_000_000),
        schema.sequence(7),
        schema.hot_keys(HOUR, 29_000_000, plain.namespace()),
        schema.reuse_turn(),
        schema.reuse_events(),
        schema.reuse_figures(81_000),
        schema.reuse_table("user"),
        schema.reuse_shares(),
        schema.probe().join(" "),
        schema.clock(),
        schema.sweep(),
        schema.invalidation(plain.namespace()),
    ];
    let digest = "e-E9-VncLV-Q-jg4_34-_btAQLbFbjxoNFLH4tDVBUY";
    let expected = [
        "larder:{user:17}:g",
        "larder:{user:17}:k:42",
        "larder:l:{user:17}:k:42",
        "larder:{user:17}:t",
        "larder:w:{user:17}:0000000000000007",
        &format!("larder:{{user:10}}:p:{digest}:42"),
        &format!("larder:l:{{user:10}}:p:{digest}:42"),
        "larder:{stats}:total",
        "larder:{stats}:60s:29000000",
        "larder:{stats}:3600s:500000",
        "larder:{stats}:reports:15000000",
        "larder:{stats}:replica:0000000000000007",
        "larder:{stats}:hot:60s:29000000:user",
        "larder:{stats}:reuse:turn",
        "larder:{stats}:reuse:events",
        "larder:{stats}:reuse:counts:81000",
        "larder:{stats}:reuse:keys:user",
        "larder:{stats}:reuse:shares",
        "larder:{probe}:1 larder:{probe}:2",
        "larder:{clock}",
        "larder:{sweep}",
        "larder:h:{user:all}",
    ];
    assert_eq!(names, expected);
}

#[test]
fn marker_of_a_key_is_one_of_the_namespace() {
    let schema = KeySchema::new("larder", 64);
    let markers = schema.markers(&Namespace::new("user").unwrap());
    assert_eq!(markers.len(), 64);
    for number in 0..1000 {
        let marker = text(&schema.entry_keys(&key(&number.to_string(), &[])).marker);
        assert!(markers.contains(&marker), "{marker}");
    }
}

fn entry_named(schema: &KeySchema, name: &[u8]) -> Option<EntryKey> {
    match schema.parse(name)? {
        ParsedKey::Entry { namespace, key, digest } => EntryKey::restored(namespace, key, digest),
        ParsedKey::Marker { .. } => None,
    }
}

#[test]
fn foreign_and_malformed_names_are_not_parsed() {
    let schema = KeySchema::new("larder", 64);
    for name in [
        "",
        "larder",
        "larder:{",
        "larder:{user:1}",
        "larder:{user}:k:a",
        "larder:{user:1}:t",
        "x:{user:1}:k:a",
    ] {
        assert_eq!(schema.parse(name.as_bytes()), None, "{name}");
    }
    for name in ["larder:{USER:1}:k:a", "larder:{user:1}:k:", "larder:{user:1}:p:short:a"] {
        assert_eq!(entry_named(&schema, name.as_bytes()), None, "{name}");
    }
    assert_eq!(schema.parse(b"larder:{user:1}:k:\xff"), None);
}

proptest! {
    /// A ban, a sweep or an announcement of a namespace never concerns another one.
    #[test]
    fn names_of_namespaces_are_distinguished(
        one in "[a-z0-9_.-]{1,6}",
        two in "[a-z0-9_.-]{1,6}",
        key in "[a-z:{}*?\\[\\]\\\\]{1,8}",
    ) {
        let schema = KeySchema::new("larder", 64);
        let namespaces = [&one, &two].map(|name| Namespace::new(name));
        let [Ok(one), Ok(two)] = namespaces else { return Ok(()) };
        let entry = EntryKey::new(one.clone(), &key, [].into_iter()).unwrap();
        let (name, lease) = (schema.entry_keys(&entry).entry, schema.lease(&entry));
        prop_assert_eq!(schema.namespace_of(&name), Some(one.as_str()));
        prop_assert_eq!(schema.leased_namespace(&lease), Some(one.as_str()));
        prop_assert_eq!(schema.leased_namespace(&name), None);
        prop_assert_eq!(schema.parse(&lease), None);
        let head = schema.ban_log(&one)[0].clone();
        prop_assert_eq!(schema.banned_namespace(head.as_bytes()), Some(one.as_str()));
        let found_by = |namespace| {
            let pattern = Glob::new(&schema.sweep_pattern(namespace)).unwrap();
            [&name, &lease].map(|name| pattern.matches(&text(name)))
        };
        prop_assert_eq!(found_by(Some(&one)), [true; 2]);
        prop_assert_eq!(found_by(None), [true; 2]);
        let is_same = one == two;
        prop_assert_eq!(schema.ban_log(&one) == schema.ban_log(&two), is_same);
        let prefix = schema.namespace_lease_prefix(&two);
        prop_assert_eq!(lease.starts_with(prefix.as_bytes()), is_same);
    }
}

#[test]
fn bans_and_invalidations_are_distinguished() {
    let schema = KeySchema::new("larder", 64);
    let user = Namespace::new("user").unwrap();
    let [head, ..] = schema.ban_log(&user);
    let invalidation = schema.invalidation(&user);
    assert_eq!(schema.banned_namespace(head.as_bytes()), Some("user"));
    assert_eq!(schema.invalidated_namespace(head.as_bytes()), None);
    assert_eq!(schema.invalidated_namespace(invalidation.as_bytes()), Some("user"));
    assert_eq!(schema.banned_namespace(invalidation.as_bytes()), None);
    assert_eq!(schema.parse(invalidation.as_bytes()), None);
    assert!(invalidation.starts_with(&schema.ban_head_prefix()));
}

#[test]
fn names_of_entries_and_markers_round_trip() {
    let schema = KeySchema::new("larder", 64);
    for key in [key("}:{", &[]), key("a", &[("b", "c")]), key(":p:g", &[("b", "c")])] {
        assert_eq!(entry_named(&schema, &schema.entry_keys(&key).entry), Some(key.clone()));
        let marker = schema.entry_keys(&key).marker;
        let shard = key.shard(64);
        assert_eq!(schema.parse(&marker), Some(ParsedKey::Marker { namespace: "user", shard }));
        assert!(
            schema
                .entry_keys(&key)
                .entry
                .starts_with(schema.namespace_prefix(key.namespace()).as_bytes())
        );
        assert_eq!(schema.namespace_of(&schema.entry_keys(&key).entry), Some("user"));
        assert_eq!(schema.namespace_of(&schema.entry_keys(&key).marker), None);
        assert_eq!(schema.namespace_of(&schema.lease(&key)), None);
        assert_eq!(schema.leased_namespace(&schema.lease(&key)), Some("user"));
        assert_eq!(schema.leased_namespace(&schema.entry_keys(&key).entry), None);
    }
    assert_eq!(schema.namespace_of(schema.totals().as_bytes()), None);
    assert_eq!(schema.namespace_of(b"other:{user:1}:k:a"), None);
}

/// Redis compares every write with every prefix.
#[test]
fn prefixes_of_many_namespaces_are_one() {
    let schema = KeySchema::new("larder", 64);
    let namespaces = ["a", "b", "c"].map(|name| Namespace::new(name).unwrap());
    assert_eq!(
        schema.namespace_prefixes(namespaces.iter(), 3),
        ["larder:{a:", "larder:{b:", "larder:{c:"]
    );
    let one = schema.namespace_prefixes(namespaces.iter(), 2);
    assert_eq!(one, ["larder:{"]);
    let entry = schema.entry_keys(&key("42", &[])).entry;
    assert!(text(&entry).starts_with(&one[0]));
    assert!(!text(&schema.lease(&key("42", &[]))).starts_with(&one[0]));
}
