//! Sends a request, and sends it again where that is safe.

use std::sync::Arc;

use tokio::time::timeout;

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

impl RedisPool {
    /// Sends on one connection after another, until one of them answers or the error is final, and
    /// not for longer than the timeout.
    pub(in crate::store::redis) async fn send<R: Request>(
        &self,
        request: R,
        retry: Retry,
        used: &mut Option<Arc<Handle>>,
    ) -> Result<R::Answer> {
        let mut failed = None;
        let attempts = async {
            let mut attempt = 1;
            loop {
                let handle = used.insert(self.handle().await?);
                let written = handle.written();
                let refusal = match request.send(handle.connection.clone()).await {
                    Ok(answer) => {
                        handle.record_success();
                        return Ok(answer);
                    }
                    Err(refusal) => refusal,
                };
                if !self.may_send_again(handle, &refusal, retry, written) || attempt == MAX_ATTEMPTS
                {
                    return Err(refusal.error.into());
                }
                self.health.count_resent();
                failed = Some(refusal.error.into());
                *used = None;
                attempt += 1;
            }
        };
        let answer = timeout(self.timeout, attempts).await;
        answer.unwrap_or_else(|_| Err(self.timed_out(used.as_deref(), failed)))
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
