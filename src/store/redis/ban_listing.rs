//! Lists the bans of a namespace, by one script on its log.

use std::{collections::HashMap, time::Duration};

use super::{
    RedisStore, ban::retention, ban_log::pattern, pool::Retry, request::unexpected,
    script::LIST_BANS, script_reply::ScriptReply,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{BanLimits, BanListing, ListedBan, Result, bans::BanTimes},
};

/// Names with a number for each.
type Numbered = Vec<(Vec<u8>, u64)>;

impl RedisStore {
    /// See [`crate::store::Inspect::list_bans`].
    pub(super) async fn listed_bans(
        &self,
        namespace: &Namespace,
        limits: &BanLimits,
    ) -> Result<BanListing> {
        let mut call = self.bans.log_call(&LIST_BANS, namespace);
        call.arg(BanListing::MAX_NEWEST).arg(BanTimes::MAX);
        let mut reply = self.router.run(&LIST_BANS, &call, Retry::Idempotent).await?;
        let kept_for = Duration::from_millis(retention(limits));
        let listing = parse(&mut reply)?;
        Ok(BanListing { kept_for, ..listing })
    }
}

fn parse(reply: &mut ScriptReply) -> Result<BanListing> {
    if reply.word != "BANS" {
        return Err(unexpected("list_bans.lua"));
    }
    let (tags, globs) = (reply.next()?, reply.next()?);
    let (newest_tags, newest_globs): (Numbered, Numbered) = (reply.next()?, reply.next()?);
    let times: Vec<(u64, u64)> = reply.next()?;
    let times = times.into_iter().map(|(sequence, time)| (Timestamp(time), sequence));
    let times = BanTimes::of(times.collect());
    let hold_offs: HashMap<Vec<u8>, u64> = reply.next::<Numbered>()?.into_iter().collect();
    let newest_tags = newest_tags.into_iter().map(|ban| (b't', ban));
    let newest_globs = newest_globs.into_iter().map(|ban| (b'g', ban));
    // A name that no release has written is left out.
    let newest = newest_tags.chain(newest_globs).filter_map(|(kind, (name, sequence))| {
        let pattern = pattern(kind, &name)?;
        let held_until = hold_offs.get(&[&[kind], &name[..]].concat());
        Some(ListedBan {
            pattern,
            sequence,
            made_at: times.time_of(sequence),
            held_until: held_until.map(|end| Timestamp(*end)),
        })
    });
    let newest = newest.collect();
    let mut listing = BanListing { tags, globs, newest, ..BanListing::default() };
    listing.limit();
    Ok(listing)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::Value;

    use super::{super::ban_log::encode_key, *};
    use crate::store::BanPattern;

    fn flat(pairs: &[(&[u8], u64)]) -> Value {
        let pair = |(name, number): &(&[u8], u64)| {
            let number = number.to_string().into_bytes();
            [Value::BulkString(name.to_vec()), Value::BulkString(number)]
        };
        Value::Array(pairs.iter().flat_map(pair).collect())
    }

    #[test]
    fn tags_keys_and_patterns_are_listed_by_their_age() {
        let key = encode_key("k*");
        let tags: [(&[u8], u64); 2] = [(&key, 4), (b"red", 2)];
        let parts = vec![
            Value::BulkString(b"BANS".to_vec()),
            Value::Int(40),
            Value::Int(1),
            flat(&tags),
            flat(&[(b"user:*", 3)]),
            flat(&[(b"4", 4000), (b"2", 1000)]),
            flat(&[(b"tred", 9000)]),
        ];
        let mut reply = ScriptReply::parse(Value::Array(parts)).unwrap();
        let listing = parse(&mut reply).unwrap();
        assert_eq!((listing.tags, listing.globs), (40, 1));
        let ban = |pattern, sequence, made_at, held_until: Option<u64>| ListedBan {
            pattern,
            sequence,
            made_at: Some(Timestamp(made_at)),
            held_until: held_until.map(Timestamp),
        };
        let expected = [
            ban(BanPattern::Glob("k\\*".to_owned()), 4, 4000, None),
            ban(BanPattern::Glob("user:*".to_owned()), 3, 1000, None),
            ban(BanPattern::Tag("red".to_owned()), 2, 1000, Some(9000)),
        ];
        assert_eq!(listing.newest, expected);
    }
}
