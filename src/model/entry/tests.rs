use super::*;

const LIFETIME: Lifetime = Lifetime {
    ttl: Duration::from_millis(1_000),
    stale_while_revalidate: Duration::from_millis(200),
    stale_if_error: Duration::from_millis(30),
    revalidation_window: Duration::from_millis(4),
};

fn new_entry(kind: Kind) -> NewEntry {
    NewEntry {
        kind,
        data: Bytes::from_static(b"0123456789"),
        version: Version(7),
        lifetime: LIFETIME,
        tags: Tags::default(),
        fetch_metadata: None,
    }
}

fn entry(kind: Kind) -> Entry {
    Entry::written(&new_entry(kind), Timestamp(5_000))
}

#[test]
fn kind_round_trips_through_its_stored_number() {
    for (byte, kind) in (0..).zip([Kind::Bytes, Kind::Text, Kind::Json, Kind::Negative]) {
        assert_eq!(Kind::from_byte(byte), Some(kind));
        assert_eq!(kind as u8, byte);
    }
    assert_eq!(Kind::from_byte(4), None);
    assert_eq!(Kind::from_byte(255), None);
}

#[test]
fn version_text_is_16_lowercase_hexadecimal_digits() {
    assert_eq!(Version(0).to_text(), "0000000000000000");
    assert_eq!(Version(0x0123_4567_89ab_cdef).to_text(), "0123456789abcdef");
    assert_eq!(Version(u64::MAX).to_text(), "ffffffffffffffff");
}

#[test]
fn version_parses_only_its_own_text() {
    for version in [Version(0), Version(42), Version(u64::MAX)] {
        assert_eq!(Version::parse(&version.to_text()), Some(version));
    }
    let malformed = [
        "",
        "0",
        "000000000000000",
        "00000000000000000",
        "000000000000000A",
        "000000000000000g",
        "+00000000000000a",
        "000000000000000\u{e9}",
    ];
    for text in malformed {
        assert_eq!(Version::parse(text), None, "{text}");
    }
}

