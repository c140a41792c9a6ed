//! The faults of Redis: one table of its error answers and of what each of them means.
//!
//! | meaning | operation fails as | circuit breaker | health of `store` |
//! |---|---|---|---|
//! | outage | unreachable or timeout | counts it | not serving |
//! | refusal | refused | stays closed | not serving |
//! | full | full | stays closed | not serving |
//! | wrong server | refused | stays closed | not serving |
//! | defect | refused | stays closed | serving |
//!
//! `fault_log.rs` reports the faults that last, and `pool/send.rs` replaces the connections of
//! some.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind as Server};

use crate::store::{Error, ErrorKind};

/// The meaning of an error for the server as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No operation works.
    Outage,
    /// Some operations are refused until the server or its configuration changes.
    Refusal,
    /// The server has no memory for values.
    Full,
    /// Another server has the data, or takes the writes.
    WrongServer,
    /// This one operation cannot work; the others are not concerned.
    Defect,
}

/// How the end of a fault is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The full probe meets the fault for as long as it lasts.
    Probe,
    /// The fault depends on keys or values. It has ended when it is not met for some time.
    Quiet,
}

/// Name, meaning and consequences of one fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Name in logs and metrics.
    pub(super) name: &'static str,
    pub(super) meaning: Meaning,
    pub(super) end: End,
    /// Whether another connection may lead to a server without the fault.
    pub(super) replaces_connection: bool,
    /// The advice in the log.
    pub(super) remedy: &'static str,
}

