//! The log of answers of origins whose tags cannot be used: once a minute, however many there are.

use std::{fmt::Display, sync::LazyLock, time::Duration};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::model::Namespace;

static LOG: LazyLock<Mutex<LogInterval>> =
    LazyLock::new(|| Mutex::new(LogInterval::new(Duration::from_secs(60))));

/// Warns that an answer is not stored: without its tags, the entry would outlive the invalidation
/// of what it shows.
#[cold]
pub(super) fn warn(namespace: &Namespace, problem: &dyn Display) {
    let due = LOG.lock().occurred();
    if let Some(count) = due {
        tracing::warn!(
            %namespace,
            %problem,
            count,
            remedy = "correct the tags that the origin sends: docs/getorfetch.md has their rules",
            "answers of an origin are not stored because of their tags"
        );
    }
}
