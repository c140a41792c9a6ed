//! A connection on which Redis announces which keys change (RESP3 client tracking in broadcast mode).
//!
//! Announcements are passed on while they are read from the socket, so that none can pile up here, and an answer on the same connection
//! comes after all that were announced before it.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use redis::{
    AsyncConnectionConfig, Client, Cmd, PushInfo, PushKind, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio_util::sync::CancellationToken;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The jitter may double it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Pauses between attempts to follow Redis, longer and longer, for ever.
pub(super) fn pauses() -> impl Iterator<Item = Duration> + Send {
    let growing =
        ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
    growing.without_max_times().with_jitter().build()
}

/// What Redis announces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invalidation<'a> {
    /// A key changed, expired or was evicted.
    Changed(&'a [u8]),
    /// Any key may have changed: the whole database was flushed.
    All,
}

/// See the module. Ends when it is dropped.
pub(super) struct ClientTracking {
    connection: MultiplexedConnection,
    lost: CancellationToken,
}

impl ClientTracking {
    /// Connects and has the keys that begin with one of `prefixes` followed. None of the prefixes may begin with another. `timeout` is for
    /// connecting, and for each answer.
    pub(super) async fn open(
        client: &Client,
        timeout: Duration,
        prefixes: &[String],
        announce: impl Fn(Invalidation<'_>) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let lost = CancellationToken::new();
        let loss = lost.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_push_sender(move |push: PushInfo| -> Result<(), redis::aio::SendError> {
                pass_on(&push, &announce, &loss);
                Ok(())
            });
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in prefixes {
            tracking.arg("PREFIX").arg(prefix);
        }
        tracking.exec_async(&mut connection).await?;
        Ok(Self { connection, lost })
    }

    /// Waits for the end of the connection.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Sends a command. When it is answered, all that was announced before has been passed on.
    pub(super) async fn query(&self, command: &Cmd) -> RedisResult<Value> {
        command.query_async(&mut self.connection.clone()).await
    }
}

fn pass_on(push: &PushInfo, announce: &impl Fn(Invalidation<'_>), loss: &CancellationToken) {
    match (&push.kind, push.data.first()) {
        (PushKind::Invalidate, Some(Value::Array(keys))) => {
            for key in keys {
                if let Value::BulkString(key) = key {
                    announce(Invalidation::Changed(key));
                }
            }
        }
        (PushKind::Invalidate, _) => announce(Invalidation::All),
        (PushKind::Disconnection, _) => loss.cancel(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn passed_on(kind: PushKind, data: Vec<Value>) -> (Vec<String>, bool) {
        let (seen, loss) = (RefCell::new(Vec::new()), CancellationToken::new());
        let announce =
            |announcement: Invalidation<'_>| seen.borrow_mut().push(format!("{announcement:?}"));
        pass_on(&PushInfo { kind, data }, &announce, &loss);
        (seen.into_inner(), loss.is_cancelled())
    }

    #[test]
    fn pauses_grow_and_never_end() {
        let pauses: Vec<Duration> = pauses().take(100).collect();
        assert_eq!(pauses.len(), 100);
        assert!(pauses[0] < 2 * FIRST_PAUSE && pauses[99] >= LONGEST_PAUSE);
        assert!(
            pauses.iter().all(|pause| (FIRST_PAUSE..=2 * LONGEST_PAUSE).contains(pause)),
            "{pauses:?}"
        );
    }

    #[test]
    fn every_key_is_passed_on_and_no_keys_mean_all() {
        let keys =
            Value::Array(vec![Value::BulkString(b"a".into()), Value::BulkString(b"b".into())]);
        assert_eq!(
            passed_on(PushKind::Invalidate, vec![keys]),
            (vec!["Changed([97])".into(), "Changed([98])".into()], false)
        );
        assert_eq!(passed_on(PushKind::Invalidate, vec![Value::Nil]), (vec!["All".into()], false));
        assert_eq!(passed_on(PushKind::Message, vec![Value::Nil]), (vec![], false));
        assert_eq!(passed_on(PushKind::Disconnection, vec![]), (vec![], true));
    }
}
