//! MintToken: its request.

use std::time::Duration;

use super::{Checked, non_negative};
use crate::{
    auth::MintRequest,
    model::{MAX_KEY_BYTES, Violation},
    pb::v1 as pb,
};

/// Shortest lifetime of a token.
const MIN_TTL: Duration = Duration::from_secs(1);

/// Checks a request.
pub(in crate::rpc) fn mint_request(request: pb::MintTokenRequest) -> Checked<MintRequest> {
    let pb::MintTokenRequest { verbs, namespaces, key_prefix, ttl } = request;
    let ttl = non_negative("ttl", ttl)?.unwrap_or_default();
    if ttl < MIN_TTL {
        return Err(Violation::new("ttl", "must be 1 s or longer"));
    }
    if key_prefix.len() > MAX_KEY_BYTES {
        let description =
            format!("is {} bytes long, the limit is {MAX_KEY_BYTES}", key_prefix.len());
        return Err(Violation::over_limit("key_prefix", description, MAX_KEY_BYTES));
    }
    Ok(MintRequest {
        verbs: parsed("verbs", &verbs)?,
        namespaces: parsed("namespaces", &namespaces)?,
        keys: key_prefix,
        ttl,
    })
}

fn parsed<T, C>(field: &str, texts: &[String]) -> Checked<C>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    C: FromIterator<T>,
{
    let item = |(index, text): (usize, &String)| {
        text.parse().map_err(|error: T::Err| {
            Violation::new("", error.to_string()).renamed(format!("{field}[{index}]"))
        })
    };
    texts.iter().enumerate().map(item).collect()
}
