//! Answers of the server, of which the model makes figures.

use super::figures::AnswerPart;
use crate::pb::v1 as pb;

/// One answer of a server.
#[derive(Debug)]
pub(super) enum Answer {
    Stats(Box<pb::StatsResponse>),
    /// The namespaces of all pages.
    Policies(Vec<pb::NamespaceSummary>),
    HotKeys {
        namespace: String,
        keys: pb::HotKeysResponse,
    },
    Configuration(pb::GetConfigResponse),
    Replicas(pb::ListReplicasResponse),
    /// Findings of the last day.
    Findings(Vec<pb::Finding>),
    /// The last hour.
    History(Box<pb::GetHistoryResponse>),
    /// The server does not have the call, the caller may not make it, or it failed.
    LeftOut {
        part: AnswerPart,
        reason: String,
    },
}
