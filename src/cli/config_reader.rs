//! Reads the configuration without blocking: a file on a network that does not answer must not keep
//! signals from being handled.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use crate::config::{self, Config, ConfigError, Sources};

/// Time limit for reading all files of the configuration.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the configuration in a thread of its own, one at a time. Neither a runtime nor the exit of
/// the process waits for such a thread.
#[derive(Default)]
pub(super) struct ConfigReader {
    /// The last read, if it took too long.
    stuck: Option<JoinHandle<()>>,
}

/// Why the configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the configuration was not read within {} s", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error("reading the configuration failed, see the panic above")]
    Panicked,
    #[error("the previous read of the configuration has not ended yet")]
    StillReading,
    #[error("cannot start a thread to read the configuration")]
    Thread(#[from] std::io::Error),
}

impl ConfigReader {
    /// Reads the configuration, to replace `current` if there is one.
    pub(super) async fn read(
        &mut self,
        sources: Sources,
        current: Option<Config>,
    ) -> Result<Config, ReadError> {
        self.run(READ_TIMEOUT, move || match current {
            Some(current) => config::reload(sources, &current),
            None => config::load(sources),
        })
        .await
    }

    async fn run(
        &mut self,
        limit: Duration,
        read: impl FnOnce() -> Result<Config, ConfigError> + Send + 'static,
    ) -> Result<Config, ReadError> {
        if self.stuck.take_if(|thread| thread.is_finished()).is_none() && self.stuck.is_some() {
            return Err(ReadError::StillReading);
        }
        let (sender, result) = oneshot::channel();
        let thread = thread::Builder::new().name("larder-config".to_owned()).spawn(move || {
            // The receiver is gone after the time limit.
            let _ = sender.send(read());
        })?;
        self.stuck = Some(thread);
        let result = timeout(limit, result).await;
        match result {
            Ok(Ok(config)) => {
                self.stuck = None;
                Ok(config?)
            }
            // A sender that is dropped has panicked.
            Ok(Err(_)) => Err(ReadError::Panicked),
            Err(_) => Err(ReadError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn read_that_blocks_is_given_up_and_not_repeated() {
        let mut reader = ConfigReader::default();
        let (release, blocked) = mpsc::channel::<()>();
        let read = move || {
            let _ = blocked.recv();
            Ok(Config::default())
        };
        let late = reader.run(Duration::ZERO, read).await;
        assert!(matches!(late, Err(ReadError::Timeout)), "{late:?}");
        let again = reader.run(READ_TIMEOUT, || Ok(Config::default())).await;
        assert!(matches!(again, Err(ReadError::StillReading)), "{again:?}");
        drop(release);
        if let Some(stuck) = reader.stuck.take() {
            let _ = stuck.join();
        }
        assert!(reader.run(READ_TIMEOUT, || Ok(Config::default())).await.is_ok());
    }
}
