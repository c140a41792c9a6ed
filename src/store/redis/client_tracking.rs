//! A connection on which Redis announces changed keys (RESP3 client tracking in broadcast mode).
//!
//! Announcements are passed on while they are read from the socket, so that they cannot queue up,
//! and an answer on the same connection arrives after all earlier announcements.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, Value, aio::MultiplexedConnection,
};
use tokio_util::sync::CancellationToken;

use super::{endpoint::Endpoint, fault::Fault, server_identity::ServerInfo};
use crate::growing_pauses::growing_pauses;

/// Shortest pause, before jitter.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, before jitter, which may double it.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Growing pauses between attempts to connect, without end.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    growing_pauses(MIN_PAUSE, MAX_PAUSE)
}

/// Whether the server has no client tracking.
pub(super) fn is_unsupported(error: &RedisError) -> bool {
    error.kind() == ErrorKind::RESP3NotSupported || Fault::of(error) == Fault::UnknownCommand
}

/// An announcement of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invalidation<'a> {
    /// A key was changed, expired or was evicted.
    Key(&'a [u8]),
    /// Any key may have changed, because the database was flushed.
    All,
}

/// A connection with client tracking, which ends when it is dropped.
pub(super) struct ClientTracking {
    connection: MultiplexedConnection,
    server: ServerInfo,
    lost: CancellationToken,
}

impl ClientTracking {
    /// Connects, and tracks the keys that begin with one of `prefixes`. No prefix may begin with
    /// another one. `timeout` limits the time to connect, and that for each answer.
    pub(super) async fn open(
        endpoint: &Endpoint,
        timeout: Duration,
        prefixes: &[String],
        on_invalidation: impl Fn(Invalidation<'_>) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let lost = CancellationToken::new();
        let on_loss = lost.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(move |push: PushInfo| -> Result<(), redis::aio::SendError> {
                pass_on(&push, &on_invalidation, &on_loss);
                Ok(())
            });
        let route = endpoint.route().await?;
        let mut connection = route.connect(ProtocolVersion::RESP3, &config).await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in prefixes {
            tracking.arg("PREFIX").arg(prefix);
        }
        tracking.exec_async(&mut connection).await?;
        let server = route.identify(&mut connection).await?;
        Ok(Self { connection, server, lost })
    }

    /// Waits for the end of the connection.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Which server it is.
    pub(super) fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// Sends a command. All changes announced before its answer have been passed on when it
    /// returns.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.connection.clone()).await
    }
}

fn pass_on(push: &PushInfo, on_invalidation: &impl Fn(Invalidation<'_>), lost: &CancellationToken) {
    match (&push.kind, push.data.first()) {
        (PushKind::Invalidate, Some(Value::Array(keys))) => {
            for key in keys {
                if let Value::BulkString(key) = key {
                    on_invalidation(Invalidation::Key(key));
                }
            }
        }
        (PushKind::Invalidate, _) => on_invalidation(Invalidation::All),
        (PushKind::Disconnection, _) => lost.cancel(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The invalidations that a push message leads to, and whether it ends the connection.
    fn passed_on(kind: PushKind, data: Vec<Value>) -> (Vec<String>, bool) {
        let (passed_on, lost) = (RefCell::new(Vec::new()), CancellationToken::new());
        let on_invalidation = |invalidation: Invalidation<'_>| {
            passed_on.borrow_mut().push(format!("{invalidation:?}"));
        };
        pass_on(&PushInfo { kind, data }, &on_invalidation, &lost);
        (passed_on.into_inner(), lost.is_cancelled())
    }

    #[test]
    fn push_without_keys_invalidates_all_keys() {
        let keys =
            Value::Array(vec![Value::BulkString(b"a".into()), Value::BulkString(b"b".into())]);
        assert_eq!(
            passed_on(PushKind::Invalidate, vec![keys]),
            (vec!["Key([97])".into(), "Key([98])".into()], false)
        );
        assert_eq!(passed_on(PushKind::Invalidate, vec![Value::Nil]), (vec!["All".into()], false));
        assert_eq!(passed_on(PushKind::Message, vec![Value::Nil]), (vec![], false));
        assert_eq!(passed_on(PushKind::Disconnection, vec![]), (vec![], true));
    }
}
