//! The fleet: replicas, calls, connections, callers and processes.

use larder::metric_list::*;

use super::super::{
    dashboard::{Dashboard, Row},
    panel::{Panel, Unit},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "larder-fleet",
        title: "Larder / Fleet",
        description: "Replicas of Larder: calls, connections, callers and processes.",
        has_namespaces: false,
        rows: vec![overview(), calls(), load(), connections(), callers(), process()],
    }
}

fn overview() -> Row {
    let reads = |outcome: &str| format!("sum(rate(larder_{outcome}_total{{@}}[$__rate_interval]))");
    let answered = ["hits", "stale", "negative"].map(reads).join(" + ");
    let hit_rate = format!("({answered}) / ({answered} + {})", reads("misses"));
    Row {
        title: "Overview",
        panels: vec![
            Panel::figure("Replicas", Unit::Number, "Replicas that can be scraped.")
                .query("count(up{@} == 1)", "replicas")
                .thresholds(2.0, 1.0)
                .runbooks(&["LarderNoReplica", "LarderReplicaMissing", "LarderDown"]),
            Panel::figure("Calls", Unit::PerSecond, "Calls of all methods.").query(
                "sum(rate(rpc_server_call_duration_seconds_count{@}[$__rate_interval]))",
                "calls",
            ),
            Panel::figure(
                "Hit rate",
                Unit::Share,
                "Share of reads that were answered without a computation or a wait.",
            )
            .query(&hit_rate, "hit rate")
            .thresholds(0.8, 0.5)
            .runbooks(&["LarderLowHitRate", "LarderHitRateFalls"]),
            Panel::figure("Failed calls", Unit::Share, "Calls that failed because of the server.")
                .query(
                    "(sum(rate(rpc_server_call_duration_seconds_count{@,error_type=~\"UNKNOWN|\
                     INTERNAL|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED\"}[$__rate_interval])) \
                     or vector(0)) \
                     / sum(rate(rpc_server_call_duration_seconds_count{@}[$__rate_interval]))",
                    "failed",
                )
                .thresholds(0.01, 0.05)
                .runbooks(&["LarderCallsFail"]),
            Panel::figure("p99 of Get", Unit::Seconds, "99 % of the Gets take less than this.")
                .query(
                    "histogram_quantile(0.99, sum by (le) (rate(\
                     rpc_server_call_duration_seconds_bucket{@,\
                     rpc_method=\"larder.v1.CacheService/Get\"}[$__rate_interval])))",
                    "p99",
                )
                .thresholds(0.01, 0.05)
                .runbooks(&["LarderSlowHits"]),
            Panel::figure("Alerts", Unit::Number, "Alerts of Larder that fire.")
                .query(
                    "count(ALERTS{alertname=~\"Larder.*\",alertstate=\"firing\"}) or vector(0)",
                    "alerts",
                )
                .thresholds(1.0, 3.0),
        ],
    }
}

fn calls() -> Row {
    Row {
        title: "Calls",
        panels: vec![
            Panel::graph("Calls by method", Unit::PerSecond, "Calls, by method.").query(
                "sum by (rpc_method) (rate(rpc_server_call_duration_seconds_count{@}\
                 [$__rate_interval]))",
                "{{rpc_method}}",
            ),
            Panel::graph("Errors", Unit::PerSecond, "Calls that were not OK, by method and code.")
                .query(
                    "sum by (rpc_method, rpc_response_status_code) (rate(\
                     rpc_server_call_duration_seconds_count{@,error_type!=\"\"}\
                     [$__rate_interval]))",
                    "{{rpc_method}} {{rpc_response_status_code}}",
                )
                .runbooks(&["LarderCallsFail", "LarderCallersRefused"]),
            Panel::graph(
                "Duration of calls",
                Unit::Seconds,
                "Duration of calls, from request to the end of the response. Calls that wait for a \
                 value take as long as that. Exemplars lead to traces.",
            )
            .query(
                "histogram_quantile(0.5, sum by (rpc_method, le) (rate(\
                 rpc_server_call_duration_seconds_bucket{@}[$__rate_interval])))",
                "p50 {{rpc_method}}",
            )
            .query(
                "histogram_quantile(0.99, sum by (rpc_method, le) (rate(\
                 rpc_server_call_duration_seconds_bucket{@}[$__rate_interval])))",
                "p99 {{rpc_method}}",
            )
            .with_exemplars()
            .runbooks(&["LarderSlowHits"]),
        ],
    }
}

