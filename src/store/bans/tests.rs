//! Which bans count, how they are replaced and dropped, and their limits.

use super::*;

const NEVER: Timestamp = Timestamp(0);
const NOW: Timestamp = Timestamp(1_000);

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ban(tag_names: &[&str], globs: &[&str]) -> Ban {
    let globs = globs.iter().map(|glob| Glob::new(glob).unwrap()).collect();
    Ban { tags: tags(tag_names), globs, ..Ban::default() }
}

#[test]
fn only_newer_bans_of_a_tag_or_a_matching_pattern_count() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &[]), 1, NEVER);
    table.insert(&ban(&["b"], &["user:*"]), 2, NEVER);
    assert!(table.bans(0, "k", &tags(&["x", "a"])));
    assert!(!table.bans(1, "k", &tags(&["a"])));
    assert!(table.bans(1, "k", &tags(&["b"])));
    assert!(table.bans(1, "user:1", &[]));
    assert!(!table.bans(2, "user:1", &tags(&["a", "b"])));
    assert!(!table.bans(0, "k", &tags(&["c"])));
}

#[test]
fn bans_that_hide_an_entry_are_listed() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &[]), 1, NEVER);
    table.insert(&ban(&["b"], &["user:*"]), 2, NEVER);
    table.insert(&ban(&[], &["team:*", "u*"]), 3, NEVER);
    let listed = |since, key: &str, names: &[&str]| {
        let bans = table.list(since, key, &tags(names));
        bans.into_iter().map(|ban| (ban.pattern, ban.sequence)).collect::<Vec<_>>()
    };
    let tag = |name: &str| BanPattern::Tag(name.to_owned());
    let glob = |glob: &str| BanPattern::Glob(glob.to_owned());
    let expected = [(glob("u*"), 3), (tag("b"), 2), (glob("user:*"), 2)];
    assert_eq!(listed(1, "user:1", &["a", "b"]), expected);
    assert_eq!(listed(0, "k", &["a"]), [(tag("a"), 1)]);
    assert_eq!(listed(3, "user:1", &["a", "b"]), []);
}

#[test]
fn an_equal_ban_replaces_its_elder() {
    let mut table = BanTable::default();
    for sequence in 1..=10 {
        table.insert(&ban(&["a"], &["k*"]), sequence, NEVER);
    }
    assert_eq!((table.tag_count(), table.glob_count()), (1, 1));
    assert!(table.bans(9, "x", &tags(&["a"])) && table.bans(9, "k", &[]));
    assert!(!table.bans(10, "k", &tags(&["a"])));
}

#[test]
fn bans_that_arrive_out_of_order_keep_the_newest_sequence() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &["k*"]), 5, NOW);
    table.insert(&ban(&[], &["l*"]), 4, NEVER);
    table.insert(&ban(&["a"], &["k*"]), 3, NEVER);
    assert!(table.bans(4, "k", &[]) && table.bans(4, "x", &tags(&["a"])));
    assert!(table.bans(3, "l", &[]) && !table.bans(4, "l", &[]));
    assert!(table.refuses_fill(5, "k", &[], Timestamp(999)), "the longer hold-off counts");
}

#[test]
fn a_hold_off_refuses_fills_under_newer_leases_until_it_ends() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &["k*"]), 1, NOW);
    let before = Timestamp(NOW.0 - 1);
    for (key, tag_names) in [("x", &["a"][..]), ("k", &[])] {
        let tags = tags(tag_names);
        assert!(table.refuses_fill(1, key, &tags, before));
        assert!(!table.refuses_fill(1, key, &tags, NOW));
        assert!(table.refuses_fill(0, key, &tags, NOW), "a lease from before the ban");
    }
    assert!(!table.refuses_fill(1, "x", &tags(&["b"]), before));
}

#[test]
fn a_hold_off_of_a_key_is_that_of_its_patterns() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &["k*"]), 1, NOW);
    table.insert(&ban(&[], &["*"]), 2, Timestamp(NOW.0 + 5));
    assert_eq!(table.held_off_until("k", Timestamp(1)), Some(Timestamp(NOW.0 + 5)));
    assert_eq!(table.held_off_until("k", Timestamp(NOW.0 + 5)), None);
    assert_eq!(table.last_hold_off(), Timestamp(NOW.0 + 5));
}

