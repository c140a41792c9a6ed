//! A replica's copy of the log of bans of one namespace. `scripts/ban_log.lua` has the layout of
//! the log in Redis.

use std::collections::BTreeMap;

use super::{marker::Position, script_reply::ScriptReply};
use crate::{
    model::{Glob, Timestamp, escaped},
    store::{BanPattern, Result, bans::BanTable},
};

/// Ids of bans that a replica remembers, as many as Redis keeps; see `scripts/append_ban.lua`.
const MAX_IDS: usize = 50_000;

/// Memory of an id in the map, in bytes, with the share of its node, which may be half full.
const ID_BYTES: usize = 2 * (size_of::<(u64, Position)>() + 2);

/// First byte of a banned key among the tags of the log. No tag has it, because tags are UTF-8.
const KEY_PREFIX: u8 = 0xff;

/// A text that is banned as a whole.
#[derive(Debug, PartialEq, Eq)]
enum BannedText<'a> {
    Tag(&'a str),
    Key(&'a str),
}

/// A banned key, as it is among the tags of the log.
pub(super) fn encode_key(key: &str) -> Vec<u8> {
    [&[KEY_PREFIX], key.as_bytes()].concat()
}

/// The pattern of a ban by its name in the log: of a tag or a key (`t`), or of a glob.
pub(super) fn pattern(kind: u8, name: &[u8]) -> Option<BanPattern> {
    if kind != b't' {
        return Some(BanPattern::Glob(std::str::from_utf8(name).ok()?.to_owned()));
    }
    Some(match BannedText::parse(name)? {
        BannedText::Tag(tag) => BanPattern::Tag(tag.to_owned()),
        BannedText::Key(key) => BanPattern::Glob(escaped(key)),
    })
}

/// A replica's copy of the log of a namespace.
#[derive(Default)]
pub(super) struct BanLog {
    head: Position,
    /// Number up to which bans were dropped, because no valid entry is older.
    dropped: u64,
    ids: BTreeMap<u64, Position>,
    table: BanTable,
    /// When the last known hold-off ends: bans that were dropped are kept until then.
    held_until: Option<Timestamp>,
}

/// A part of the log.
pub(super) struct LogPart {
    /// Whether it is the whole log.
    is_all: bool,
    head: Position,
    /// Number up to which bans were dropped, because no entry is older.
    dropped: u64,
    tags: Vec<(Vec<u8>, u64)>,
    globs: Vec<(Vec<u8>, u64)>,
    ids: Vec<(Vec<u8>, u64)>,
    hold_offs: Vec<(Vec<u8>, u64)>,
}

impl<'a> BannedText<'a> {
    fn parse(name: &'a [u8]) -> Option<Self> {
        match name.split_first() {
            Some((&KEY_PREFIX, key)) => std::str::from_utf8(key).ok().map(Self::Key),
            _ => std::str::from_utf8(name).ok().map(Self::Tag),
        }
    }
}

impl BanLog {
    /// The newest ban.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// Number up to which bans were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether there are bans that are not dropped yet.
    pub(super) fn has_bans(&self) -> bool {
        self.dropped < self.head.sequence && !self.table.is_empty()
    }

    /// Estimated memory, in bytes. Zero without bans.
    pub(super) fn memory(&self) -> u64 {
        (self.table.memory() + self.ids.len() * ID_BYTES) as u64
    }

    /// The bans.
    pub(super) fn table(&self) -> &BanTable {
        &self.table
    }

    /// Whether the log has ever had this position. Old positions are trusted by their number.
    pub(super) fn is_known(&self, position: Position) -> bool {
        position.sequence <= self.head.sequence
            && self.ids.get(&position.sequence).is_none_or(|known| *known == position)
    }

    /// Whether the log has all bans that are newer than this position of an entry or a lease.
    pub(super) fn covers(&self, position: Position) -> bool {
        self.is_known(position) && position.sequence >= self.dropped
    }

    /// Adds what was read of the log.
    pub(super) fn apply(&mut self, part: LogPart, now: Timestamp) {
        if part.is_all {
            *self = Self::default();
        } else if part.head.sequence < self.head.sequence {
            // An answer that was overtaken by a later one.
            return;
        }
        self.head = part.head;
        // Later parts do not have the bans that were dropped here.
        let has_dropped = part.dropped > self.dropped;
        self.dropped = self.dropped.max(part.dropped);
        let held_until = part.hold_offs.iter().map(|(_, until)| Timestamp(*until)).max();
        self.held_until = self.held_until.max(held_until);
        let text = |(name, number): (Vec<u8>, u64)| Some((String::from_utf8(name).ok()?, number));
        for (name, sequence) in part.tags {
            match BannedText::parse(&name) {
                Some(BannedText::Tag(tag)) => self.table.insert_tag(tag, sequence, Timestamp(0)),
                Some(BannedText::Key(key)) => self.table.insert_key(key, sequence, Timestamp(0)),
                None => {}
            }
        }
        for (glob, sequence) in part.globs.into_iter().filter_map(text) {
            if let Ok(glob) = Glob::new(&glob) {
                self.table.insert_glob(glob, sequence, Timestamp(0));
            }
        }
        for (name, until) in part.hold_offs {
            let until = Timestamp(until);
            match name.split_first() {
                Some((b't', name)) => match BannedText::parse(name) {
                    Some(BannedText::Tag(tag)) => self.table.insert_tag(tag, 0, until),
                    Some(BannedText::Key(key)) => self.table.insert_key(key, 0, until),
                    None => {}
                },
                Some((b'g', glob)) => {
                    let glob = std::str::from_utf8(glob).ok().and_then(|glob| Glob::new(glob).ok());
                    if let Some(glob) = glob {
                        self.table.insert_glob(glob, 0, until);
                    }
                }
                _ => {}
            }
        }
        for (id, sequence) in part.ids {
            if let Ok(id) = id.try_into() {
                self.ids.insert(sequence, Position { sequence, id });
            }
        }
        while self.ids.len() > MAX_IDS {
            self.ids.pop_first();
        }
        // Visits all bans, so that it must not happen for each new one.
        if has_dropped || self.held_until.is_some_and(|until| until <= now) {
            self.held_until = self.held_until.filter(|until| *until > now);
            self.table.drop_until(self.dropped, now);
        }
    }
}

impl LogPart {
    /// A part with bans of the tags `t1`, `t2` and so on.
    #[cfg(test)]
    pub(super) fn of_tags(
        is_all: bool,
        head: Position,
        numbers: impl Iterator<Item = u64>,
    ) -> Self {
        let tags: Vec<_> =
            numbers.map(|number| (format!("t{number}").into_bytes(), number)).collect();
        let (globs, hold_offs) = (Vec::new(), Vec::new());
        let ids = vec![(head.id.to_vec(), head.sequence)];
        Self { is_all, head, dropped: 0, tags, globs, ids, hold_offs }
    }

    /// Whether it is the whole log.
    pub(super) fn is_all(&self) -> bool {
        self.is_all
    }

    /// The newest ban.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// Whether keys or patterns were banned.
    pub(super) fn has_keys(&self) -> bool {
        let is_key = |(name, _): &(Vec<u8>, u64)| name.first() == Some(&KEY_PREFIX);
        !self.globs.is_empty() || self.tags.iter().any(is_key)
    }

    /// The tags and the globs that were banned after `since`; `None` if some of them are not known.
    /// A key is a glob of itself.
    pub(super) fn newer_than(self, since: Position) -> Option<(Vec<String>, Vec<String>)> {
        if (self.is_all && since.sequence > 0) || since.sequence < self.dropped {
            return None;
        }
        let is_newer = |(_, sequence): &(Vec<u8>, u64)| *sequence > since.sequence;
        let globs = self.globs.into_iter().filter(is_newer);
        let globs = globs.map(|(glob, _)| String::from_utf8(glob).ok());
        let (mut tags, mut globs) = (Vec::new(), globs.collect::<Option<Vec<String>>>()?);
        for (name, _) in self.tags.into_iter().filter(is_newer) {
            match BannedText::parse(&name)? {
                BannedText::Tag(tag) => tags.push(tag.to_owned()),
                BannedText::Key(key) => globs.push(escaped(key)),
            }
        }
        Some((tags, globs))
    }

    /// Parses the rest of a script's reply that begins with `LOG`.
    pub(super) fn parse(reply: &mut ScriptReply) -> Result<Self> {
        let is_all: u64 = reply.next()?;
        let head: Vec<u8> = reply.next()?;
        Ok(Self {
            is_all: is_all == 1,
            head: head.as_slice().into(),
            dropped: reply.next()?,
            tags: reply.next()?,
            globs: reply.next()?,
            ids: reply.next()?,
            hold_offs: reply.next()?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn position(sequence: u64, id: u8) -> Position {
        Position { sequence, id: [id; 16] }
    }

    fn part(is_all: bool, head: Position, tags: &[(&str, u64)]) -> LogPart {
        LogPart {
            is_all,
            head,
            dropped: 0,
            tags: tags.iter().map(|(tag, sequence)| (tag.as_bytes().to_vec(), *sequence)).collect(),
            globs: Vec::new(),
            ids: vec![(head.id.to_vec(), head.sequence)],
            hold_offs: Vec::new(),
        }
    }

    fn bans(log: &BanLog, since: u64, tag: &str) -> bool {
        log.table().bans(since, "k", &[tag.to_owned()])
    }

    #[test]
    fn positions_of_another_log_are_not_known() {
        let mut log = BanLog::default();
        assert!(log.is_known(Position::default()));
        log.apply(part(true, position(7, 7), &[("a", 7)]), NOW);
        assert!(log.is_known(position(7, 7)) && log.is_known(Position::default()));
        assert!(log.is_known(position(6, 1)), "trusted by its number");
        assert!(!log.is_known(position(7, 8)), "another ban with the number");
        assert!(!log.is_known(position(8, 8)), "newer than the head");
    }

    #[test]
    fn news_are_added_and_the_whole_log_replaces_what_was_known() {
        let mut log = BanLog::default();
        log.apply(part(true, position(1, 1), &[("a", 1)]), NOW);
        log.apply(part(false, position(3, 3), &[("b", 3)]), NOW);
        assert!(bans(&log, 0, "a") && bans(&log, 2, "b"));
        log.apply(part(false, position(2, 2), &[("c", 2)]), NOW);
        assert_eq!(log.head(), position(3, 3), "an older answer changes nothing");
        log.apply(part(true, position(1, 9), &[("d", 1)]), NOW);
        assert!(bans(&log, 0, "d") && !bans(&log, 0, "a"));
        assert!(!log.is_known(position(1, 1)));
    }

    #[test]
    fn banned_keys_are_among_the_tags() {
        let mut first = part(true, position(1, 1), &[("a", 1)]);
        first.tags.push((encode_key("k*"), 1));
        first.hold_offs = vec![([b"t".to_vec(), encode_key("k*")].concat(), NOW.0 + 1)];
        assert!(first.has_keys() && !part(true, position(1, 1), &[("a", 1)]).has_keys());
        let mut log = BanLog::default();
        log.apply(first, NOW);
        assert!(log.table().bans(0, "k*", &[]) && !log.table().bans(0, "k1", &[]));
        assert!(log.table().refuses_fill(1, "k*", &[], NOW) && bans(&log, 0, "a"));
        let mut news = part(true, position(1, 1), &[("a", 1)]);
        news.tags.push((encode_key("k*"), 1));
        let newer = news.newer_than(Position::default());
        assert_eq!(newer, Some((vec!["a".to_owned()], vec!["k\\*".to_owned()])));
    }

    /// A new ban must not visit the others, of which there may be 100,000.
    #[test]
    fn bans_are_visited_only_when_some_are_dropped_or_a_hold_off_has_ended() {
        let mut log = BanLog::default();
        log.apply(part(true, position(1, 1), &[("a", 1)]), NOW);
        // A tag that a visit would drop.
        log.table.insert_tag("witness", 0, Timestamp(0));
        log.apply(part(false, position(2, 2), &[("b", 2)]), NOW);
        assert_eq!(log.table().tag_count(), 3);
        let mut held = part(false, position(3, 3), &[]);
        held.hold_offs = vec![(b"tb".to_vec(), NOW.0 + 5)];
        log.apply(held, NOW);
        assert_eq!(log.table().tag_count(), 3);
        log.apply(part(false, position(4, 4), &[]), Timestamp(NOW.0 + 5));
        assert_eq!(log.table().tag_count(), 2, "a hold-off has ended");
        log.table.insert_tag("witness", 0, Timestamp(0));
        log.apply(LogPart { dropped: 1, ..part(false, position(5, 5), &[]) }, NOW);
        assert_eq!(log.table().tag_count(), 1, "bans were dropped");
    }

    #[test]
    fn newer_bans_are_returned_unless_some_are_missing() {
        let newer = |part: LogPart, since| part.newer_than(since).map(|(tags, _)| tags);
        let part = |is_all| part(is_all, position(3, 3), &[("a", 1), ("b", 3)]);
        assert_eq!(newer(part(false), position(1, 1)), Some(vec!["b".to_owned()]));
        assert_eq!(newer(part(true), position(1, 1)), None, "another log");
        let all = newer(part(true), Position::default());
        assert_eq!(all, Some(vec!["a".to_owned(), "b".to_owned()]));
        let dropped = LogPart { dropped: 2, ..part(false) };
        assert_eq!(newer(dropped, position(1, 1)), None);
    }

    #[test]
    fn hold_offs_and_dropped_bans_are_applied() {
        let mut log = BanLog::default();
        let mut first = part(true, position(2, 2), &[("a", 1), ("b", 2)]);
        first.globs = vec![(b"k*".to_vec(), 2)];
        first.hold_offs = vec![(b"ta".to_vec(), NOW.0 + 1), (b"gk*".to_vec(), NOW.0 + 1)];
        log.apply(first, NOW);
        assert!(log.table().refuses_fill(2, "x", &["a".to_owned()], NOW));
        assert!(log.table().refuses_fill(2, "k", &[], NOW));
        assert!(!log.table().refuses_fill(2, "k", &[], Timestamp(NOW.0 + 1)));
        let dropped = LogPart { dropped: 2, ..part(false, position(3, 3), &[]) };
        log.apply(dropped, Timestamp(NOW.0 + 1));
        assert!(log.table().is_empty());
        assert!(log.covers(position(2, 2)) && !log.covers(position(1, 1)));
        log.apply(part(false, position(3, 3), &[]), NOW);
        assert!(!log.covers(position(1, 1)), "the log was set back to before the drop");
    }
}
