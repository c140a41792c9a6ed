//! The replies of scripts.

use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{pool::Retry, request::unexpected, router::Router, script::Script};
use crate::{
    model::Timestamp,
    store::{ErrorKind, Result},
};

/// The reply of a script: a word, and the values that belong to it.
pub(super) struct ScriptReply {
    pub(super) word: String,
    rest: std::vec::IntoIter<Value>,
}

impl Router {
    /// Calls a script.
    ///
    /// # Errors
    /// [`ErrorKind::Late`]: the script arrived too late and was not applied.
    pub(super) async fn run(
        &self,
        script: &Script,
        call: &Cmd,
        retry: Retry,
    ) -> Result<ScriptReply> {
        let sent_at = Instant::now();
        let answer = self.eval(script, call, retry).await?;
        self.script_reply(answer, sent_at)
    }

    /// Parses the reply of a script that was called at `sent_at`. Fails if it was called too late.
    pub(super) fn script_reply(&self, answer: Value, sent_at: Instant) -> Result<ScriptReply> {
        let mut reply = ScriptReply::parse(answer)?;
        if reply.word == "LATE" {
            let server_time: u64 = reply.next()?;
            // In a cluster, that is the time of any primary; the probes measure their clocks.
            if let Self::One(pool, _) = self {
                pool.clock().synchronize(Timestamp(server_time), sent_at);
            }
            return Err(ErrorKind::Late.into());
        }
        Ok(reply)
    }
}

// === impl ScriptReply ===

impl ScriptReply {
    pub(super) fn parse(value: Value) -> Result<Self> {
        let (word, rest) = match value {
            Value::Array(parts) => {
                let mut parts = parts.into_iter();
                (parts.next().ok_or_else(|| unexpected("a script"))?, parts)
            }
            // A word alone is a little less work for the server than an array.
            word => (word, Vec::new().into_iter()),
        };
        Ok(Self { word: parse(word)?, rest })
    }

    pub(super) fn next_value(&mut self) -> Result<Value> {
        self.rest.next().ok_or_else(|| unexpected("a script"))
    }

    pub(super) fn next<T: redis::FromRedisValue>(&mut self) -> Result<T> {
        parse(self.next_value()?)
    }

    pub(super) fn next_millis(&mut self) -> Result<Duration> {
        // A negative number means that the key has no expiry or does not exist any more.
        let millis: i64 = self.next()?;
        Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

pub(super) fn parse<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    redis::from_redis_value(value).map_err(|error| redis::RedisError::from(error).into())
}
