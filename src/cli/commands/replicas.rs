//! `larder replicas` lists the replicas of the fleet.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    display::word,
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::figures::dash,
    pb::v1::{ListReplicasRequest, OriginState, Replica, origin_state::Breaker},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    version: &'a str,
    started_at: Option<String>,
    host: &'a str,
    reported_at: Option<String>,
    requests_per_second: f64,
    cpus: f64,
    resident_bytes: u64,
    in_flight: u64,
    connections: u64,
    near_cache_bytes: u64,
    store_available: bool,
    store_trouble: &'a str,
    origins: Vec<OriginJson<'a>>,
}

#[derive(Serialize)]
struct OriginJson<'a> {
    namespace: &'a str,
    url: &'a str,
    breaker: String,
    since: Option<String>,
    in_flight: u64,
    failures: &'a BTreeMap<String, u64>,
    last_error: &'a str,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let call = session.request(ListReplicasRequest::default());
            let response = session.answer(session.admin().list_replicas(call)).await?;
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                for replica in &response.replicas {
                    output.line(&Line::new(replica), String::new)?;
                }
            } else {
                output.line(&(), || text(&response.replicas))?;
            }
            if response.degraded {
                remark("the store did not answer: this is one replica only");
            }
            Ok(Ending::Done)
        })
    }
}

/// The replicas, and below them their origins that have failed.
fn text(replicas: &[Replica]) -> String {
    let header = [
        "replica",
        "host",
        "version",
        "started",
        "requests/s",
        "cpus",
        "memory",
        "in flight",
        "connections",
        "near",
        "origins",
        "store",
    ];
    let text = table(&header, replicas.iter().map(row));
    let failing: Vec<_> = replicas.iter().flat_map(origin_rows).collect();
    if failing.is_empty() {
        return text;
    }
    let header =
        ["replica", "namespace", "breaker", "since", "in flight", "failures", "last error", "url"];
    format!("{text}\n\n{}", table(&header, failing))
}

fn row(replica: &Replica) -> Vec<String> {
    let open = replica.origins.iter().filter(|origin| origin.breaker() != Breaker::Closed).count();
    let origins = match (replica.origins.len(), open) {
        (0, _) => dash(),
        (all, 0) => all.to_string(),
        (all, open) => format!("{open} of {all} open"),
    };
    let store = match (replica.store_available, replica.store_trouble.as_str()) {
        (true, _) => "available".to_owned(),
        (false, "") => "unavailable".to_owned(),
        (false, trouble) => format!("unavailable: {trouble}"),
    };
    let info = replica.replica.as_ref();
    vec![
        info.map(|info| info.id.clone()).unwrap_or_default(),
        replica.host.clone(),
        info.map(|info| info.version.clone()).unwrap_or_default(),
        time(info.and_then(|info| info.started_at)).unwrap_or_else(dash),
        format!("{:.1}", replica.requests_per_second),
        format!("{:.2}", replica.cpus),
        ByteSize(replica.resident_bytes).to_string(),
        replica.in_flight.to_string(),
        replica.connections.to_string(),
        ByteSize(replica.near_cache_bytes).to_string(),
        origins,
        store,
    ]
}

fn origin_rows(replica: &Replica) -> impl Iterator<Item = Vec<String>> {
    let has_failed =
        |origin: &&OriginState| origin.breaker() != Breaker::Closed || !origin.failures.is_empty();
    let id = replica.replica.as_ref().map(|info| info.id.clone()).unwrap_or_default();
    replica.origins.iter().filter(has_failed).map(move |origin| {
        let failures = origin.failures.iter().map(|(kind, count)| format!("{count} {kind}"));
        vec![
            id.clone(),
            origin.namespace.clone(),
            breaker(origin).replace('_', " "),
            time(origin.since).unwrap_or_else(dash),
            origin.in_flight.to_string(),
            failures.collect::<Vec<_>>().join(", "),
            origin.last_error.clone(),
            origin.url.clone(),
        ]
    })
}

fn breaker(origin: &OriginState) -> String {
    word(origin.breaker().as_str_name(), "BREAKER_").into_owned()
}

fn time(at: Option<prost_types::Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

impl<'a> Line<'a> {
    fn new(replica: &'a Replica) -> Self {
        let info = replica.replica.as_ref();
        Self {
            id: info.map_or("", |info| &info.id),
            version: info.map_or("", |info| &info.version),
            started_at: time(info.and_then(|info| info.started_at)),
            host: &replica.host,
            reported_at: time(replica.reported_at),
            requests_per_second: replica.requests_per_second,
            cpus: replica.cpus,
            resident_bytes: replica.resident_bytes,
            in_flight: replica.in_flight,
            connections: replica.connections,
            near_cache_bytes: replica.near_cache_bytes,
            store_available: replica.store_available,
            store_trouble: &replica.store_trouble,
            origins: replica.origins.iter().map(OriginJson::new).collect(),
        }
    }
}

impl<'a> OriginJson<'a> {
    fn new(origin: &'a OriginState) -> Self {
        Self {
            namespace: &origin.namespace,
            url: &origin.url,
            breaker: breaker(origin),
            since: time(origin.since),
            in_flight: origin.in_flight,
            failures: &origin.failures,
            last_error: &origin.last_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::ReplicaStats;

    fn origin(namespace: &str, breaker: Breaker, failed: u64) -> OriginState {
        let failures = (failed > 0).then(|| ("failed".to_owned(), failed));
        OriginState {
            namespace: namespace.to_owned(),
            url: format!("http://{namespace}.internal/{{key}}"),
            breaker: breaker.into(),
            failures: failures.into_iter().collect(),
            last_error: "the origin failed: status 503".to_owned(),
            ..OriginState::default()
        }
    }

    #[test]
    fn origins_that_have_failed_are_below_the_replicas() {
        let info = ReplicaStats { id: "07".to_owned(), ..ReplicaStats::default() };
        let origins = vec![origin("well", Breaker::Closed, 0), origin("down", Breaker::Open, 5)];
        let replica = Replica {
            replica: Some(info),
            host: "one".to_owned(),
            store_trouble: "refused".to_owned(),
            origins,
            ..Replica::default()
        };
        let shown = text(std::slice::from_ref(&replica));
        for part in ["1 of 2 open", "unavailable: refused", "5 failed", "http://down.internal/"] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        assert!(!shown.contains("well.internal"), "{shown}");
        let line = serde_json::to_value(Line::new(&replica)).unwrap_or_default();
        assert_eq!((&line["id"], &line["origins"][1]["breaker"]), (&"07".into(), &"open".into()));
        let calm = Replica { origins: vec![origin("a", Breaker::Closed, 0)], ..replica };
        assert_eq!(text(&[calm]).lines().count(), 2);
    }
}
