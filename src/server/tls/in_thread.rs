//! Reads files without blocking the runtime, nor its end: a file system on a network may not
//! answer.

use std::{io, thread, time::Duration};

use tokio::{sync::oneshot, time::timeout};

/// Time limit.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// It takes too long.
    #[error("they were not read within {} s", LIMIT.as_secs())]
    Timeout,
    /// It panicked.
    #[error("reading them failed, see the panic above")]
    Panicked,
    /// The system has no thread for it.
    #[error("cannot start a thread")]
    Thread(#[from] io::Error),
}

/// Runs `work` in a thread of its own, which nothing waits for after the time limit.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ThreadError> {
    let (sender, result) = oneshot::channel();
    thread::Builder::new().name("larder-tls".to_owned()).spawn(move || {
        // The receiver is gone after the time limit.
        let _ = sender.send(work());
    })?;
    match timeout(LIMIT, result).await {
        Ok(Ok(result)) => Ok(result),
        // A sender that is dropped has panicked.
        Ok(Err(_)) => Err(ThreadError::Panicked),
        Err(_elapsed) => Err(ThreadError::Timeout),
    }
}