#[test]
fn tags_are_a_slice_and_need_no_allocation_if_there_are_none() {
    assert_eq!(Tags::from(Vec::new()), Tags::default());
    assert!(Tags::from(Vec::new()).0.is_none() && Tags::default().is_empty());
    let tags: Tags = ["a", "b"].into_iter().map(str::to_owned).collect();
    assert_eq!(*tags, ["a".to_owned(), "b".to_owned()]);
    assert_eq!(format!("{tags:?}"), r#"["a", "b"]"#);
}

#[test]
fn random_versions_differ() {
    assert_ne!(Version::random(), Version::random());
}

#[test]
fn validators_are_empty_without_etag_and_last_modified() {
    let validators = |etag: Option<&str>, last_modified: Option<&str>| Validators {
        etag: etag.map(Into::into),
        last_modified: last_modified.map(Into::into),
    };
    assert!(validators(None, None).is_empty());
    assert!(!validators(Some("e"), None).is_empty());
    assert!(!validators(None, Some("m")).is_empty());
    assert!(!validators(Some("e"), Some("m")).is_empty());
}

#[test]
fn total_lifetime_is_the_sum_of_all_windows_and_saturates() {
    assert_eq!(LIFETIME.total(), Duration::from_millis(1_234));
    assert_eq!(Lifetime::default().total(), Duration::ZERO);
    assert_eq!(Lifetime { ttl: Duration::MAX, ..LIFETIME }.total(), Duration::MAX);
    let longest_window = Lifetime { revalidation_window: Duration::MAX, ..LIFETIME };
    assert_eq!(longest_window.total(), Duration::MAX);
}

#[test]
fn written_entry_takes_everything_from_the_new_entry() {
    let metadata = Arc::new(FetchMetadata::default());
    let new = NewEntry {
        tags: ["t".to_owned()].into(),
        fetch_metadata: Some(metadata.clone()),
        ..new_entry(Kind::Json)
    };
    let expected = Entry {
        kind: Kind::Json,
        data: Bytes::from_static(b"0123456789"),
        version: Version(7),
        created_at: Timestamp(5_000),
        fresh_until: Timestamp(6_000),
        stale_while_revalidate: LIFETIME.stale_while_revalidate,
        stale_if_error: LIFETIME.stale_if_error,
        revalidation_window: LIFETIME.revalidation_window,
        tags: ["t".to_owned()].into(),
        fetch_metadata: Some(metadata),
    };
    assert_eq!(Entry::written(&new, Timestamp(5_000)), expected);
}

#[test]
fn windows_follow_one_another() {
    let entry = entry(Kind::Bytes);
    assert_eq!(entry.fresh_until, Timestamp(6_000));
    assert_eq!(entry.stale_until(), Timestamp(6_230));
    assert_eq!(entry.expires_at(), Timestamp(6_234));
}

#[test]
fn windows_saturate_at_the_largest_timestamp() {
    let lifetime = Lifetime { ttl: Duration::MAX, ..LIFETIME };
    let new = NewEntry { lifetime, ..new_entry(Kind::Bytes) };
    let entry = Entry::written(&new, Timestamp(5_000));
    assert_eq!(entry.fresh_until, Timestamp(u64::MAX));
    assert_eq!(entry.stale_until(), Timestamp(u64::MAX));
    assert_eq!(entry.expires_at(), Timestamp(u64::MAX));
}

#[test]
fn value_is_fresh_until_its_ttl_ends() {
    let entry = entry(Kind::Text);
    assert!(entry.is_fresh(Timestamp(0)));
    assert!(entry.is_fresh(Timestamp(5_999)));
    assert!(!entry.is_fresh(Timestamp(6_000)));
    assert!(!entry.is_fresh(Timestamp(6_001)));
}

#[test]
fn negative_entry_is_never_fresh() {
    let entry = entry(Kind::Negative);
    assert!(!entry.is_fresh(Timestamp(5_999)));
    assert!(!entry.is_fresh(Timestamp(6_000)));
}

#[test]
fn reschedule_replaces_every_window_and_nothing_else() {
    let mut entry = entry(Kind::Bytes);
    let before = entry.clone();
    let lifetime = Lifetime {
        ttl: Duration::from_millis(10),
        stale_while_revalidate: Duration::from_millis(20),
        stale_if_error: Duration::from_millis(30),
        revalidation_window: Duration::from_millis(40),
    };
    entry.reschedule(&lifetime, Timestamp(9_000));
    let expected = Entry {
        fresh_until: Timestamp(9_010),
        stale_while_revalidate: Duration::from_millis(20),
        stale_if_error: Duration::from_millis(30),
        revalidation_window: Duration::from_millis(40),
        ..before
    };
    assert_eq!(entry, expected);
}

#[test]
fn heap_bytes_counts_data_tags_and_metadata() {
    let plain = entry(Kind::Bytes);
    assert_eq!(plain.heap_bytes(), 10);

    let tags = Tags::from(["ab".to_owned(), "c".to_owned()]);
    let tagged = Entry { tags, ..plain.clone() };
    let tags_bytes = 2 + 1 + 2 * size_of::<String>() + 32;
    assert_eq!(tagged.heap_bytes(), 10 + tags_bytes);

    let fetched = |etag: Option<&str>, last_modified: Option<&str>| {
        let validators =
            Validators { etag: etag.map(Into::into), last_modified: last_modified.map(Into::into) };
        let metadata = FetchMetadata { validators, ..FetchMetadata::default() };
        Entry { fetch_metadata: Some(Arc::new(metadata)), ..tagged.clone() }.heap_bytes()
    };
    let without_validators = 10 + tags_bytes + size_of::<FetchMetadata>() + 32;
    assert_eq!(fetched(None, None), without_validators);
    assert_eq!(fetched(Some("123"), None), without_validators + 3 + 16);
    assert_eq!(fetched(Some("123"), Some("12345")), without_validators + 8 + 32);
}
