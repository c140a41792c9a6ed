#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    cache::testing::{SECOND, TestCache, config, new_entry},
    captured_log::CapturedLog,
    event_template::EventTemplate,
    model::NewEntry,
    stats::counters::Counter,
    store::ErrorKind,
};

fn rule() -> EventRuleConfig {
    EventRuleConfig { namespace: "ns".to_owned(), ..EventRuleConfig::default() }
}

fn template(text: &str) -> EventTemplate {
    EventTemplate::parse_glob(text).unwrap()
}

fn with_pattern(pattern: &str) -> EventRuleConfig {
    EventRuleConfig { pattern: Some(template(pattern)), ..rule() }
}

fn with_tag(tag: &str) -> EventRuleConfig {
    EventRuleConfig { tags: Some(vec![template(tag)]), ..rule() }
}

fn with_key(key: &str) -> EventRuleConfig {
    EventRuleConfig { key: Some(template(key)), ..rule() }
}

fn test_cache(rules: &[(&str, Vec<EventRuleConfig>)], is_strict: bool) -> TestCache {
    let test = TestCache::of_callers(config());
    let rules = rules.iter().map(|(name, rules)| ((*name).to_owned(), rules.clone()));
    test.cache.replace_events(&rules.collect(), is_strict);
    test
}

fn event(name: &str, attributes: &[(&str, &str)]) -> Event {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Event::new(name.to_owned(), attributes.iter().map(owned).collect()).unwrap()
}

async fn publish(test: &TestCache, event: &Event) -> Result<Vec<TargetOutcome>, Error> {
    let results = test.cache.publish(event, EventRoute::Publish).await?;
    Ok(results.into_iter().map(|(_, outcome)| outcome).collect())
}

fn counts(test: &TestCache) -> Vec<(String, &'static str, u64)> {
    let mut counts = Vec::new();
    test.cache.event_counts().visit(|name, _, outcome, count| {
        counts.push((name.to_owned(), outcome.name(), count));
    });
    counts
}

