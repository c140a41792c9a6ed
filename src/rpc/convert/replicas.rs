//! Converts ListReplicas.

use super::stats::{at_millis, replica};
use crate::{
    pb::v1 as pb,
    stats::replica_report::{FleetReport, OriginReport, ReplicaReport, ReportedBreaker},
};

/// Lists the replicas, with the origins of the namespaces that `sees` lets through.
pub(in crate::rpc) fn replicas_response(
    fleet: FleetReport,
    sees: impl Fn(&str) -> bool,
) -> pb::ListReplicasResponse {
    let replicas = fleet.replicas.into_iter().map(|mut report| {
        report.state.origins.retain(|origin| sees(&origin.namespace));
        listed(report)
    });
    pb::ListReplicasResponse { replicas: replicas.collect(), degraded: fleet.degraded }
}

fn listed(report: ReplicaReport) -> pb::Replica {
    let ReplicaReport { replica: info, reported_at_ms, requests_per_second, cpus, state } = report;
    pb::Replica {
        replica: Some(replica(&info)),
        host: state.host,
        reported_at: Some(at_millis(reported_at_ms).into()),
        requests_per_second,
        cpus,
        resident_bytes: state.resident_bytes,
        in_flight: state.in_flight,
        connections: state.connections,
        near_cache_bytes: state.near_cache_bytes,
        store_available: state.store_available,
        store_trouble: state.store_trouble,
        origins: state.origins.into_iter().map(origin).collect(),
    }
}

fn origin(origin: OriginReport) -> pb::OriginState {
    let breaker = match origin.breaker {
        ReportedBreaker::Closed => pb::origin_state::Breaker::Closed,
        ReportedBreaker::Open => pb::origin_state::Breaker::Open,
        ReportedBreaker::HalfOpen => pb::origin_state::Breaker::HalfOpen,
        ReportedBreaker::Unknown => pb::origin_state::Breaker::Unspecified,
    };
    pb::OriginState {
        namespace: origin.namespace,
        url: origin.url,
        breaker: breaker.into(),
        since: Some(at_millis(origin.since_ms).into()),
        in_flight: origin.in_flight,
        failures: origin.failures,
        last_error: origin.last_error,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::{delta::ReplicaInfo, replica_report::ReplicaState};

    #[test]
    fn replicas_are_listed_with_the_origins_that_the_caller_sees() {
        let origin = |namespace: &str, breaker| OriginReport {
            namespace: namespace.to_owned(),
            breaker,
            since_ms: 2500,
            failures: [("timeout".to_owned(), 4)].into(),
            ..OriginReport::default()
        };
        let origins =
            vec![origin("a", ReportedBreaker::Open), origin("hidden", ReportedBreaker::Closed)];
        let state = ReplicaState { host: "h".to_owned(), origins, ..ReplicaState::default() };
        let replica = ReplicaInfo { id: 10, ..ReplicaInfo::default() };
        let report =
            ReplicaReport { replica, reported_at_ms: 4000, state, ..ReplicaReport::default() };
        let fleet = FleetReport { replicas: vec![report], degraded: true };
        let response = replicas_response(fleet, |name| name != "hidden");
        assert!(response.degraded);
        let [replica] = &response.replicas[..] else { panic!("{response:?}") };
        assert_eq!(replica.replica.as_ref().unwrap().id, "000000000000000a");
        assert_eq!((&*replica.host, replica.reported_at.unwrap().seconds), ("h", 4));
        let [origin] = &replica.origins[..] else { panic!("{replica:?}") };
        assert_eq!(origin.breaker(), pb::origin_state::Breaker::Open);
        assert_eq!((origin.since.unwrap().nanos, origin.failures["timeout"]), (500_000_000, 4));
    }
}
