//! Namespaces: reads, writes, leases, near caches, events and watches.

use larder::metric_list::*;

use super::super::{
    dashboard::{Dashboard, Row},
    panel::{Panel, Unit},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "larder-namespace",
        title: "Larder / Namespace",
        description: "Reads and writes of namespaces, leases, near caches, events and watches.",
        has_namespaces: true,
        rows: vec![reads(), writes(), leases(), near_cache(), events(), watches()],
    }
}

fn rate(name: &str) -> String {
    format!("sum by (namespace) (rate({name}{{@ns}}[$__rate_interval]))")
}

fn reads() -> Row {
    let answered = ["larder_hits_total", "larder_stale_total", "larder_negative_total"].map(rate);
    let answered = answered.join(" + ");
    let all = format!("({answered} + {})", rate("larder_misses_total"));
    Row {
        title: "Reads",
        panels: vec![
            Panel::graph(
                "Hit rate",
                Unit::Share,
                "Share of reads that were answered without a computation or a wait.",
            )
            .query(&format!("({answered}) / {all}"), "{{namespace}}")
            .runbooks(&["LarderLowHitRate", "LarderHitRateFalls"]),
            Panel::graph("Reads", Unit::PerSecond, "Reads of all outcomes.")
                .query(&all, "{{namespace}}"),
            Panel::of("Reads by outcome", &[HITS, STALE, NEGATIVE, MISSES]),
            Panel::of(
                "Stale answers by reason",
                &[STALE_WHILE_REVALIDATE, STALE_IF_ERROR, STALE_SOFT_TIMEOUT],
            )
            .runbooks(&["LarderServesStale"]),
            Panel::of("Answers without the store", &[DEGRADED]).runbooks(&["LarderDegraded"]),
            Panel::of("Samples that the search for hot keys left out", &[HOT_KEYS_DROPPED]),
            Panel::of("Events that the analysis left out", &[REUSE_DROPPED]),
        ],
    }
}

fn writes() -> Row {
    Row {
        title: "Writes and invalidations",
        panels: vec![
            Panel::of("Stored values", &[SETS]),
            Panel::of("Values that were not stored", &[SETS_REFUSED]),
            Panel::of("Deletes", &[DELETES]),
            Panel::of("Invalidations", &[BANS, INVALIDATIONS, INVALIDATIONS_COALESCED])
                .runbooks(&["LarderHitRateFalls"]),
            Panel::of("Writes over a quota", &[QUOTA_HELD_REFUSALS])
                .runbooks(&["LarderQuotaRefuses"]),
        ],
    }
}

fn leases() -> Row {
    Row {
        title: "Leases and fills",
        panels: vec![
            Panel::of("Leases", &[LEASES_GRANTED, LEASES_REFUSED, LEASES_ABANDONED])
                .runbooks(&["LarderCannotCompute"]),
            Panel::of("Contended calls", &[CONTENDED]).runbooks(&["LarderContended"]),
            Panel::of("Time of computations", &[COMPUTE_DURATION]).runbooks(&["LarderFillsLost"]),
            Panel::of(
                "Values that were not stored, by reason",
                &[
                    FILLS_LOST,
                    FILLS_INVALIDATED,
                    FILLS_SUPERSEDED,
                    FILLS_NOT_STORED,
                    FILLS_UNCACHEABLE,
                ],
            )
            .runbooks(&["LarderFillsLost"]),
        ],
    }
}

fn near_cache() -> Row {
    let near = rate("larder_near_hits_total");
    let hits = format!("({} + {})", rate("larder_hits_total"), rate("larder_negative_total"));
    Row {
        title: "Near cache",
        panels: vec![
            Panel::graph("Share of near hits", Unit::Share, "Hits that the near cache answered.")
                .query(&format!("{near} / {hits}"), "{{namespace}}")
                .runbooks(&["LarderNearCacheEvicts"]),
            Panel::of("Near hits", &[NEAR_HITS]),
            Panel::of("Near cache follows Redis", &[NEAR_COHERENT])
                .runbooks(&["LarderNearCacheNotUsed"]),
            Panel::of("Entries in the near cache", &[NEAR_ENTRIES]),
            Panel::of("Size of the near cache", &[NEAR_SIZE]),
            Panel::of("Evictions from the near cache", &[NEAR_EVICTIONS])
                .runbooks(&["LarderNearCacheEvicts"]),
            Panel::of("Announced changes", &[NEAR_ANNOUNCED]),
            Panel::of("Emptied near caches", &[NEAR_FLUSHES])
                .runbooks(&["LarderNearCacheUnsteady"]),
        ],
    }
}

fn events() -> Row {
    Row {
        title: "Events of the business",
        panels: vec![
            Panel::of("Events", &[EVENTS]).runbooks(&["LarderEventsNotApplied"]),
            Panel::of("Entries of streams", &[EVENT_SOURCE_ENTRIES])
                .runbooks(&["LarderEventsNotApplied"]),
            Panel::of("Entries that wait", &[EVENT_SOURCE_LAG, EVENT_SOURCE_PENDING])
                .thresholds(500.0, 1000.0)
                .runbooks(&["LarderEventsWait"]),
            Panel::of("Streams that are read", &[EVENT_SOURCE_CONNECTED])
                .runbooks(&["LarderEventSourceNotRead"]),
        ],
    }
}

fn watches() -> Row {
    Row {
        title: "Watches",
        panels: vec![
            Panel::of("Changes that were sent", &[WATCH_EVENTS]),
            Panel::of("Resets", &[WATCH_RESETS])
                .runbooks(&["LarderWatchersSlow", "LarderWatchNotFollowing"]),
            Panel::of("Delay of changes", &[WATCH_DELAY]),
            Panel::of("Watched namespaces", &[WATCH_NAMESPACES]),
            Panel::of("Changes are received", &[WATCH_FOLLOWING])
                .runbooks(&["LarderWatchNotFollowing"]),
            Panel::of("Changes that are kept", &[WATCH_BUFFERED]),
        ],
    }
}