macro_rules! faults {
    ($(
        $fault:ident: $name:literal, $meaning:ident, $end:ident, $replaces:literal, $remedy:expr;
    )+) => {
        /// Kinds of errors of Redis and of the connection to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Fault { $($fault),+ }

        impl Fault {
            /// All faults, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$fault),+];

            /// The fault's row of the table.
            pub(super) fn row(self) -> Row {
                match self {
                    $(Self::$fault => Row {
                        name: $name,
                        meaning: Meaning::$meaning,
                        end: End::$end,
                        replaces_connection: $replaces,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

const CLUSTER: &str = "the server is a node of a Redis Cluster: write redis-cluster:// in \
                       store.url instead of redis://, or rediss-cluster:// instead of rediss://";
const PRIMARY: &str = "the server is a replica: store.url must lead to the primary; after a \
    failover by sentinels, new connections do so within seconds";

faults! {
    // name, meaning, end, replaces connections, remedy
    Connection: "connection", Outage, Probe, true,
        "check that Redis runs and that store.url leads to it";
    Timeout: "timeout", Outage, Probe, false,
        "check the load of Redis and of the network, and store.timeout";
    Tls: "tls", Outage, Probe, true,
        "store.url begins with redis:// for a port without TLS, and with rediss:// for one with \
         TLS, whose certificate the system or SSL_CERT_FILE must trust";
    Protocol: "protocol", Outage, Probe, true,
        "the answer is not RESP: check that store.url leads to Redis";
    Authentication: "authentication", Outage, Probe, true,
        "check the user and the password in store.url";
    MaxClients: "max_clients", Outage, Probe, true,
        "raise maxclients of Redis, or lower store.connections";
    ProtectedMode: "protected_mode", Outage, Probe, true,
        "set a password or a bind address in Redis, which is in protected mode";
    NoDatabase: "no_database", Outage, Probe, true,
        "check the number of the database in store.url and the databases setting of Redis";
    Loading: "loading", Outage, Probe, false,
        "Redis answers when it has loaded its data";
    MasterDown: "master_down", Outage, Probe, true,
        "the server is a replica without a link to its primary: check the failover";
    ClusterDown: "cluster_down", Outage, Probe, true,
        "check the state of the Redis Cluster";
    NotCluster: "not_cluster", Outage, Probe, true,
        "store.url begins with redis-cluster://, and the server is not a node of a Redis Cluster: \
         write redis:// or rediss://";
    TryAgain: "try_again", Outage, Quiet, false,
        "a slot of the Redis Cluster is being moved";
    Busy: "busy", Outage, Probe, false,
        "a script or function of another client does not end: SCRIPT KILL or FUNCTION KILL ends it";
    OtherShards: "other_shards", Outage, Probe, false,
        "all replicas on one Redis and store.prefix need the same store.shards: see \
         docs/operations.md";
    NoSentinel: "no_sentinel", Outage, Probe, true,
        "check that the sentinels in store.url run and can be reached, and sentinel_username and \
         sentinel_password in it; a URL with rediss-sentinel:// needs TLS on their ports too";
    UnknownService: "unknown_service", Outage, Probe, true,
        "check the service at the end of store.url: SENTINEL MASTERS on a sentinel lists the names";
    PrimaryDown: "primary_down", Outage, Probe, true,
        "a failover follows when enough sentinels agree; otherwise start the primary, and see \
         docs/scale.md";
    Unusable: "unusable", Outage, Probe, false,
        "the server refuses what every Redis answers: check that store.url leads to Redis, and not \
         to a proxy without a server";
    ReadOnly: "read_only", WrongServer, Probe, true, PRIMARY;
    Moved: "moved", WrongServer, Quiet, false, CLUSTER;
    CrossSlot: "cross_slot", WrongServer, Quiet, false, CLUSTER;
    Permission: "permission", Refusal, Probe, false,
        "the ACL user lacks a permission: SECURITY.md has the list";
    UnknownCommand: "unknown_command", Refusal, Probe, false,
        "Larder needs Redis 7.0 or later, or Valkey, without renamed commands";
    NotPersisted: "not_persisted", Refusal, Probe, false,
        "Redis cannot save to its disk and takes no writes: see its log";
    NoReplicas: "no_replicas", Refusal, Probe, false,
        "Redis takes no writes without its replicas: see min-replicas-to-write";
    OutOfMemory: "out_of_memory", Full, Probe, false,
        "raise maxmemory of Redis, or set a maxmemory-policy that evicts";
    NoScript: "no_script", Defect, Quiet, false,
        "the server has lost a script, which is loaded again";
    WrongType: "wrong_type", Defect, Quiet, false,
        "another program writes keys under store.prefix: use a prefix or a database of its own";
    Transaction: "transaction", Defect, Quiet, false, "please report it";
    Other: "other", Defect, Quiet, false, "see the error";
}

/// An error in the server's own words, if it is an answer of the server.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        // The client library prints its name of the kind as well.
        (None, Some(detail)) if error.kind() == Redis::InvalidClientConfig => detail.to_owned(),
        _ => error.to_string(),
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self { kind: Fault::of(&error).kind(), source: Some(Arc::new(error)) }
    }
}

impl Fault {
    /// The fault that an error of the client library stands for.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            Redis::Io if error.is_timeout() => Self::Timeout,
            Redis::Io if error.to_string().contains("certificate") => Self::Tls,
            Redis::Io | Redis::ClusterConnectionNotFound => Self::Connection,
            Redis::Parse => Self::Protocol,
            Redis::AuthenticationFailed => Self::Authentication,
            Redis::Server(kind) => Self::of_server(kind, error.detail().unwrap_or_default()),
            Redis::Extension => {
                Self::of_code(error.code().unwrap_or_default(), error.detail().unwrap_or_default())
            }
            // Errors of the setup of a connection keep the server's words in the detail.
            _ => match error.detail() {
                Some(detail) => Self::of_detail(detail),
                None => Self::of_detail(&error.to_string()),
            },
        }
    }

    /// The fault that a failed operation met, as far as it is known.
    pub(super) fn of_store(error: &Error) -> Self {
        let source = error.source.as_ref().and_then(|source| source.downcast_ref::<RedisError>());
        match (source, error.kind) {
            (Some(error), _) => Self::of(error),
            (None, ErrorKind::Timeout) => Self::Timeout,
            (None, _) => Self::Connection,
        }
    }

    /// Kind of the operation's error.
    pub(super) fn kind(self) -> ErrorKind {
        match self.row().meaning {
            Meaning::Outage if self == Self::Timeout => ErrorKind::Timeout,
            Meaning::Outage => ErrorKind::Unreachable,
            Meaning::Full => ErrorKind::Full,
            Meaning::Refusal | Meaning::WrongServer | Meaning::Defect => ErrorKind::Refused,
        }
    }

    /// Whether the server is in trouble while the fault lasts.
    pub(super) fn is_unhealthy(self) -> bool {
        self.row().meaning != Meaning::Defect
    }

    /// Whether the fault is logged here. The others have an end that the circuit breaker logs, or
    /// are part of the normal course.
    pub(super) fn is_reported(self) -> bool {
        !matches!(
            self,
            Self::Connection
                | Self::Timeout
                | Self::Tls
                | Self::NoSentinel
                | Self::UnknownService
                | Self::PrimaryDown
                | Self::NoScript
        )
    }

    fn of_server(kind: Server, detail: &str) -> Self {
        match kind {
            Server::BusyLoading => Self::Loading,
            Server::MasterDown => Self::MasterDown,
            Server::ClusterDown => Self::ClusterDown,
            Server::TryAgain => Self::TryAgain,
            Server::ReadOnly => Self::ReadOnly,
            Server::Moved | Server::Ask => Self::Moved,
            Server::CrossSlot => Self::CrossSlot,
            Server::NoPerm => Self::Permission,
            Server::NoScript => Self::NoScript,
            Server::ExecAbort => Self::Transaction,
            _ => Self::of_detail(detail),
        }
    }

    /// The fault by a code that the client library does not parse.
    fn of_code(code: &str, detail: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::Authentication,
            "DENIED" => Self::ProtectedMode,
            "BUSY" | "UNKILLABLE" => Self::Busy,
            "MISCONF" => Self::NotPersisted,
            "NOREPLICAS" | "NOGOODSLAVE" => Self::NoReplicas,
            "OOM" => Self::OutOfMemory,
            // The server became a replica while the command waited, or names its new primary.
            "UNBLOCKED" | "REDIRECT" => Self::ReadOnly,
            "WRONGTYPE" => Self::WrongType,
            _ => Self::of_detail(detail),
        }
    }

    /// The fault by the words of an error without a code of its own: `ERR`, and a script's error.
    fn of_detail(detail: &str) -> Self {
        const WORDS: [(&str, Fault); 21] = [
            // Before the words of the errors that they repeat.
            ("no sentinel of store.url", Fault::NoSentinel),
            ("the sentinels have no service", Fault::UnknownService),
            ("is down for the sentinels", Fault::PrimaryDown),
            ("cluster support disabled", Fault::NotCluster),
            ("non local key", Fault::TryAgain),
            ("the server takes no writes", Fault::ReadOnly),
            ("speak TLS", Fault::Tls),
            ("speaks TLS", Fault::Tls),
            ("max number of clients", Fault::MaxClients),
            ("DB index is out of range", Fault::NoDatabase),
            ("invalid DB index", Fault::NoDatabase),
            ("NOAUTH", Fault::Authentication),
            ("WRONGPASS", Fault::Authentication),
            ("unknown command", Fault::UnknownCommand),
            ("unknown subcommand", Fault::UnknownCommand),
            ("Unknown Redis command", Fault::UnknownCommand),
            // Upstash.
            ("Command is not available", Fault::UnknownCommand),
            ("can't run this command", Fault::Permission),
            ("has no permissions", Fault::Permission),
            ("can't access at least one of the keys", Fault::Permission),
            ("OOM ", Fault::OutOfMemory),
        ];
        let found = WORDS.iter().find(|(words, _)| detail.contains(words));
        found.map_or(Self::Other, |(_, fault)| *fault)
    }
}
