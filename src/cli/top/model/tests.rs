use std::time::Duration;

use super::*;
use crate::{
    cli::top::figures::{Severity, StepFigures},
    pb::{
        from_duration,
        v1::{
            Counters, NamespaceStats, StatsResponse, StoreStats, WindowStats,
            finding::{Kind, Severity as FoundSeverity},
        },
    },
};

fn counted(total: u64) -> Option<WindowStats> {
    let counters = |hits: u64| {
        Some(Counters {
            hits: hits / 2,
            stale: hits / 4,
            misses: hits / 4,
            fetches: hits / 8,
            fetches_failed: hits / 8,
            ..Counters::default()
        })
    };
    Some(WindowStats {
        total: counters(total),
        last_hour: counters(7200),
        ..WindowStats::default()
    })
}

/// Statistics of the fleet at a time in seconds, with 100 reads per second in each namespace.
fn stats(at: u64, names: &[&str]) -> StatsResponse {
    let namespace = |name: &&str| NamespaceStats {
        namespace: (*name).to_owned(),
        counted: counted(1_000_000 + 100 * at),
        size: None,
    };
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    StatsResponse {
        totals: counted(2_000_000 + 200 * at),
        namespaces: names.iter().map(namespace).collect(),
        store: Some(StoreStats {
            kind: "redis".to_owned(),
            reachable: true,
            evicted_keys: 5 * at,
            used_bytes: 95,
            max_bytes: 100,
            ..StoreStats::default()
        }),
        collected_at: time(100_000),
        counting_since: time(0),
        ..StatsResponse::default()
    }
}

fn after(seconds: u64, names: &[&str]) -> Model {
    let mut model = Model::new("host:1".to_owned());
    for at in (0..=seconds).step_by(2) {
        model.apply(at as f64, Answer::Stats(Box::new(stats(at, names))));
    }
    model
}

#[track_caller]
fn assert_near(figure: f64, expected: f64) {
    assert!((figure - expected).abs() < 0.05 * expected, "{figure} is not {expected}");
}

#[test]
fn rates_are_of_the_last_hour_and_then_of_the_last_seconds() {
    let first = after(0, &["a"]).figures();
    assert_near(first.totals.rate_window, 3600.0);
    assert_near(first.totals.reads_per_second, 2.0);
    assert_eq!(first.store.evictions_per_second, None);
    let later = after(30, &["a", "b"]).figures();
    assert_near(later.totals.rate_window, 20.0);
    assert_near(later.totals.reads_per_second, 200.0);
    assert_near(later.namespaces[1].traffic.reads_per_second, 100.0);
    assert_near(later.namespaces[1].traffic.hit_rate.unwrap(), 0.75);
    assert_near(later.namespaces[1].traffic.stale_rate.unwrap(), 0.25);
    assert_near(later.store.evictions_per_second.unwrap(), 5.0);
    assert!(!later.namespaces[0].traffic.trail.is_empty());
}

#[test]
fn counters_that_began_a_while_ago_are_divided_by_that_time() {
    let mut young = stats(0, &[]);
    young.counting_since = Some(prost_types::Timestamp { seconds: 99_940, nanos: 0 });
    let mut model = Model::new("host:1".to_owned());
    model.apply(0.0, Answer::Stats(Box::new(young)));
    let totals = model.figures().totals;
    assert_near(totals.rate_window, 60.0);
    assert_near(totals.reads_per_second, 120.0);
}

#[test]
fn counters_of_one_replica_do_not_continue_those_of_the_fleet() {
    let mut model = after(30, &["a"]);
    let degraded = StatsResponse { degraded: true, ..stats(300_000, &["a"]) };
    model.apply(32.0, Answer::Stats(Box::new(degraded)));
    let figures = model.figures();
    assert_near(figures.totals.reads_per_second, 2.0);
    assert_eq!(figures.attention[0].severity, Severity::Critical);
    assert!(figures.attention[0].text.contains("one replica"), "{:?}", figures.attention);
}

