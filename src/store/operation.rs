//! The operations on a store, with their names in metrics and spans.

/// Operations on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)] // The names are those of the methods.
pub enum Operation {
    Get,
    GetMany,
    Put,
    Delete,
    Invalidate,
    Ban,
    Touch,
    Increment,
    Acquire,
    Extend,
    Fill,
    Revalidate,
    Discard,
    Abandon,
    StatsAdd,
    StatsReport,
    Info,
    Usage,
    ListKeys,
    InspectEntry,
    PutHotKeys,
    HotKeys,
    SampleEntries,
    ListNamespaces,
    History,
    PutReplica,
    RemoveReplica,
    Replicas,
    ExchangeReuse,
    ReuseTable,
    ReuseFigures,
    PutReuse,
    ListBans,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 33] = [
        Self::Get,
        Self::GetMany,
        Self::Put,
        Self::Delete,
        Self::Invalidate,
        Self::Ban,
        Self::Touch,
        Self::Increment,
        Self::Acquire,
        Self::Extend,
        Self::Fill,
        Self::Revalidate,
        Self::Discard,
        Self::Abandon,
        Self::StatsAdd,
        Self::StatsReport,
        Self::Info,
        Self::Usage,
        Self::ListKeys,
        Self::InspectEntry,
        Self::PutHotKeys,
        Self::HotKeys,
        Self::SampleEntries,
        Self::ListNamespaces,
        Self::History,
        Self::PutReplica,
        Self::RemoveReplica,
        Self::Replicas,
        Self::ExchangeReuse,
        Self::ReuseTable,
        Self::ReuseFigures,
        Self::PutReuse,
        Self::ListBans,
    ];

    /// Whether the operation moves so much data that it may time out while the store works.
    pub(super) fn is_bulk(self) -> bool {
        matches!(
            self,
            Self::GetMany
                | Self::StatsAdd
                | Self::StatsReport
                | Self::Info
                | Self::Usage
                | Self::ListKeys
                | Self::PutHotKeys
                | Self::HotKeys
                | Self::SampleEntries
                | Self::ListNamespaces
                | Self::History
                | Self::PutReplica
                | Self::Replicas
                | Self::ExchangeReuse
                | Self::ReuseTable
                | Self::ReuseFigures
                | Self::PutReuse
                | Self::ListBans
        )
    }

    /// Whether a call that cannot do this fails, so that its caller must learn why. The other calls
    /// are answered without the store.
    pub(super) fn fails_calls(self) -> bool {
        !matches!(
            self,
            Self::Get
                | Self::GetMany
                | Self::Touch
                | Self::Acquire
                | Self::Extend
                | Self::Fill
                | Self::Revalidate
                | Self::Discard
                | Self::Abandon
                | Self::StatsAdd
                | Self::StatsReport
                | Self::Info
                | Self::Usage
                | Self::PutHotKeys
                | Self::History
                | Self::PutReplica
                | Self::RemoveReplica
                | Self::Replicas
                | Self::ExchangeReuse
                | Self::ReuseTable
                | Self::ReuseFigures
                | Self::PutReuse
        )
    }

    /// Name in metrics and spans. Dashboards rely on these names, so they never change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Invalidate => "invalidate",
            Self::Ban => "ban",
            Self::Touch => "touch",
            Self::Increment => "increment",
            Self::Acquire => "acquire",
            Self::Extend => "extend",
            Self::Fill => "fill",
            Self::Revalidate => "confirm",
            Self::Discard => "discard",
            Self::Abandon => "abandon",
            Self::StatsAdd => "ledger_add",
            Self::StatsReport => "ledger_report",
            Self::Info => "facts",
            Self::Usage => "sizes",
            Self::ListKeys => "list_keys",
            Self::InspectEntry => "inspect_entry",
            Self::PutHotKeys => "put_hot_keys",
            Self::HotKeys => "hot_keys",
            Self::SampleEntries => "sample_entries",
            Self::ListNamespaces => "list_namespaces",
            Self::History => "history",
            Self::PutReplica => "put_replica",
            Self::RemoveReplica => "remove_replica",
            Self::Replicas => "replicas",
            Self::ExchangeReuse => "exchange_reuse",
            Self::ReuseTable => "reuse_table",
            Self::ReuseFigures => "reuse_figures",
            Self::PutReuse => "put_reuse",
            Self::ListBans => "list_bans",
        }
    }
}
