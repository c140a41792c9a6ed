//! Errors of a listener, in few log lines with cause and remedy.

use std::{io, time::Duration};

use nix::errno::Errno;

use repeated_events::{RepeatedEvent, Summary};

/// Pause after an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Handles the errors of one listener.
#[derive(Debug)]
pub struct AcceptErrors {
    /// Name of the port in the log.
    port: &'static str,
    event: RepeatedEvent,
}

/// The meaning of a listener's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptError {
    /// The connection ended before it was accepted. The listener is well.
    PeerGone,
    /// No more files can be opened.
    TooManyFiles,
    /// Another error.
    Other,
}

impl AcceptErrors {
    /// `port` is the name in the log.
    #[must_use]
    pub fn new(port: &'static str) -> Self {
        Self { port, event: RepeatedEvent::default() }
    }

    /// Logs an error, and pauses after it, as it is likely to come again.
    #[cold]
    pub async fn handle(&mut self, error: &io::Error) -> AcceptError {
        let kind = AcceptError::of(error);
        if kind == AcceptError::PeerGone {
            return kind;
        }
        if let Some(Summary { count, seconds }) = self.event.occurred() {
            let (port, (cause, remedy)) = (self.port, explain(error));
            tracing::warn!(
                port, %error, cause, remedy, count, seconds, "cannot accept connections"
            );
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
        kind
    }

    /// Logs the end of errors. To be called at intervals.
    pub fn tick(&mut self) {
        if let Some(Summary { count, seconds }) = self.event.ended() {
            tracing::info!(port = self.port, count, seconds, "connections are accepted again");
        }
    }
}

/// Errors of one connection, which Linux reports when it is accepted: see accept(2).
const PEER_GONE: [Errno; 10] = [
    Errno::ECONNABORTED,
    Errno::ECONNRESET,
    Errno::EINTR,
    Errno::EPROTO,
    Errno::ENETDOWN,
    Errno::ENOPROTOOPT,
    Errno::EHOSTDOWN,
    Errno::EHOSTUNREACH,
    Errno::EOPNOTSUPP,
    Errno::ENETUNREACH,
];

/// Errors of the listener, with cause and remedy.
const KNOWN: [(Errno, &str, &str); 5] = [
    (
        Errno::EMFILE,
        "the process has reached its limit on open files",
        "raise the limit (ulimit -n, or LimitNOFILE of systemd), or lower limits.max_connections",
    ),
    (
        Errno::ENFILE,
        "the system has reached its limit on open files",
        "raise fs.file-max, or end the process that keeps them open",
    ),
    (Errno::ENOBUFS, "the system has no memory for sockets", NO_MEMORY),
    (Errno::ENOMEM, "the system has no memory for sockets", NO_MEMORY),
    (Errno::EPERM, "a firewall rule forbids connections", "check the rules of the firewall"),
];
const NO_MEMORY: &str = "add memory, or lower limits.max_connections";
const UNKNOWN: (&str, &str) = ("the listener failed", "restart the server if it lasts");

impl AcceptError {
    fn of(error: &io::Error) -> Self {
        let errno = errno(error);
        if PEER_GONE.contains(&errno) {
            Self::PeerGone
        } else if [Errno::EMFILE, Errno::ENFILE].contains(&errno) {
            Self::TooManyFiles
        } else {
            Self::Other
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Cause and remedy.
fn explain(error: &io::Error) -> (&'static str, &'static str) {
    let errno = errno(error);
    let known = KNOWN.iter().find(|(known, ..)| *known == errno);
    known.map_or(UNKNOWN, |(_, cause, remedy)| (*cause, *remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> AcceptError {
        AcceptError::of(&io::Error::from_raw_os_error(errno as i32))
    }

    #[test]
    fn errors_of_the_peer_are_distinguished_from_those_of_the_listener() {
        assert_eq!(of(Errno::ECONNABORTED), AcceptError::PeerGone);
        assert_eq!(of(Errno::EHOSTUNREACH), AcceptError::PeerGone);
        assert_eq!(of(Errno::EMFILE), AcceptError::TooManyFiles);
        assert_eq!(of(Errno::ENFILE), AcceptError::TooManyFiles);
        assert_eq!(of(Errno::ENOMEM), AcceptError::Other);
        assert_eq!(AcceptError::of(&io::Error::other("no number")), AcceptError::Other);
    }

    #[tokio::test(start_paused = true)]
    async fn only_errors_of_the_listener_cause_a_pause() {
        let mut errors = AcceptErrors::new("test");
        let begun = tokio::time::Instant::now();
        errors.handle(&io::Error::from_raw_os_error(Errno::ECONNABORTED as i32)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        errors.handle(&io::Error::from_raw_os_error(Errno::EMFILE as i32)).await;
        assert_eq!(begun.elapsed(), ACCEPT_PAUSE);
    }
}