#[test]
fn a_namespace_that_is_gone_is_shown_no_more() {
    let mut model = after(10, &["a", "b"]);
    model.apply(12.0, Answer::Stats(Box::new(stats(12, &["b"]))));
    let names: Vec<String> =
        model.figures().namespaces.into_iter().map(|one| one.namespace).collect();
    assert_eq!((names, model.busiest(3)), (vec!["b".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn policies_hot_keys_and_origins_are_those_of_the_newest_answers() {
    let mut model = after(30, &["a", "b"]);
    let policy = v1::NamespacePolicy {
        ttl: Some(from_duration(Duration::from_secs(300))),
        has_origin: true,
        ..v1::NamespacePolicy::default()
    };
    let summary = v1::NamespaceSummary {
        namespace: "a".to_owned(),
        policy: Some(policy),
        ..v1::NamespaceSummary::default()
    };
    let reason = "no permission".to_owned();
    model.apply(30.0, Answer::LeftOut { part: AnswerPart::Policies, reason: reason.clone() });
    assert_eq!(model.figures().left_out, [LeftOut { part: AnswerPart::Policies, reason }]);
    model.apply(31.0, Answer::Policies(vec![summary]));
    let hot = |key: &str, reads| v1::HotKey { key: key.to_owned(), reads, ..Default::default() };
    let guessed = v1::HotKey { error: 384, ..hot("of one sample", 128) };
    let keys = v1::HotKeysResponse {
        keys: vec![hot("k", 600), hot("l", 60), guessed],
        window: Some(from_duration(Duration::from_secs(60))),
        ..v1::HotKeysResponse::default()
    };
    for namespace in ["b", "gone"] {
        let namespace = namespace.to_owned();
        model.apply(31.0, Answer::HotKeys { namespace, keys: keys.clone() });
    }
    let figures = model.figures();
    assert_eq!(figures.left_out, []);
    assert_eq!(figures.namespaces.iter().find_map(|one| one.ttl), Some(300.0));
    let shown: Vec<_> =
        figures.hot_keys.iter().map(|hot| (&*hot.key, hot.reads_per_second)).collect();
    assert_eq!(shown, [("k", 10.0), ("l", 1.0)]);
    let origins: Vec<_> = figures.origins.iter().map(|one| (&*one.namespace, one.state)).collect();
    assert_eq!(origins, [("a", "failing"), ("b", "failing")]);
    assert_eq!(model.detail("a").is_configured, Some(false));
    assert_eq!(model.detail("a").last_hour.hits, 3600);
    assert_eq!(model.detail("c").policy, None);
    model.apply(200.0, Answer::Stats(Box::new(stats(200, &["a", "b"]))));
    assert!(model.figures().hot_keys.is_empty());
}

fn reported(id: &str, breaker: v1::origin_state::Breaker, store_available: bool) -> v1::Replica {
    let origin = v1::OriginState {
        namespace: "a".to_owned(),
        url: "http://origin".to_owned(),
        breaker: breaker.into(),
        since: Some(prost_types::Timestamp { seconds: 99_960, nanos: 0 }),
        in_flight: 2,
        last_error: "connection refused".to_owned(),
        ..v1::OriginState::default()
    };
    v1::Replica {
        replica: Some(v1::ReplicaStats { id: id.to_owned(), ..v1::ReplicaStats::default() }),
        host: format!("host-{id}"),
        store_available,
        store_trouble: "timeout".to_owned(),
        origins: vec![origin],
        ..v1::Replica::default()
    }
}

#[test]
fn breakers_and_reports_are_those_of_the_replicas() {
    use v1::origin_state::Breaker;

    let mut model = after(30, &["a", "b"]);
    let mut stats = stats(32, &["a", "b"]);
    let replica = |id: &str| v1::ReplicaStats { id: id.to_owned(), ..Default::default() };
    stats.replicas = vec![replica("1"), replica("2")];
    model.apply(32.0, Answer::Stats(Box::new(stats)));
    let replicas = vec![reported("2", Breaker::Open, false), reported("1", Breaker::Closed, true)];
    let answer = v1::ListReplicasResponse { replicas, degraded: false };
    model.apply(32.0, Answer::Replicas(answer));
    let figures = model.figures();
    let origin = figures.origins.iter().find(|origin| origin.namespace == "a").unwrap();
    assert_eq!((origin.state, origin.state_for), ("open", Some(40.0)));
    assert_eq!((origin.replicas_open, origin.replicas, origin.in_flight), (1, 2, 4));
    let hosts: Vec<_> =
        figures.replicas.iter().map(|one| one.report.clone().unwrap().host).collect();
    assert_eq!(hosts, ["host-1", "host-2"]);
    let marks = figures.namespaces.iter().find(|one| one.namespace == "a").map(|one| &one.marks);
    assert_eq!(marks, Some(&vec!["open", "failing"]));
    let lines: Vec<String> =
        figures.attention.iter().map(|line| format!("{}: {}", line.subject, line.text)).collect();
    let breaker = "origin a: breaker open 40 s on 1 of 2 replicas: connection refused";
    assert_eq!(lines[..2], [breaker, "replica 2: its store: timeout"]);
}

#[test]
fn history_has_the_ended_minutes() {
    let mut model = after(0, &["a"]);
    let counters = |hits| Some(Counters { hits, misses: hits, ..Counters::default() });
    let step = |(minute, hits): (i64, u64)| v1::HistoryStep {
        start: Some(prost_types::Timestamp { seconds: 60 * minute, nanos: 0 }),
        counters: counters(hits),
    };
    let response = v1::GetHistoryResponse {
        totals: [(0, 30), (1, 60), (2, 1)].map(step).into(),
        namespaces: vec![v1::NamespaceHistory {
            namespace: "a".to_owned(),
            steps: [6, 0, 0].map(|hits| counters(hits).unwrap()).into(),
        }],
        step: Some(from_duration(Duration::from_secs(60))),
        degraded: false,
    };
    model.apply(0.0, Answer::History(Box::new(response)));
    let rates = |steps: &[StepFigures]| -> Vec<f64> {
        steps.iter().map(|step| step.reads_per_second).collect()
    };
    let figures = model.figures();
    assert_eq!(rates(&figures.last_hour), [1.0, 2.0]);
    assert_eq!(figures.last_hour[1].hit_rate, Some(0.5));
    assert_eq!(figures.last_hour[1].start.as_deref(), Some("1970-01-01T00:01:00Z"));
    assert_eq!(rates(&model.detail("a").steps), [0.2, 0.0]);
    assert_eq!(rates(&model.detail("b").steps), [] as [f64; 0]);
}

#[test]
fn attention_has_the_gravest_first() {
    let mut model = after(30, &["a"]);
    let keys = vec!["store.url".to_owned()];
    let configuration =
        v1::GetConfigResponse { needs_restart: keys, ..v1::GetConfigResponse::default() };
    model.apply(30.0, Answer::Configuration(configuration));
    let mut down = stats(32, &["a"]);
    down.store = Some(StoreStats { kind: "redis".to_owned(), ..StoreStats::default() });
    let replica = |version: &str| v1::ReplicaStats {
        version: version.to_owned(),
        ..v1::ReplicaStats::default()
    };
    down.replicas = vec![replica("0.1.0"), replica("0.2.0")];
    model.apply(32.0, Answer::Stats(Box::new(down)));
    let finding = |kind, severity, summary: &str| v1::Finding {
        namespace: "a".to_owned(),
        kind: i32::from(kind),
        severity: i32::from(severity),
        summary: summary.to_owned(),
        ..v1::Finding::default()
    };
    model.apply(
        32.0,
        Answer::Findings(vec![
            finding(Kind::OriginFails, FoundSeverity::Critical, "has a line of its own"),
            finding(Kind::LowHitRate, FoundSeverity::Warning, "few hits"),
            finding(Kind::TtlTooShort, FoundSeverity::Warning, "a longer TTL"),
            finding(Kind::NeverRead, FoundSeverity::Notice, "entries without a read"),
        ]),
    );
    assert_eq!(model.figures().namespaces[0].marks, ["failing", "cold"]);
    let lines: Vec<String> = model
        .figures()
        .attention
        .into_iter()
        .map(|line| format!("{:?} {}: {}", line.severity, line.subject, line.text))
        .collect();
    let expected = [
        "Critical store: redis is not reachable: it does not answer",
        "Critical origin a: 50.0 % of the fetches fail",
        "Warning store: 5.0 keys per second are evicted",
        "Warning a: few hits",
        "Warning a: a longer TTL",
        "Notice replicas: they have different versions: 0.1.0, 0.2.0",
        "Notice configuration: changed keys take effect after a restart: store.url",
        "Notice a: entries without a read",
    ];
    assert_eq!(lines, expected);
    let full = after(30, &["a"]).figures();
    assert!(full.attention.iter().any(|line| line.text == "95.0 % of its memory is in use"));
    assert_eq!(full.namespaces[0].marks, ["failing"]);
}

#[test]
fn fields_of_the_json_are_stable() {
    let model = after(30, &["a"]);
    let json = serde_json::to_value(model.figures()).unwrap();
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let expected = [
        "address",
        "collected_at",
        "degraded",
        "totals",
        "store",
        "attention",
        "namespaces",
        "hot_keys",
        "origins",
        "replicas",
        "last_hour",
        "left_out",
    ];
    assert_eq!(names(&json), expected);
    let traffic = [
        "rate_window",
        "reads_per_second",
        "hit_rate",
        "stale_rate",
        "hit_rate_last_hour",
        "stale_rate_last_hour",
        "hit_latency",
        "sets_per_second",
        "deletes_per_second",
        "fetches_per_second",
        "fetches_failed_per_second",
        "fetches_saved",
    ];
    assert_eq!(names(&json["totals"]), traffic);
    let own = ["keys", "bytes", "sampled", "ttl", "marks"];
    let expected: Vec<&str> = ["namespace"].into_iter().chain(traffic).chain(own).collect();
    assert_eq!(names(&json["namespaces"][0]), expected);
    assert_eq!(json["attention"][0]["severity"], "critical");
}