fn load() -> Row {
    Row {
        title: "Load",
        panels: vec![
            Panel::of("Calls in flight and waiting", &[REQUESTS_IN_FLIGHT, WAITING])
                .runbooks(&["LarderContended"]),
            Panel::of("Rejected calls", &[REQUESTS_REJECTED]).runbooks(&["LarderShedsLoad"]),
            Panel::of("Connections held back", &[CONNECTIONS_HELD_BACK])
                .runbooks(&["LarderHeldBack"]),
            Panel::of("Buffered bytes", &[BUFFERED]).runbooks(&["LarderMemoryHigh"]),
            Panel::of("Open streams", &[FETCH_STREAMS_OPEN, WATCH_STREAMS, WATCHES_OPEN]),
            Panel::of("Refusals held back", &[REFUSALS_HELD_BACK])
                .runbooks(&["LarderCallersRefused"]),
        ],
    }
}

fn connections() -> Row {
    let runbooks = ["LarderConnectionsNearLimit", "LarderConnectionsRefused"];
    Row {
        title: "Connections and TLS",
        panels: vec![
            Panel::of("Connections and their limit", &[CONNECTIONS_OPEN, CONNECTIONS_LIMIT])
                .runbooks(&runbooks),
            Panel::of("Closed connections", &[CONNECTIONS_CLOSED]).runbooks(&runbooks[1..]),
            Panel::of("Failures to accept", &[CONNECTIONS_ACCEPT_ERRORS])
                .runbooks(&["LarderFilesNearLimit"]),
            Panel::of("TLS handshakes", &[TLS_HANDSHAKES]).runbooks(&["LarderHandshakesFail"]),
            Panel::of("Duration of TLS handshakes", &[TLS_HANDSHAKE_DURATION]),
            Panel::of("Time until certificates expire", &[TLS_CERTIFICATE_EXPIRY])
                .thresholds(14.0 * 86_400.0, 86_400.0)
                .runbooks(&["LarderCertificateExpires", "LarderCertificateExpired"]),
        ],
    }
}

fn callers() -> Row {
    Row {
        title: "Callers",
        panels: vec![
            Panel::of("Refused calls", &[AUTH_REFUSALS]).runbooks(&["LarderCallersRefused"]),
            Panel::of("Credentials that are looked up", &[AUTH_CREDENTIALS]),
            Panel::of("Age of the keys of issuers", &[AUTH_KEYS_AGE])
                .thresholds(1800.0, 3600.0)
                .runbooks(&["LarderTokenKeysOld"]),
            Panel::of("Refusals by quotas", &[QUOTA_REFUSALS]).runbooks(&["LarderQuotaRefuses"]),
            Panel::of("Use of quotas", &[QUOTA_USED]).runbooks(&["LarderQuotaRefuses"]),
            Panel::of("Refused requests to the admin port", &[ADMIN_REFUSALS])
                .runbooks(&["LarderAdminTokensTried"]),
            Panel::of("Sessions of the admin port", &[ADMIN_SESSIONS]),
            Panel::of("Ended sessions", &[ADMIN_SESSIONS_ENDED]),
            Panel::of("Live pages of the dashboard", &[DASHBOARD_STREAMS]),
            Panel::of("Updates of live pages", &[DASHBOARD_UPDATES]),
            Panel::of("Refused live pages", &[DASHBOARD_STREAMS_REFUSED]),
            Panel::of(
                "Listings and actions of the dashboard",
                &[DASHBOARD_LISTINGS, DASHBOARD_JOBS],
            ),
            Panel::of(
                "Refused listings and actions",
                &[DASHBOARD_LISTINGS_REFUSED, DASHBOARD_JOBS_REFUSED],
            ),
            Panel::of("Records of the audit log", &[AUDIT_RECORDS])
                .runbooks(&["LarderAuditLogFails"]),
            Panel::of("Audit log cannot be written", &[AUDIT_FAILING])
                .runbooks(&["LarderAuditLogFails"]),
            Panel::of("Queue of the audit log", &[AUDIT_QUEUED]),
        ],
    }
}

fn process() -> Row {
    Row {
        title: "Processes",
        panels: vec![
            Panel::of("Processors", &[PROCESS_CPU]),
            Panel::of("Memory", &[PROCESS_RESIDENT_MEMORY, PROCESS_VIRTUAL_MEMORY])
                .runbooks(&["LarderMemoryHigh"]),
            Panel::of("Files and their limit", &[PROCESS_OPEN_FDS, PROCESS_MAX_FDS])
                .runbooks(&["LarderFilesNearLimit"]),
            Panel::of("Threads", &[PROCESS_THREADS]),
            Panel::graph("Uptime", Unit::Seconds, "Time since the start of the process.")
                .query("max by (instance) (time() - process_start_time_seconds{@})", "{{instance}}")
                .runbooks(&["LarderReplicaUnsteady"]),
            Panel::of("Busy polls", &[BUSY_POLLS]),
            Panel::of("Processors in busy polls", &[BUSY_POLL_DURATION]),
            Panel::table("Versions", "Version and commit of each replica.")
                .query("max by (instance, version, commit) (larder_build_info{@})", "")
                .runbooks(&["LarderVersionsDiffer"]),
        ],
    }
}
