//! Names of namespaces, keys and tags, and the values that name their origin.

use crate::history::{Key, Namespace, TagSet, WriteId};

/// The namespaces of a run. Some names are prefixes of others.
pub(crate) const NAMESPACES: [&str; 6] = ["shop", "shop-eu", "near", "stale", "count", "keep"];
pub(crate) const SHOP: Namespace = 0;
pub(crate) const SHOP_EU: Namespace = 1;
pub(crate) const NEAR: Namespace = 2;
pub(crate) const STALE: Namespace = 3;
pub(crate) const COUNT: Namespace = 4;
pub(crate) const KEEP: Namespace = 5;

/// The namespaces that are watched: not that of the near cache, which would be kept coherent by the
/// feed of the watch as well.
pub(crate) const WATCHED: [Namespace; 3] = [SHOP, SHOP_EU, STALE];
/// Tags of a round.
pub(crate) const TAGS: u32 = 6;

/// The key in requests. It is the same in all namespaces.
pub(crate) fn key_name(key: Key) -> String {
    format!("r{}:g{}:{}", key.round(), key.group(), key.number)
}

/// The pattern of a group.
pub(crate) fn glob(round: u32, group: u32) -> String {
    format!("r{round}:g{group}:*")
}

/// The tags in requests.
pub(crate) fn tag_names(round: u32, tags: TagSet) -> Vec<String> {
    (0..TAGS).filter(|tag| tags & (1 << tag) != 0).map(|tag| format!("r{round}:t{tag}")).collect()
}

/// The round and the set of one tag.
pub(crate) fn parse_tag(name: &str) -> Option<(u32, TagSet)> {
    let (round, tag) = name.strip_prefix('r')?.split_once(":t")?;
    let tag: u32 = tag.parse().ok()?;
    Some((round.parse().ok()?, 1u8.checked_shl(tag)?))
}

/// The round and the group of a pattern.
pub(crate) fn parse_glob(glob: &str) -> Option<(u32, u32)> {
    let (round, group) = glob.strip_prefix('r')?.strip_suffix(":*")?.split_once(":g")?;
    Some((round.parse().ok()?, group.parse().ok()?))
}

/// A value that names its namespace, key and write.
pub(crate) fn value(key: Key, write: WriteId) -> String {
    let namespace = NAMESPACES[usize::from(key.namespace)];
    // Some values are larger than a packet of the network.
    let size = if write.is_multiple_of(16) { 3000 } else { 8 };
    format!("{namespace}|{}|{write}|{}", key.number, "x".repeat(size))
}

/// The entry and the write that a value names.
pub(crate) fn parse_value(text: &str) -> Option<(Key, WriteId)> {
    let mut parts = text.split('|');
    let name = parts.next()?;
    let namespace = NAMESPACES.iter().position(|other| *other == name)?;
    let number = parts.next()?.parse().ok()?;
    let write = parts.next()?.parse().ok()?;
    let key = Key { namespace: u8::try_from(namespace).ok()?, number };
    (value(key, write) == text).then_some((key, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_their_source() {
        let key = Key { namespace: SHOP_EU, number: 77 };
        for write in [5, 16] {
            assert_eq!(parse_value(&value(key, write)), Some((key, write)));
        }
        assert_eq!(parse_value("shop|77|5|x"), None, "a part of a value");
    }

    #[test]
    fn targets_have_names() {
        assert_eq!(parse_glob(&glob(7, 3)), Some((7, 3)));
        assert_eq!(tag_names(7, 0b101), ["r7:t0", "r7:t2"]);
        assert_eq!(parse_tag("r7:t2"), Some((7, 0b100)));
    }
}
