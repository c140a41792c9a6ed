//! The invalidations of a namespace that are remembered.

use super::page;
use crate::support::{
    client::{set, text},
    targets::{hold_off, pattern, tags},
};

/// With a hold-off, bans are kept whatever the sweep finds.
const HOLD_OFF_MS: i64 = 600_000;
/// More than the page has.
const TAGS: usize = 25;

on_all_stores!(the_newest_bans_are_shown_with_their_age, |env| {
    env.cache.read("k").await;
    let empty = page(&env, "/namespaces/ns").await;
    assert!(empty.contains("<b>0</b> tags and keys, <b>0</b> patterns."), "{empty}");
    let mut request = set("k", text("v"));
    request.tags = vec!["blue".to_owned()];
    env.cache.set(request).await.unwrap();
    hold_off(&env.cache, &[tags(&["eldest"]), pattern("user:*")], HOLD_OFF_MS).await;
    for index in 0..TAGS {
        hold_off(&env.cache, &[tags(&[&format!("tag-{index:02}")])], HOLD_OFF_MS).await;
    }
    let shown = page(&env, "/namespaces/ns").await;
    for expected in [
        "<b>26</b> tags and keys, <b>1</b> patterns.",
        "<caption>The newest 20</caption>",
        "<bdi>tag-24</bdi>",
        "<bdi>tag-05</bdi>",
        "&lt; 1 min",
        "no fill for 9 min",
        "A ban is forgotten when a sweep finds no older entry",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(!shown.contains("tag-04") && !shown.contains("eldest"), "{shown}");
    let newest = shown.find("tag-24").unwrap();
    assert!(newest < shown.find("tag-23").unwrap(), "the newest comes first: {shown}");
    // An equal ban replaces its elder.
    hold_off(&env.cache, &[pattern("user:*"), tags(&["eldest"])], HOLD_OFF_MS).await;
    let shown = page(&env, "/namespaces/ns").await;
    for expected in ["<b>26</b> tags and keys, <b>1</b> patterns.", "user:*", "eldest"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
});
