//! The reasons for which a call is rejected because of the server's load.

macro_rules! overloads {
    ($(
        $(#[doc = $doc:literal])+
        $overload:ident: $name:literal, $what:literal, $limit:literal, $remedy:literal;
    )+) => {
        /// Why a call is rejected because of the server's load.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Overload { $($(#[doc = $doc])+ $overload),+ }

        impl Overload {
            /// All reasons, in the order of their numbers.
            pub(super) const ALL: &[Self] = &[$(Self::$overload),+];

            /// Name in logs and metrics.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$overload => $name),+ }
            }

            /// The resource of which too much is in use.
            pub(super) fn what(self) -> &'static str {
                match self { $(Self::$overload => $what),+ }
            }

            /// The setting of the limit, or that it has none.
            pub(super) fn setting(self) -> &'static str {
                match self { $(Self::$overload => $limit),+ }
            }

            /// The advice in the log.
            pub(super) fn remedy(self) -> &'static str {
                match self { $(Self::$overload => $remedy),+ }
            }
        }
    };
}

overloads! {
    /// Too many requests at once, of all clients or of this connection.
    Requests: "requests", "requests at once", "limits.max_concurrent_requests",
        "add replicas, or raise limits.max_concurrent_requests if the processors are not busy";
    /// Too many FetchStreams.
    FetchStreams: "fetch_streams", "open FetchStreams", "limits.max_fetch_streams",
        "end streams that are not used, or raise limits.max_fetch_streams";
    /// Too many health watches and reflection streams.
    Watches: "watches", "open health watches and reflection streams", "limits.max_watches",
        "end watches that are not used, or raise limits.max_watches";
    /// Too many streams of changes.
    WatchStreams: "watch_streams", "open streams of Watch", "limits.max_watch_streams",
        "share a stream per process, or raise limits.max_watch_streams";
    /// Too many bytes of incomplete requests.
    IncompleteRequests: "incomplete_requests", "bytes of incomplete requests",
        "limits.max_buffered_bytes",
        "send fewer large requests at once, or raise limits.max_buffered_bytes";
    /// Too many bytes of responses that are not read.
    UnreadResponses: "unread_responses", "bytes of responses that are not read",
        "limits.max_buffered_bytes",
        "find the client that reads slowly, or raise limits.max_buffered_bytes";
    /// Too many calls that wait for values. The others are answered `contended`.
    Waiting: "waiting", "calls that wait for values", "limits.max_waiting",
        "spread the callers over more connections, or raise limits.max_waiting";
    /// Too many listings of keys.
    Listings: "listings", "listings of keys at once", "it is fixed",
        "list keys one page after the other";
    /// Too many Warm calls.
    WarmCalls: "warm_calls", "Warm calls at once", "it is fixed",
        "warm fewer namespaces at once";
    /// Too many namespaces are watched.
    WatchedNamespaces: "watched_namespaces", "watched namespaces", "watch.max_namespaces",
        "watch fewer namespaces, or raise watch.max_namespaces";
    /// A request message did not arrive in time.
    RequestTimeout: "request_timeout", "requests that do not arrive",
        "limits.request_body_timeout",
        "find the client or the network that is slow, or raise limits.request_body_timeout";
    /// A response was not read in time, and its stream was reset.
    UnreadStream: "unread_stream", "streams that are not read",
        "limits.response_stall_timeout",
        "find the client that does not read, or raise limits.response_stall_timeout";
}

impl Overload {
    /// Whether a connection may have a part of the limit only.
    pub(super) fn is_shared(self) -> bool {
        !matches!(self, Self::Requests | Self::Listings | Self::WarmCalls | Self::WatchedNamespaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_in_the_documents() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let document = std::fs::read_to_string(path).unwrap_or_default();
        for overload in Overload::ALL {
            let name = overload.name();
            assert!(document.contains(&format!("`{name}`")), "{name} is not in operations.md");
        }
    }
}
