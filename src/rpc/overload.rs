//! The reasons for which a call is rejected because of the server's load.

/// Why a call is rejected because of the server's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overload {
    /// Too many requests at once, of all clients or of this connection.
    Requests,
    /// Too many FetchStreams.
    FetchStreams,
    /// Too many health watches and reflection streams.
    Watches,
    /// Too many streams of changes.
    WatchStreams,
    /// Too many bytes of incomplete requests.
    IncompleteRequests,
    /// Too many bytes of responses that are not read.
    UnreadResponses,
}

impl Overload {
    /// All reasons, in the order of their numbers.
    pub(super) const ALL: [Self; 6] = [
        Self::Requests,
        Self::FetchStreams,
        Self::Watches,
        Self::WatchStreams,
        Self::IncompleteRequests,
        Self::UnreadResponses,
    ];

    /// Name in logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::FetchStreams => "fetch_streams",
            Self::Watches => "watches",
            Self::WatchStreams => "watch_streams",
            Self::IncompleteRequests => "incomplete_requests",
            Self::UnreadResponses => "unread_responses",
        }
    }
}
