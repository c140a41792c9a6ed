//! Log lines with the effects of each ban, at level DEBUG.

use super::{BanPattern, MatchingBan};
use crate::model::{Namespace, logged_name};

/// Whether the lines are written, so that nothing is looked up for them otherwise.
#[inline]
pub(super) fn is_enabled() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// A ban refuses a fill. `bans` are those that match, the newest first; none if they are not known
/// any more, or if the whole namespace was invalidated.
#[cold]
pub(super) fn refused_fill(namespace: &Namespace, key: &str, bans: &[MatchingBan]) {
    let newest = bans.first();
    let (kind, text) = match newest.map(|ban| &ban.pattern) {
        Some(BanPattern::Tag(tag)) => ("tag", logged_name(tag)),
        Some(BanPattern::Glob(glob)) => ("pattern", logged_name(glob)),
        None => ("invalidation", "".into()),
    };
    let (key, number) = (logged_name(key), newest.map(|ban| ban.sequence));
    tracing::debug!(%namespace, %key, kind, ban = %text, number, "an invalidation refuses a fill");
}
