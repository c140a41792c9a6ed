//! The kinds of the client library's errors.

use std::sync::Arc;

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind};

use crate::store::{Error, ErrorKind};

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self { kind: kind(&error), source: Some(Arc::new(error)) }
    }
}

fn kind(error: &RedisError) -> ErrorKind {
    match error.kind() {
        _ if error.is_timeout() => ErrorKind::Timeout,
        Redis::Io
        | Redis::Parse
        | Redis::AuthenticationFailed
        | Redis::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain,
        ) => ErrorKind::Unreachable,
        _ if matches!(error.code(), Some("OOM")) || says_out_of_memory(error) => ErrorKind::Full,
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => ErrorKind::Unreachable,
        _ => ErrorKind::Refused,
    }
}

/// A script that runs out of memory fails with the error code of scripts; the detail tells why.
fn says_out_of_memory(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("OOM "))
}
