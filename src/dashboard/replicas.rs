//! Names of replicas, and the changes of their breakers.

use std::collections::{BTreeMap, HashMap};

use super::text::visible;
use crate::stats::replica_report::{OriginReport, ReplicaReport, ReportedBreaker};

/// Kind of the failed fetches that a breaker rejects.
const BREAKER_OPEN: &str = "breaker_open";

/// Names of replicas for people.
pub(super) struct ReplicaNames<'a> {
    /// The number of replicas on each host.
    hosts: HashMap<&'a str, usize>,
}

impl<'a> ReplicaNames<'a> {
    pub(super) fn of(replicas: &'a [ReplicaReport]) -> Self {
        let mut hosts = HashMap::new();
        replicas.iter().for_each(|one| *hosts.entry(&*one.state.host).or_default() += 1);
        Self { hosts }
    }

    /// The host of a replica. Its short id is added if the host has others, and stands in for a
    /// host without a name.
    pub(super) fn name(&self, report: &ReplicaReport) -> String {
        let (host, id) = (&*report.state.host, short_id(report));
        match self.hosts.get(host) {
            _ if host.is_empty() => id,
            Some(2..) => format!("{host} {id}"),
            _ => host.to_owned(),
        }
    }
}

/// The first half of the id of a replica.
pub(super) fn short_id(report: &ReplicaReport) -> String {
    format!("{:08x}", report.replica.id >> 32)
}

/// When breakers opened, or closed again, as far as replicas report it: each has its last change.
pub(super) fn breaker_changes(replicas: &[ReplicaReport]) -> Vec<(u64, String)> {
    let mut first: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for origin in replicas.iter().flat_map(|report| &report.state.origins) {
        let change = match origin.breaker {
            ReportedBreaker::Open | ReportedBreaker::HalfOpen => "opens",
            ReportedBreaker::Closed if was_open(origin) => "closes",
            ReportedBreaker::Closed | ReportedBreaker::Unknown => continue,
        };
        let at = first.entry((origin.namespace.as_str(), change)).or_insert(origin.since_ms);
        *at = origin.since_ms.min(*at);
    }
    let changes = first.into_iter();
    changes.map(|((name, change), at)| (at, format!("{} {change}", visible(name)))).collect()
}

/// Whether the breaker has rejected a fetch. Otherwise, the time of its last change may be that of
/// its creation.
pub(super) fn was_open(origin: &OriginReport) -> bool {
    origin.failures.get(BREAKER_OPEN).is_some_and(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_of_one_host_have_their_ids() {
        let replica = |id: u64, host: &str| {
            let mut report = ReplicaReport::default();
            report.replica.id = id << 32;
            host.clone_into(&mut report.state.host);
            report
        };
        let replicas = [replica(1, "vm"), replica(2, "other"), replica(3, "vm"), replica(4, "")];
        let names = ReplicaNames::of(&replicas);
        let names: Vec<String> = replicas.iter().map(|one| names.name(one)).collect();
        assert_eq!(names, ["vm 00000001", "other", "vm 00000003", "00000004"]);
    }

    #[test]
    fn breakers_have_their_last_change_if_it_is_known() {
        let origin = |namespace: &str, breaker, since_ms, rejected| OriginReport {
            namespace: namespace.to_owned(),
            breaker,
            since_ms,
            failures: [(BREAKER_OPEN.to_owned(), rejected)].into(),
            ..OriginReport::default()
        };
        let mut reports = [ReplicaReport::default(), ReplicaReport::default()];
        reports[0].state.origins = vec![
            origin("a", ReportedBreaker::Open, 7, 0),
            origin("b", ReportedBreaker::Closed, 5, 1),
            origin("c", ReportedBreaker::Closed, 3, 0),
        ];
        reports[1].state.origins = vec![origin("a", ReportedBreaker::HalfOpen, 6, 0)];
        let expected = [(6, "a opens".to_owned()), (5, "b closes".to_owned())];
        assert_eq!(breaker_changes(&reports), expected);
    }
}
