//! The limits of the server.

use std::collections::BTreeMap;

use prost::Message as _;
use tonic::{Code, Status};

use super::store::{FakeNamespace, Place};
use crate::{
    error::{Details, ErrorInfo, RetryInfo},
    globs::Glob,
    pb::{self, value::Kind},
    ttl::{from_wire, to_wire},
};

/// A status with the details of the server.
pub(crate) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: "larder".to_owned(),
        metadata: BTreeMap::new(),
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if code == Code::Unavailable {
        let retry_delay = Some(to_wire(std::time::Duration::from_secs(1)));
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let all = Details { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, all.encode_to_vec().into())
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{name}");
    prost_types::Any { type_url, value: message.encode_to_vec() }
}

pub(crate) fn invalid(field: &str, why: impl std::fmt::Display) -> Status {
    status(Code::InvalidArgument, "INVALID_ARGUMENT", format!("{field}: {why}"))
}

/// The error of a call while the store is away.
pub(crate) fn store_unavailable() -> Status {
    status(Code::Unavailable, "STORE_UNAVAILABLE", "the store does not answer")
}

/// A duration that must be positive when it is set.
pub(crate) fn positive(
    value: Option<prost_types::Duration>,
    field: &str,
) -> Result<Option<std::time::Duration>, Status> {
    if value.is_none() {
        return Ok(None);
    }
    let given = from_wire(value).filter(|duration| !duration.is_zero());
    given.map(Some).ok_or_else(|| invalid(field, "must be positive"))
}

pub(crate) fn namespace(name: &str) -> Result<(), Status> {
    if crate::names::encode_namespace(name).is_ok_and(|encoded| encoded == name)
        || (name.starts_with("x--") && name.len() <= 64)
    {
        return Ok(());
    }
    Err(invalid("namespace", "is not a name of a namespace"))
}

pub(crate) fn place(place: &Place) -> Result<(), Status> {
    namespace(&place.namespace)?;
    if place.key.is_empty() {
        return Err(invalid("key", "must not be empty"));
    }
    if place.key.len() > 1024 {
        return Err(invalid("key", "is too long"));
    }
    if place.params.len() > 64 {
        return Err(invalid("params", "has too many pairs"));
    }
    Ok(())
}

pub(crate) fn tags(tags: &[String]) -> Result<(), Status> {
    if tags.len() > 32 {
        return Err(invalid("tags", format!("has {} elements, the limit is 32", tags.len())));
    }
    if tags.iter().any(|tag| tag.is_empty() || tag.len() > 128) {
        return Err(invalid("tags", "a tag has 1 to 128 bytes"));
    }
    Ok(())
}

pub(crate) fn glob(glob: &str) -> Result<Glob, Status> {
    if glob.is_empty() || glob.matches(['*', '?', '[']).count() > 32 {
        return Err(invalid("glob", "is empty, or has more than 32 wildcards"));
    }
    Glob::new(glob).ok_or_else(|| invalid("glob", "is not a pattern"))
}

pub(crate) fn value(
    value: Option<&pb::Value>,
    settings: &FakeNamespace,
) -> Result<pb::Value, Status> {
    let value = value.ok_or_else(|| invalid("value", "must be set"))?;
    let bytes = crate::typed::value_bytes(Some(value));
    if bytes > settings.max_value_bytes {
        let why = format!("the value has {bytes} bytes, the limit is {}", settings.max_value_bytes);
        return Err(status(Code::ResourceExhausted, "VALUE_TOO_LARGE", why));
    }
    match &value.kind {
        None => Err(invalid("value", "must be set")),
        Some(Kind::Json(json)) => serde_json::from_str::<serde::de::IgnoredAny>(json)
            .map(|_| value.clone())
            .map_err(|error| invalid("value.json", error)),
        Some(Kind::Text(_) | Kind::Data(_)) => Ok(value.clone()),
    }
}
