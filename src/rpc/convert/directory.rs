//! Listings of keys and namespaces, and inspected entries.

use super::{Checked, get::tier};
use crate::{
    cache::{
        BanPattern, EntryReport, KeyListPosition, KeyQuery, LeaseInspection, LeaseInspectionState,
        MatchingBan, NamespaceList, Outcome,
    },
    config::NamespaceConfig,
    model::{EntryKey, Glob, Kind, Namespace, SaturatingFrom as _, Violation},
    pb::{from_duration, v1 as pb},
};

/// Keys of a page for which the request sets no size.
const DEFAULT_KEYS: usize = 100;
/// Most keys that a request can ask for.
const MAX_KEYS: usize = 1000;

/// The keys that a request lists.
pub(in crate::rpc) fn key_query(namespace: &str, glob: &str, token: &str) -> Checked<KeyQuery> {
    let glob = if glob.is_empty() { None } else { Some(Glob::new(glob)?) };
    let position = if token.is_empty() {
        KeyListPosition::default()
    } else {
        let malformed = || Violation::new("page_token", "must be a next_page_token of this call");
        position(token).ok_or_else(malformed)?
    };
    Ok(KeyQuery { namespace: Namespace::new(namespace)?, glob, position })
}

/// Keys at which a page ends.
pub(in crate::rpc) fn key_page_size(size: u32) -> usize {
    match size {
        0 => DEFAULT_KEYS,
        size => usize::saturating_from(size).min(MAX_KEYS),
    }
}

/// The token of the page that begins at a position.
pub(in crate::rpc) fn key_page_token(next: Option<KeyListPosition>) -> String {
    next.map_or_else(String::new, |KeyListPosition { origin, cursor }| {
        format!("{origin:016x}{cursor:016x}")
    })
}

fn position(token: &str) -> Option<KeyListPosition> {
    let is_hex = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (origin, cursor) = is_hex.then(|| token.split_at(16))?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(KeyListPosition { origin: number(origin)?, cursor: number(cursor)? })
}

pub(in crate::rpc) fn listed_key(key: &EntryKey) -> pb::ListedKey {
    let mut params_digest = String::new();
    if let Some(digest) = key.params() {
        digest.write_to(&mut params_digest);
    }
    pb::ListedKey { key: key.key().to_owned(), params_digest }
}

/// The key to inspect.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) enum InspectedKey {
    /// A key with its params, as callers name it: schema versions are not part of it yet.
    OfCaller(EntryKey),
    /// A key with the digest under which the store has it.
    OfStore(EntryKey),
}

pub(in crate::rpc) fn inspected_key(request: &pb::InspectEntryRequest) -> Checked<InspectedKey> {
    let key = super::entry_key(&request.namespace, &request.key, &request.params)?;
    if request.params_digest.is_empty() {
        return Ok(InspectedKey::OfCaller(key));
    }
    if !request.params.is_empty() {
        return Err(Violation::new("params_digest", "cannot be combined with params"));
    }
    EntryKey::restored(&request.namespace, &request.key, Some(&request.params_digest))
        .map(InspectedKey::OfStore)
        .ok_or_else(|| Violation::new("params_digest", "must be a params_digest of ListKeys"))
}

pub(in crate::rpc) fn inspect_response(report: &EntryReport) -> pb::InspectEntryResponse {
    pb::InspectEntryResponse {
        entry: inspected_entry(report),
        lease: report.stored.lease.as_ref().map(inspected_lease),
        near_version: report.near.map(|version| version.to_text()).unwrap_or_default(),
        tier: report.tier.map_or(pb::Tier::Unspecified, tier).into(),
    }
}

fn inspected_entry(report: &EntryReport) -> Option<pb::InspectedEntry> {
    let stored = &report.stored;
    let entry = stored.entry.as_ref()?;
    let now = report.now.max(entry.created_at);
    let outcome = match report.outcome {
        Some(Outcome::Hit) => pb::Outcome::Hit,
        Some(Outcome::Stale) => pb::Outcome::Stale,
        Some(Outcome::Negative) => pb::Outcome::Negative,
        None => pb::Outcome::Miss,
    };
    let kind = match entry.kind {
        Kind::Bytes => "data",
        Kind::Text => "text",
        Kind::Json => "json",
        Kind::Negative => "negative",
    };
    let etag =
        entry.fetch_metadata.as_ref().and_then(|metadata| metadata.validators.etag.as_deref());
    Some(pb::InspectedEntry {
        kind: kind.to_owned(),
        value_bytes: entry.data.len() as u64,
        stored_bytes: stored.stored_bytes,
        version: entry.version.to_text(),
        tags: entry.tags.to_vec(),
        age: Some(from_duration(now.since(entry.created_at))),
        ttl_remaining: Some(from_duration(entry.fresh_until.since(now))),
        stale_while_revalidate: Some(from_duration(entry.stale_while_revalidate)),
        stale_if_error: Some(from_duration(entry.stale_if_error)),
        expires_in: Some(from_duration(entry.expires_at().since(now))),
        outcome: outcome.into(),
        invalidated: stored.is_invalidated,
        etag: etag.unwrap_or_default().to_owned(),
        ban_sequence: stored.ban_sequence,
        bans: stored.bans.iter().map(inspected_ban).collect(),
        revalidation_window: Some(from_duration(entry.revalidation_window)),
    })
}

