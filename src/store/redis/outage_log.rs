//! The log of connections that cannot be opened or end: when that begins, once a minute while it
//! lasts, and when it is over.

use parking_lot::Mutex;
use redis::RedisError;
use repeated_events::{RepeatedEvent, Summary};

use super::fault::{Fault, words};
use crate::store::Trouble;

/// Logs that one use of Redis does not work, and remembers why.
#[derive(Debug)]
pub(super) struct OutageLog {
    outage: Outage,
    /// The node of a cluster; none for the only server.
    node: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    event: RepeatedEvent,
    /// The last failure, if no attempt has succeeded since.
    trouble: Option<(Fault, Trouble)>,
}

macro_rules! outages {
    ($(
        $(#[doc = $doc:literal])+
        $outage:ident: $target:literal, $begins:literal, $ends:literal;
    )+) => {
        /// A kind of operation that does not work. Each kind has its own target, so that alerts can
        /// be routed by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Outage { $($(#[doc = $doc])+ $outage),+ }

        impl Outage {
            fn warn(
                self,
                node: Option<&str>,
                Trouble { cause, remedy }: &Trouble,
                fault: Fault,
                lasts: Summary,
            ) {
                let (fault, Summary { count, seconds }) = (fault.row().name, lasts);
                match self {
                    $(Self::$outage => tracing::warn!(
                        target: $target,
                        node, fault, error = cause, remedy, count, seconds, $begins
                    ),)+
                }
            }

            fn inform_of_end(self, node: Option<&str>, Summary { count, seconds }: Summary) {
                match self {
                    $(Self::$outage => {
                        tracing::info!(target: $target, node, count, seconds, $ends);
                    })+
                }
            }
        }
    };
}

outages! {
    /// The connections for operations.
    Connections: "larder::store::redis::connection",
        "cannot connect to Redis", "Redis can be connected to again";
    /// The invalidation of the near cache.
    NearCache: "larder::store::redis::near_invalidations",
        "the near cache is not used: Redis cannot be followed", "the near cache is used again";
    /// The changes for watches.
    Watches: "larder::store::redis::change_feed",
        "watches are reset: Redis cannot be followed", "watches follow Redis again";
    /// The ends of leases.
    Leases: "larder::store::redis::lease_invalidations",
        "leases cannot be followed: callers that wait ask Redis at intervals, and get values later",
        "leases are followed again";
    /// The sentinels, while the primary is known.
    Sentinels: "larder::store::redis::sentinels",
        "no sentinel names the primary: the last one stays in use, also if it was replaced since",
        "the sentinels name the primary again";
}

// === impl OutageLog ===

impl OutageLog {
    pub(super) fn new(outage: Outage) -> Self {
        Self { outage, node: None, state: Mutex::default() }
    }

    /// The log of a node of a cluster.
    pub(super) fn of_node(outage: Outage, node: String) -> Self {
        Self { node: Some(node), ..Self::new(outage) }
    }

    /// Reports that an attempt failed.
    #[cold]
    pub(super) fn failed(&self, error: &RedisError) {
        let fault = Fault::of(error);
        self.record(fault, Trouble { cause: words(error), remedy: fault.row().remedy });
    }

    /// Reports that a connection for announcements failed. If those for operations fail as well,
    /// their cause is the better one.
    #[cold]
    pub(super) fn failed_beside(&self, connections: &Self, fault: Fault, cause: String) {
        let is_vague = matches!(fault, Fault::Connection | Fault::Timeout | Fault::Protocol);
        let known = if is_vague { connections.state.lock().trouble.clone() } else { None };
        let (fault, trouble) =
            known.unwrap_or_else(|| (fault, Trouble { cause, remedy: fault.row().remedy }));
        self.record(fault, trouble);
    }

    fn record(&self, fault: Fault, trouble: Trouble) {
        let mut state = self.state.lock();
        match state.event.occurred() {
            Some(lasts) => self.outage.warn(self.node.as_deref(), &trouble, fault, lasts),
            None => tracing::debug!(outage = ?self.outage, error = trouble.cause, "Redis failed"),
        }
        state.trouble = Some((fault, trouble));
    }

    /// Reports that an attempt succeeded. The outage is over if none has failed for five seconds,
    /// so that this is called from time to time.
    pub(super) fn works(&self) {
        let mut state = self.state.lock();
        if state.trouble.is_some() || state.event.is_lasting() {
            state.trouble = None;
            if let Some(lasted) = state.event.ended() {
                self.outage.inform_of_end(self.node.as_deref(), lasted);
            }
        }
    }

    /// Ends an outage of which nothing remains to be used.
    pub(super) fn forget(&self) {
        *self.state.lock() = State::default();
    }

    /// The last failure, if no attempt has succeeded since.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.state.lock().trouble.as_ref().map(|(_, trouble)| trouble.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use redis::ErrorKind;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_outage_has_a_line_at_its_begin_each_minute_and_at_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let _guard = tracing::subscriber::set_default(subscriber);

        let log = OutageLog::new(Outage::NearCache);
        let error = RedisError::from((ErrorKind::Io, "the connection ended"));
        for _ in 0..150 {
            log.failed(&error);
            log.works();
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(log.trouble(), None, "the last attempt succeeded");
        tokio::time::advance(5 * SECOND).await;
        log.works();
        log.works();
        let lines = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        for (line, count) in lines.iter().zip(["count=1", "count=61", "count=121"]) {
            for part in ["WARN", "near_invalidations: the near cache is not used", "remedy="] {
                assert!(line.contains(part), "{part}: {line}");
            }
            assert!(line.contains(count) && line.contains("the connection ended"), "{line}");
        }
        assert!(lines[3].contains("INFO") && lines[3].contains("count=150"), "{lines:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_cause_and_the_remedy_of_the_last_failure_are_known() {
        let log = OutageLog::new(Outage::Connections);
        log.record(
            Fault::Authentication,
            Trouble { cause: "WRONGPASS".to_owned(), remedy: Fault::Authentication.row().remedy },
        );
        let beside = OutageLog::new(Outage::Leases);
        beside.failed_beside(&log, Fault::Timeout, "timed out".to_owned());
        assert_eq!(beside.state.lock().trouble, log.state.lock().trouble, "with its fault");
        let trouble = log.trouble().unwrap();
        assert_eq!(trouble.cause, "WRONGPASS");
        assert!(trouble.remedy.contains("password"), "{trouble:?}");
        log.works();
        assert_eq!(log.trouble(), None);
    }
}
