#![allow(clippy::unwrap_used)]

use super::*;

const NOW: Timestamp = Timestamp(1_000_000 * 600_000 + 90_000);

fn key_in(namespace: &str, key: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), key, [].into_iter()).unwrap()
}

fn repeated(key: &str, count: usize) -> impl Iterator<Item = EntryKey> {
    std::iter::repeat_n(key_in("ns", key), count)
}

fn counts_of(buckets: &[HotKeyBucket], window: Window) -> HotKeyCounts {
    let bucket = buckets.iter().find(|bucket| bucket.window == window).unwrap();
    bucket.counts[&Namespace::new("ns").unwrap()].clone()
}

#[test]
fn frequent_keys_are_found_among_many_and_their_error_is_known() {
    let mut keys: Vec<EntryKey> = (0..3000).map(|n| key_in("ns", &format!("rare {n}"))).collect();
    for (index, hot) in (0..10).zip([500, 400, 300, 200, 190, 180, 170, 160, 150, 140]) {
        // Spread over the others.
        for (turn, key) in repeated(&format!("hot {index}"), hot).enumerate() {
            keys.insert((turn * 13 + index * 7) % keys.len(), key);
        }
    }
    let mut tally = HotKeyTally::default();
    assert_eq!(tally.add(&keys, NOW), (Vec::new(), 0));
    let counts = counts_of(&tally.open(), MINUTES);
    assert_eq!((counts.samples, counts.keys.len()), (keys.len() as u64, MAX_ROWS));
    assert_eq!(counts, counts_of(&tally.open(), TEN_MINUTES));
    assert!(counts.error > 0 && counts.error < 100, "{}", counts.error);
    for (index, hot) in (0..10).zip([500, 400, 300, 200, 190, 180, 170, 160, 150, 140]) {
        let name = format!("k:hot {index}");
        let (_, samples) = counts.keys.iter().find(|(other, _)| *other == name).unwrap();
        assert!((hot - counts.error..=hot).contains(samples), "{name} {samples}");
    }
}

#[test]
fn few_keys_are_counted_exactly() {
    let keys: Vec<EntryKey> = repeated("a", 2).chain(repeated("b", 3)).collect();
    let mut tally = HotKeyTally::default();
    tally.add(&keys[..4], NOW);
    tally.add(&keys[4..], NOW);
    let keys = vec![("k:b".to_owned(), 3), ("k:a".to_owned(), 2)];
    let expected = HotKeyCounts { samples: 5, error: 0, keys };
    assert_eq!(counts_of(&tally.open(), MINUTES), expected);
}

#[test]
fn a_bucket_ends_with_its_time() {
    let mut tally = HotKeyTally::default();
    assert!(tally.open().is_empty());
    tally.add(&repeated("a", 1).collect::<Vec<_>>(), NOW);
    let (ended, _) = tally.add(&[], Timestamp(NOW.0 + 60_000));
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].window, ended[0].number), (MINUTES, MINUTES.bucket(NOW)));
    // The ten minutes go on.
    let open = tally.open();
    assert_eq!((open.len(), open[0].window), (1, TEN_MINUTES));
    let (ended, _) = tally.add(&[], Timestamp(NOW.0 + 600_000));
    assert_eq!(ended[0].window, TEN_MINUTES);
    assert_eq!(counts_of(&ended, TEN_MINUTES).samples, 1);
}

#[test]
fn namespaces_are_bounded() {
    let keys: Vec<EntryKey> =
        (0..MAX_NAMESPACES + 2).map(|n| key_in(&format!("n{n}"), "k")).collect();
    let mut tally = HotKeyTally::default();
    assert_eq!(tally.add(&keys, NOW).1, 2);
    assert_eq!(tally.open()[0].counts.len(), MAX_NAMESPACES);
    assert_eq!(tally.add(&keys[..1], NOW).1, 0, "it is followed already");
}

#[test]
fn counts_and_errors_of_replicas_add_up() {
    let counts = |samples, error, keys: &[(&str, u64)]| HotKeyCounts {
        samples,
        error,
        keys: keys.iter().map(|(name, samples)| ((*name).to_owned(), *samples)).collect(),
    };
    let mut sum = counts(10, 1, &[("k:a", 5), ("k:b", 2)]);
    sum.merge(counts(u64::MAX, 2, &[("k:b", 4), ("k:c", 1)]));
    assert_eq!(sum, counts(u64::MAX, 3, &[("k:b", 6), ("k:a", 5), ("k:c", 1)]));
    let text = serde_json::to_string(&counts(3, 0, &[("k:\"", 3)])).unwrap();
    // Replicas of two releases exchange it.
    assert_eq!(text, r#"{"samples":3,"error":0,"keys":[["k:\"",3]]}"#);
}

#[test]
fn names_of_keys_round_trip() {
    let namespace = Namespace::new("ns").unwrap();
    let with_params = EntryKey::new(namespace.clone(), "a:b", [("p", "1")].into_iter()).unwrap();
    for key in [key_in("ns", "k"), key_in("ns", "p:x"), with_params] {
        assert_eq!(key_of(&namespace, &name_of(&key)), Some(key));
    }
    for malformed in ["", "k:", "x:k", "p:short:k", "p:"] {
        assert_eq!(key_of(&namespace, malformed), None, "{malformed}");
    }
}

#[test]
fn a_window_has_the_buckets_that_cover_it() {
    let range = |seconds| HotKeyRange::of(Duration::from_secs(seconds), NOW);
    let newest = MINUTES.bucket(NOW);
    let minute = range(60);
    assert_eq!((minute.window, minute.buckets), (MINUTES, newest - 1..=newest));
    assert_eq!(minute.covered, Duration::from_secs(90));
    assert_eq!(range(61).buckets, newest - 2..=newest);
    assert_eq!(range(600).buckets, newest - 10..=newest);
    let newest = TEN_MINUTES.bucket(NOW);
    let long = range(601);
    assert_eq!((long.window, long.buckets), (TEN_MINUTES, newest - 2..=newest));
    assert_eq!(range(3600).buckets, newest - 6..=newest);
    assert_eq!(range(3600), range(7200));
}