fn inspected_ban(ban: &MatchingBan) -> pb::InspectedBan {
    use pb::inspected_ban::Matches;
    let matches = match &ban.pattern {
        BanPattern::Tag(tag) => Matches::Tag(tag.clone()),
        BanPattern::Glob(glob) => Matches::Glob(glob.clone()),
    };
    pb::InspectedBan { matches: Some(matches), sequence: ban.sequence }
}

fn inspected_lease(lease: &LeaseInspection) -> pb::InspectedLease {
    use pb::inspected_lease::State;
    let (state, cause) = match &lease.state {
        LeaseInspectionState::Held => (State::Held, ""),
        LeaseInspectionState::Voided => (State::Voided, ""),
        LeaseInspectionState::BackedOff(cause) => (State::BackedOff, &**cause),
        LeaseInspectionState::HeldOff => (State::HeldOff, ""),
    };
    let remaining = Some(from_duration(lease.remaining));
    pb::InspectedLease { state: state.into(), remaining, cause: cause.to_owned() }
}

/// The name after which a page of namespaces begins, and its size.
pub(in crate::rpc) fn namespace_page(
    request: pb::ListNamespacesRequest,
) -> Checked<(String, usize)> {
    if !request.page_token.is_empty() {
        Namespace::new(&request.page_token)
            .map_err(|_| Violation::new("page_token", "must be a next_page_token of this call"))?;
    }
    let limit = match request.page_size {
        0 => NamespaceList::MAX,
        size => usize::saturating_from(size),
    };
    Ok((request.page_token, limit))
}

pub(in crate::rpc) fn namespaces_response(list: &NamespaceList) -> pb::ListNamespacesResponse {
    let overview = &list.overview;
    let namespaces = list.namespaces.iter().map(|listed| pb::NamespaceSummary {
        namespace: listed.name.to_string(),
        configured: listed.is_configured,
        policy: listed.config.as_ref().map(policy),
        size: overview.size(listed.name.as_str()).map(super::stats::size),
        counted: overview.report.total.get(listed.name.as_str()).map(super::stats::counters),
    });
    let last = list.namespaces.last().filter(|_| list.has_more);
    pb::ListNamespacesResponse {
        namespaces: namespaces.collect(),
        next_page_token: last.map(|listed| listed.name.to_string()).unwrap_or_default(),
        degraded: overview.degraded,
    }
}

fn policy(config: &NamespaceConfig) -> pb::NamespacePolicy {
    let near_cache = config.near_cache.as_ref().map_or(0, |near_cache| near_cache.max_bytes);
    pb::NamespacePolicy {
        ttl: Some(from_duration(config.ttl)),
        max_ttl: Some(from_duration(config.max_ttl)),
        ttl_jitter: config.ttl_jitter,
        max_value_bytes: config.max_value_bytes as u64,
        stale_while_revalidate: Some(from_duration(config.stale_while_revalidate)),
        stale_if_error: Some(from_duration(config.stale_if_error)),
        lease_ttl: Some(from_duration(config.lease_ttl)),
        has_origin: config.origin.is_some(),
        near_cache_bytes: near_cache as u64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn position_survives_its_token() {
        let position = KeyListPosition { origin: u64::MAX, cursor: 7 };
        let token = key_page_token(Some(position));
        assert_eq!(key_query("ns", "", &token).unwrap().position, position);
        assert_eq!(key_page_token(None), "");
        assert_eq!(key_query("ns", "", "").unwrap().position, KeyListPosition::default());
        for token in ["x", "é", &"+".repeat(32), &"0".repeat(33)] {
            assert_eq!(key_query("ns", "", token).unwrap_err().field(), "page_token", "{token}");
        }
    }

    #[test]
    fn glob_and_size_of_a_page_are_checked() {
        assert_eq!(key_query("ns", "[a", "").unwrap_err().field(), "glob");
        assert_eq!(key_query("NS", "a*", "").unwrap_err().field(), "namespace");
        assert!(key_query("ns", "a*", "").unwrap().glob.unwrap().matches("ab"));
        assert_eq!([0, 1, 5000].map(key_page_size), [100, 1, 1000]);
    }

    #[test]
    fn digest_of_a_listed_key_names_the_same_key() {
        let params = std::collections::BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let key = super::super::entry_key("ns", "k", &params).unwrap();
        let listed = listed_key(&key);
        let mut request = pb::InspectEntryRequest {
            namespace: "ns".to_owned(),
            key: listed.key,
            params_digest: listed.params_digest,
            ..pb::InspectEntryRequest::default()
        };
        assert_eq!(inspected_key(&request).unwrap(), InspectedKey::OfStore(key));
        request.params = params;
        assert_eq!(inspected_key(&request).unwrap_err().field(), "params_digest");
        request.params.clear();
        request.params_digest = "short".to_owned();
        assert_eq!(inspected_key(&request).unwrap_err().field(), "params_digest");
    }

    #[test]
    fn token_of_a_page_of_namespaces_is_a_name() {
        let request = |token: &str, page_size| pb::ListNamespacesRequest {
            page_size,
            page_token: token.to_owned(),
        };
        assert_eq!(namespace_page(request("b", 2)).unwrap(), ("b".to_owned(), 2));
        assert_eq!(namespace_page(request("", 0)).unwrap().1, NamespaceList::MAX);
        assert_eq!(namespace_page(request("B", 0)).unwrap_err().field(), "page_token");
    }
}