#[test]
fn memory_grows_with_the_bans_and_is_given_back() {
    let mut table = BanTable::default();
    let tag_names: Vec<String> = (0..1000).map(|number| format!("tag-{number:0>100}")).collect();
    for (tag, sequence) in tag_names.iter().zip(1..) {
        table.insert_tag(tag, sequence, NEVER);
    }
    table.insert(&ban(&[], &["k?"]), 1001, NEVER);
    let full = table.memory();
    assert!((130_000..300_000).contains(&full), "{full}");
    table.insert(&ban(&[&tag_names[0]], &["k?"]), 1002, NEVER);
    assert_eq!(table.memory(), full, "equal bans take no memory");
    table.drop_until(1002, NOW);
    assert!(table.memory() < 5_000, "{}", table.memory());
    assert_eq!(table.glob_bytes + table.tags.bytes(), 0);
}

#[test]
fn limits_count_what_is_new() {
    let mut table = BanTable::default();
    let limits = BanLimits { max_tags: 2, max_globs: 1, ..BanLimits::default() };
    table.insert(&ban(&["a", "b"], &["k*"]), 1, NEVER);
    assert!(!table.is_full_for(&ban(&["b"], &["k*"]), &limits));
    assert!(table.is_full_for(&ban(&["c"], &[]), &limits));
    assert!(table.is_full_for(&ban(&[], &["l*"]), &limits));
}

#[test]
fn dropped_bans_are_forgotten_but_not_during_their_hold_off() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &["k*"]), 1, NEVER);
    table.insert(&ban(&["b"], &[]), 2, Timestamp(NOW.0 + 1));
    table.insert(&ban(&["c"], &["l*"]), 3, NEVER);
    table.drop_until(2, NOW);
    assert_eq!((table.tag_count(), table.glob_count()), (2, 1));
    assert!(!table.bans(0, "k", &tags(&["a"])));
    assert!(table.refuses_fill(2, "k", &tags(&["b"]), NOW));
    assert!(table.bans(0, "l", &tags(&["c"])));
    table.drop_until(3, Timestamp(NOW.0 + 1));
    assert!(table.is_empty());
}

#[test]
fn a_hold_off_of_all_keys_replaces_the_shorter_ones() {
    let mut table = BanTable::default();
    table.insert(&ban(&["a"], &["k*"]), 1, Timestamp(NOW.0 + 5));
    table.insert(&ban(&["b"], &[]), 1, Timestamp(NOW.0 + 9));
    table.insert(&ban(&[], &["*"]), 2, Timestamp(NOW.0 + 5));
    table.drop_until(2, NOW);
    assert_eq!((table.tag_count(), table.glob_count()), (1, 1));
    assert!(table.refuses_fill(2, "any", &[], Timestamp(NOW.0 + 4)));
    assert!(table.refuses_fill(2, "any", &tags(&["b"]), Timestamp(NOW.0 + 8)));
    table.drop_until(2, Timestamp(NOW.0 + 9));
    assert!(table.is_empty());
}

#[test]
fn a_banned_key_is_hidden_whatever_its_tags_and_no_other_is() {
    let mut table = BanTable::default();
    let keys = Ban { keys: vec!["user:1".to_owned()], ..Ban::default() };
    table.insert(&keys, 1, NOW);
    assert!(table.bans(0, "user:1", &[]) && table.bans(0, "user:1", &tags(&["a"])));
    assert!(!table.bans(1, "user:1", &[]) && !table.bans(0, "user:10", &tags(&["user:1"])));
    assert!(table.refuses_fill(1, "user:1", &[], Timestamp(NOW.0 - 1)));
    assert_eq!(table.held_off_until("user:1", Timestamp(1)), Some(NOW));
    assert_eq!(table.list(0, "user:1", &[])[0].pattern, BanPattern::Glob("user:1".to_owned()));
    assert_eq!((table.tag_count(), table.glob_count()), (1, 0), "keys count as tags");
    let limits = BanLimits { max_tags: 1, max_globs: 1, ..BanLimits::default() };
    assert!(!table.is_full_for(&keys, &limits) && table.is_full_for(&ban(&["a"], &[]), &limits));
    table.drop_until(1, NOW);
    assert!(table.is_empty());
}

#[test]
fn a_banned_key_is_published_as_a_pattern_of_itself() {
    let keys = Ban { keys: vec!["a*".to_owned()], ..Ban::default() };
    let changes = keys.changes(BanOutcome::Banned);
    let [PublishedChange::Pattern(pattern)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(pattern, "a\\*");
}
