use super::*;

fn user() -> Namespace {
    Namespace::new("user").unwrap()
}

fn key(key: &str, params: &[(&str, &str)]) -> EntryKey {
    EntryKey::new(user(), key, params.iter().copied()).unwrap()
}

fn violation(key: &str, params: &[(&str, &str)]) -> Violation {
    EntryKey::new(user(), key, params.iter().copied()).unwrap_err()
}

fn digest_of(key: &EntryKey) -> String {
    let mut digest = String::new();
    key.params().unwrap().write_to(&mut digest);
    digest
}

#[test]
fn schema_versions_are_part_of_the_name() {
    let version = |version| SchemaVersion::new("version", version).unwrap();
    let plain = [key("k", &[]), key("k", &[("a", "1")]), key("k", &[("version", "1")])];
    let versioned =
        plain.iter().flat_map(|key| ["1", "2", "12"].map(|number| key.of_schema(&version(number))));
    let all: Vec<EntryKey> = plain.iter().cloned().chain(versioned).collect();
    for (index, one) in all.iter().enumerate() {
        assert_eq!((one.key(), one.namespace()), ("k", &user()));
        assert!(all[..index].iter().all(|other| other != one), "{one:?}");
    }
    assert_eq!(key("k", &[]).of_schema(&version("1")), key("k", &[]).of_schema(&version("1")));
    // The next release must find the entries of this one.
    let digest = digest_of(&key("k", &[]).of_schema(&version("3")));
    assert_eq!(digest, "2zlr7-hUgIoXj9fPQHM7tW2WaIEflqTWQAbmk9DIaho");
}

#[test]
fn namespace_names_follow_the_pattern() {
    for good in ["a", "0", "user", "a.b-c_d", "9z", &"x".repeat(MAX_NAMESPACE_BYTES)] {
        assert_eq!(Namespace::new(good).unwrap().as_str(), good);
    }
    let too_long = "x".repeat(MAX_NAMESPACE_BYTES + 1);
    for bad in ["", ".a", "-a", "_a", "User", "a b", "a:b", "a{b", "aB", "é", &too_long] {
        let violation = Namespace::new(bad).unwrap_err();
        assert_eq!(violation.field(), "namespace", "{bad}");
    }
}

#[test]
fn only_the_length_violation_of_a_namespace_has_a_limit() {
    let limit = |name: &str| Namespace::new(name).unwrap_err().limit();
    assert_eq!(limit(&"x".repeat(MAX_NAMESPACE_BYTES + 1)), Some(64));
    assert_eq!(limit(""), None);
    assert_eq!(limit("A"), None);
}

#[test]
fn namespace_is_shown_and_borrowed_as_its_name() {
    assert_eq!(user().to_string(), "user");
    assert_eq!(format!("{:?}", user()), "user");
    let names = std::collections::HashMap::from([(user(), 1)]);
    assert_eq!(names.get("user"), Some(&1));
}

#[test]
fn keys_may_hold_any_text_within_the_length_limit() {
    for good in ["\0", ":", "{}", "🦀", &"k".repeat(MAX_KEY_BYTES)] {
        assert_eq!(key(good, &[]).key(), good);
    }
    let empty = violation("", &[]);
    assert_eq!((empty.field(), empty.limit()), ("key", None));
    let too_long = violation(&"k".repeat(MAX_KEY_BYTES + 1), &[]);
    assert_eq!((too_long.field(), too_long.limit()), ("key", Some(1024)));
}

#[test]
fn accessors_return_the_parts() {
    let entry = key("k", &[("a", "b")]);
    assert_eq!((entry.namespace(), entry.key()), (&user(), "k"));
    assert!(entry.params().is_some());
    assert!(key("k", &[]).params().is_none());
}

#[test]
fn size_is_the_key_and_the_digest() {
    assert_eq!(key("12345", &[]).size(), 5);
    assert_eq!(key("12345", &[("name", "value")]).size(), 5 + 32);
}

#[test]
fn params_are_part_of_the_name_and_cannot_be_shifted() {
    let plain = key("k", &[]);
    let one = key("k", &[("a", "b")]);
    let shifted = key("k", &[("ab", "")]);
    assert_ne!(plain, one);
    assert_ne!(one, shifted);
    assert_eq!(one, key("k", &[("a", "b")]));
    assert_ne!(one.stable_hash(), plain.stable_hash());
}

#[test]
fn number_of_params_is_limited() {
    let names: Vec<String> = (0..=MAX_PARAMS).map(|n| format!("{n:03}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert!(key("k", &pairs[..MAX_PARAMS]).params().is_some());
    let too_many = violation("k", &pairs);
    assert_eq!((too_many.field(), too_many.limit()), ("params", Some(64)));
}

#[test]
fn total_size_of_params_is_limited() {
    let half = "v".repeat(MAX_PARAMS_BYTES / 2 - 1);
    let longer = format!("{half}v");
    assert!(key("k", &[("a", &half), ("b", &half)]).params().is_some());
    let too_large = violation("k", &[("a", &half), ("b", &longer)]);
    assert_eq!((too_large.field(), too_large.limit()), ("params", Some(8 * 1024)));
}

#[test]
fn param_names_must_not_be_empty() {
    let violation = violation("k", &[("", "value")]);
    assert_eq!((violation.field(), violation.limit()), ("params", None));
}

#[test]
fn restored_key_equals_the_original() {
    let entries = [
        key("42", &[]),
        key("42", &[("lang", "de")]),
        key(&"k".repeat(MAX_KEY_BYTES), &[("lang", "de")]),
    ];
    for entry in entries {
        let digest = entry.params().map(|_| digest_of(&entry));
        let restored = EntryKey::restored("user", entry.key(), digest.as_deref());
        assert_eq!(restored, Some(entry));
    }
}

#[test]
fn malformed_parts_restore_no_key() {
    let digest = digest_of(&key("42", &[("lang", "de")]));
    assert!(EntryKey::restored("user", "42", Some(&digest)).is_some());
    let wrong_character = format!("!{}", &digest[1..]);
    let too_long = "k".repeat(MAX_KEY_BYTES + 1);
    let malformed = [
        ("User", "42", None),
        ("user", "", None),
        ("user", too_long.as_str(), None),
        ("user", "42", Some("")),
        ("user", "42", Some(&digest[..42])),
        ("user", "42", Some(&wrong_character)),
    ];
    for (namespace, key, digest) in malformed {
        let restored = EntryKey::restored(namespace, key, digest);
        assert_eq!(restored, None, "{namespace} {} {digest:?}", key.len());
    }
}

#[test]
fn shards_are_numbers_below_their_count() {
    let shards: std::collections::BTreeSet<u64> =
        (0..200).map(|n| key(&n.to_string(), &[]).shard(4)).collect();
    assert_eq!(shards, (0..4).collect());
    assert_eq!(key("42", &[]).shard(1), 0);
    assert_eq!(key("42", &[]).shard(0), 0);
}

/// Redis key names depend on all of these: a change of any of them moves every entry.
#[test]
fn digest_hash_and_shard_never_change() {
    let entry = key("42", &[("lang", "de"), ("page", "2")]);
    let digest = digest_of(&entry);
    assert_eq!(digest, "7W_4UchRNjEoM30CxADdsatfALKajSgdyAh9dRtDFCA");
    assert_eq!(format!("{:?}", entry.params().unwrap()), digest);
    assert_eq!(key("42", &[]).stable_hash(), 1_303_733_993_043_075_473);
    assert_eq!(entry.stable_hash(), 8_834_398_145_319_721_289);
    assert_eq!(key("42", &[]).shard(32), 17);
}