#[tokio::test(start_paused = true)]
async fn an_event_is_logged_with_the_number_of_its_targets() {
    let two_tags = vec![template("a"), template("b")];
    let rules = vec![
        with_pattern("{id}:*"),
        EventRuleConfig { tags: Some(two_tags), ..rule() },
        with_key("{id}"),
        rule(),
    ];
    let (log, test) = (CapturedLog::start(), test_cache(&[("changed", rules)], false));
    publish(&test, &event("changed", &[("id", "7")])).await.unwrap();
    let lines = log.lines_with("events=");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("whole=1 tags=2 patterns=1 keys=1"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn all_rules_of_an_event_are_applied_as_one_ban() {
    let rules = vec![with_pattern("{id}:*"), with_tag("user:{id}"), with_key("{id}")];
    let test = test_cache(&[("changed", rules)], false);
    for (key, tag) in [("7:a", "x"), ("8:a", "user:7"), ("7", "x"), ("8", "x")] {
        let tags = [tag.to_owned()].into_iter().collect();
        test.put(key, &NewEntry { tags, ..new_entry("v", 60 * SECOND) }).await;
    }
    let outcomes = publish(&test, &event("changed", &[("id", "7")])).await.unwrap();
    let expected =
        [TargetOutcome::Banned, TargetOutcome::Banned, TargetOutcome::Deleted { existed: true }];
    assert_eq!(outcomes, expected);
    for (key, is_stored) in [("7:a", false), ("8:a", false), ("7", false), ("8", true)] {
        assert_eq!(test.stored(key).await.is_some(), is_stored, "{key}");
    }
    assert_eq!(test.all_counted(), [(Counter::Deletes, 1), (Counter::Bans, 3)]);
    assert_eq!(counts(&test), [("changed".to_owned(), "applied", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_attribute_cannot_widen_a_pattern() {
    let test = test_cache(&[("changed", vec![with_pattern("{id}:*")])], false);
    test.put("7:a", &new_entry("v", 60 * SECOND)).await;
    for hostile in ["*", "?", "[0-9]", "7:a\\", "[!x]"] {
        publish(&test, &event("changed", &[("id", hostile)])).await.unwrap();
    }
    assert!(test.stored("7:a").await.is_some());
    let empty = publish(&test, &event("changed", &[("id", "")])).await.unwrap_err().to_string();
    assert!(empty.starts_with("attributes.id must not be empty"), "{empty}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_attribute_fails_the_event_before_anything_is_invalidated() {
    let rules = vec![rule(), with_key("{id}")];
    let test = test_cache(&[("changed", rules)], false);
    test.put("k", &new_entry("v", 60 * SECOND)).await;
    let fault = publish(&test, &event("changed", &[("other", "1")])).await.unwrap_err();
    let expected = "attributes.id must be set: \"{id}\" needs it (rule 1 of changed)";
    assert_eq!(fault.to_string(), expected);
    assert!(test.stored("k").await.is_some() && test.all_counted().is_empty());
    assert_eq!(counts(&test), [("changed".to_owned(), "invalid", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_named_with_its_rule() {
    let test = test_cache(&[("changed", vec![with_tag("user:{id}")])], false);
    let long = "x".repeat(124);
    let fault = publish(&test, &event("changed", &[("id", &long)])).await.unwrap_err();
    let expected = "attributes do not suit rule 0 of changed: tag is 129 bytes long, \
                    the limit is 128";
    assert_eq!(fault.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_rule_applies_only_if_its_conditions_hold() {
    let when = |value: &str| [("table".to_owned(), value.to_owned())].into();
    let rules = vec![
        EventRuleConfig { when: when("a"), ..with_key("{id}") },
        EventRuleConfig { when: when("b"), ..rule() },
    ];
    let test = test_cache(&[("changed", rules)], true);
    let outcomes = publish(&test, &event("changed", &[("table", "b")])).await.unwrap();
    assert_eq!(outcomes, [TargetOutcome::NamespaceInvalidated]);
    assert!(publish(&test, &event("changed", &[("table", "c")])).await.unwrap().is_empty());
    assert!(publish(&test, &event("changed", &[])).await.unwrap().is_empty());
    let attributes: Vec<String> = test.cache.event_attributes("changed").into_iter().collect();
    assert_eq!(attributes, ["id", "table"]);
    assert_eq!(counts(&test), [("changed".to_owned(), "applied", 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_rules_is_counted_or_refused() {
    let names = ["user_changed", "order_changed", "stock"];
    let rules = names.map(|name| (name, vec![rule()]));
    let test = test_cache(&rules, false);
    for number in 0..3 {
        assert!(publish(&test, &event(&format!("n{number}"), &[])).await.unwrap().is_empty());
    }
    assert_eq!(counts(&test), [("_other".to_owned(), "without_rules", 3)]);
    let test = test_cache(&rules, true);
    let fault = publish(&test, &event("user_change", &[])).await.unwrap_err().to_string();
    let expected = "name has no rules, and strict_events is on: similar ones that have are \
                    user_changed, ";
    assert!(fault.starts_with(expected), "{fault}");
    assert_eq!(counts(&test), [("_other".to_owned(), "invalid", 1)]);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_targets_are_named() {
    let rules = vec![with_key("{id}"), with_pattern("{id}:*")];
    let test = test_cache(&[("changed", rules)], false);
    test.store.fail(ErrorKind::Timeout);
    let fault = publish(&test, &event("changed", &[("id", "7")])).await.unwrap_err();
    let Error::EventNotApplied { failed, targets, .. } = &fault else { panic!("{fault}") };
    assert_eq!((failed.as_slice(), *targets), (&[0, 1][..], 2));
    let expected = "2 of 2 targets of event changed are not invalidated (0, 1): \
                    the store did not answer in time (store.timeout)";
    assert_eq!(fault.to_string(), expected);
    assert_eq!(counts(&test), [("changed".to_owned(), "not_applied", 1)]);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_batch_have_their_own_results() {
    let test = test_cache(&[("changed", vec![with_key("{id}")])], false);
    test.put("7", &new_entry("v", 60 * SECOND)).await;
    let plan = |name: &str, id: &str| {
        test.cache.plan_event(&event(name, &[("id", id)]), EventRoute::Stream).unwrap()
    };
    let plans = vec![plan("changed", "8"), plan("other", "x"), plan("changed", "7")];
    let results = test.cache.apply_events(plans, EventRoute::Stream).await;
    let existed: Vec<Vec<TargetOutcome>> = results
        .into_iter()
        .map(|result| result.unwrap().into_iter().map(|(_, outcome)| outcome).collect())
        .collect();
    let deleted = |existed| vec![TargetOutcome::Deleted { existed }];
    assert_eq!(existed, [deleted(false), Vec::new(), deleted(true)]);
}

#[tokio::test(start_paused = true)]
async fn replaced_rules_apply_at_once_and_drop_old_counts() {
    let test = test_cache(&[("old", vec![rule()])], true);
    publish(&test, &event("old", &[])).await.unwrap();
    test.cache.replace_events(&[("new".to_owned(), vec![rule()])].into(), true);
    assert!(publish(&test, &event("old", &[])).await.is_err());
    assert_eq!(publish(&test, &event("new", &[])).await.unwrap().len(), 1);
    let names: Vec<String> = counts(&test).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["_other", "new"]);
}

#[tokio::test(start_paused = true)]
async fn listing_has_pages() {
    let rules = ["a", "b", "c"].map(|name| (name, vec![rule()]));
    let test = test_cache(&rules, false);
    let names = |after: &str| {
        let (page, has_more) = test.cache.events().list(after, 2);
        (page.into_iter().map(|(name, _)| name).collect::<Vec<_>>().concat(), has_more)
    };
    assert_eq!(names(""), ("ab".to_owned(), true));
    assert_eq!(names("b"), ("c".to_owned(), false));
}
