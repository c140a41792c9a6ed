//! Sends a request, and sends it again where that is safe.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};

use super::{RedisPool, Retry};
use crate::store::{
    Error, ErrorKind, Result,
    redis::{
        connection::Handle,
        fault::{Fault, words},
        request::{Refusal, Request},
    },
};

/// Connections on which one command is tried. It bounds the effect of a command on which the server
/// closes the connection.
const MAX_ATTEMPTS: u32 = 3;
/// Time after which a request without an answer looks whether its connection has ended. A request
/// that is queued while the connection ends may stay in the queue: tokio's channel does not drop a
/// value that is sent while its receiver is dropped.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Answer<T> = std::result::Result<T, Refusal>;

impl RedisPool {
    /// Sends on one connection after another, until one of them answers or the error is final, and
    /// not for longer than the timeout.
    pub(in crate::store::redis) async fn send<R: Request>(
        &self,
        request: R,
        retry: Retry,
        used: &mut Option<Arc<Handle>>,
    ) -> Result<R::Answer> {
        let deadline = Instant::now() + self.timeout;
        let mut failed = None;
        let mut attempt = 1;
        loop {
            *used = None;
            let handle = match self.cached_handle() {
                Ok(handle) => handle,
                Err(vacancy) => match timeout_at(deadline, self.new_handle(vacancy)).await {
                    Ok(handle) => handle?,
                    Err(_) => return Err(self.timed_out(None, failed)),
                },
            };
            let handle = used.insert(handle);
            let written = handle.written();
            let answer = pin!(request.send(handle.connection.clone()));
            let refusal = match answer_by(deadline, answer, || handle.has_ended()).await {
                Some(Ok(answer)) => {
                    handle.record_success();
                    return Ok(answer);
                }
                Some(Err(refusal)) => refusal,
                None => return Err(self.timed_out(Some(handle), failed)),
            };
            if !self.may_send_again(handle, &refusal, retry, written) || attempt == MAX_ATTEMPTS {
                return Err(refusal.error.into());
            }
            self.health.count_resent();
            failed = Some(refusal.error.into());
            attempt += 1;
        }
    }

    /// The error of an operation that is not answered in time on the connection in use. Without
    /// one, no connection could be made: that of the connection before, or the reason.
    #[cold]
    fn timed_out(&self, used: Option<&Handle>, failed: Option<Error>) -> Error {
        if let Some(handle) = used {
            handle.record_timeout();
            return ErrorKind::Timeout.into();
        }
        let unreachable = || {
            let trouble = self.health.outage().trouble()?;
            Some(Error::new(ErrorKind::Unreachable, trouble.cause))
        };
        failed.or_else(unreachable).unwrap_or_else(|| ErrorKind::Timeout.into())
    }

    /// Records an error for the health of the connections and of the server. Returns whether the
    /// commands may be sent again on another connection: they were not applied, or may be applied
    /// twice.
    ///
    /// `written` is the number of bytes that had been written to the connection before. If it has
    /// not changed since, nothing was sent.
    #[cold]
    fn may_send_again(
        &self,
        handle: &Handle,
        Refusal { error, is_of_all }: &Refusal,
        retry: Retry,
        written: Option<u64>,
    ) -> bool {
        let fault = Fault::of(error);
        self.health.faults.met(fault, &words(error));
        match fault {
            Fault::Connection | Fault::Protocol => {
                handle.mark_broken();
                // The fault may affect connections of the same age as well.
                self.health.retire(handle);
                let is_unsent = written.is_some() && written == handle.written();
                fault == Fault::Connection && (retry == Retry::Idempotent || is_unsent)
            }
            // The server refuses a write before it applies any part of it.
            Fault::ReadOnly => {
                self.health.leave_replica(handle) && (retry == Retry::Idempotent || *is_of_all)
            }
            fault => {
                if fault.row().replaces_connection {
                    self.health.replace(handle);
                }
                false
            }
        }
    }
}

/// The answer of a connection, or the error that the connection has ended without one; none at the
/// deadline.
async fn answer_by<T>(
    deadline: Instant,
    mut answer: Pin<&mut impl Future<Output = Answer<T>>>,
    has_ended: impl Fn() -> bool,
) -> Option<Answer<T>> {
    loop {
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        if let Ok(answer) = timeout_at(look_again, answer.as_mut()).await {
            return Some(answer);
        }
        if has_ended() {
            // It may have answered before it ended.
            return Some(answer.now_or_never().unwrap_or_else(|| {
                let error = io::Error::from(io::ErrorKind::BrokenPipe).into();
                Err(Refusal { error, is_of_all: true })
            }));
        }
        if look_again == deadline {
            return None;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    async fn answer(
        coming: impl Future<Output = Answer<u8>>,
        has_ended: bool,
    ) -> (Option<std::result::Result<u8, bool>>, Duration) {
        let began = Instant::now();
        let answer = answer_by(began + TIMEOUT, pin!(coming), || has_ended).await;
        let answer = answer.map(|answer| answer.map_err(|refusal| refusal.error.is_io_error()));
        (answer, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_stays_in_the_queue_of_an_ended_connection_fails_soon() {
        let (answer, waited) = answer(pending(), true).await;
        assert_eq!(answer, Some(Err(true)));
        assert!(waited < 2 * LOOK_AGAIN, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_is_waited_for_until_the_deadline() {
        let late = |time| async move {
            sleep(time).await;
            Ok(7)
        };
        assert_eq!(answer(late(TIMEOUT / 2), false).await.0, Some(Ok(7)));
        let (none, waited) = answer(late(TIMEOUT * 2), false).await;
        assert_eq!(none, None);
        assert!(waited >= TIMEOUT && waited < TIMEOUT + LOOK_AGAIN, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_answer_of_a_connection_counts() {
        assert_eq!(answer(async { Ok(7) }, true).await.0, Some(Ok(7)));
    }
}
