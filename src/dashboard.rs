//! The dashboard: pages for people on the admin port.
//!
//! The server renders every page (`layout`), and each works without a script. The script that
//! comes with them replaces the figures of a page by newer ones (`live`) and shows confirmations
//! as dialogs. The port has checked the request (`src/admin`) before a page is made; the
//! permissions of its sender are in `visitor`.

mod actions;
mod assets;
mod attention;
mod charts;
mod course;
mod entry_name;
mod error;
mod figures;
mod findings;
mod layout;
mod live;
mod numbers;
mod pages;
mod places;
mod query;
mod replicas;
mod span;
mod text;
mod trail;
mod visitor;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Router,
    routing::{get, post},
};
use opentelemetry::metrics::{Counter, Meter};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::AdminAccess,
    audit::AuditLog,
    cache::{Cache, Directory, fleet_stats::FleetStats},
    config::Config,
    health::Health,
    metric_list,
};
use actions::Jobs;
use error::Error;
use live::Live;
use places::{AllTaken, Place, Places};
use visitor::Visitor;

/// Most pages at once for which keys are listed or examined. Others wait.
const MAX_LISTINGS: usize = 2;

/// Most of them for visitors that are no operators, so that there is a place for operators.
const MAX_OPEN_LISTINGS: usize = 1;

/// Time for which further ones wait.
const LISTING_QUEUE_TIME: Duration = Duration::from_secs(2);

/// Makes the pages.
pub struct Dashboard {
    parts: DashboardParts,
    config: ArcSwap<Config>,
    listings: Places,
    listings_refused: Counter<u64>,
    jobs: Arc<Jobs>,
    live: Live,
    findings: findings::Findings,
}

/// The parts that the pages show and change.
pub struct DashboardParts {
    /// The cache.
    pub cache: Arc<Cache>,
    /// Its namespaces and entries.
    pub directory: Arc<Directory>,
    /// The statistics of the fleet.
    pub fleet: Arc<FleetStats>,
    /// The audit log.
    pub audit: AuditLog,
    /// The state of this replica.
    pub health: Health,
    /// Ends sessions.
    pub access: Arc<AdminAccess>,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    /// Tasks for whose end the server waits then.
    pub ending: TaskTracker,
}

impl Dashboard {
    /// A dashboard for `parts`, and its metrics.
    pub fn new(parts: DashboardParts, config: &Config, meter: &Meter) -> Arc<Self> {
        let listings = Places::new(MAX_LISTINGS, MAX_OPEN_LISTINGS);
        let shown = listings.clone();
        metric_list::DASHBOARD_LISTINGS
            .observed_gauge(meter)
            .with_callback(move |observer| observer.observe(shown.taken() as u64, &[]))
            .build();
        let listings_refused = metric_list::DASHBOARD_LISTINGS_REFUSED.counter(meter);
        listings_refused.add(0, &[]);
        Arc::new(Self {
            parts,
            config: ArcSwap::from_pointee(config.clone()),
            listings,
            listings_refused,
            jobs: Jobs::new(meter),
            live: Live::new(meter),
            findings: findings::Findings::default(),
        })
    }

    /// A place among the listings of keys.
    ///
    /// # Errors
    /// [`Error::Busy`] if none is free in time.
    async fn begin_listing(&self, visitor: &Visitor) -> Result<Place, Error> {
        let place = self.listings.take(visitor.is_operator, LISTING_QUEUE_TIME).await;
        place.map_err(|AllTaken(limit)| {
            self.listings_refused.add(1, &[]);
            Error::Busy { what: "listings of keys", limit }
        })
    }

    /// Another configuration is in force.
    pub fn configure(&self, config: &Config) {
        self.config.store(Arc::new(config.clone()));
    }
}

/// The routes of the pages. What lasts ends when the server stops.
pub fn router(dashboard: Arc<Dashboard>) -> Router {
    dashboard.live.start(&dashboard);
    Router::new()
        .route("/", get(pages::overview))
        .route("/namespaces", get(pages::namespaces))
        .route("/namespaces/{name}", get(pages::namespace))
        .route("/keys", get(pages::keys))
        .route("/entry", get(pages::entry))
        .route("/hot-keys", get(pages::hot_keys))
        .route("/invalidations", get(pages::invalidations))
        .route("/origins", get(pages::origins))
        .route("/replicas", get(pages::replicas))
        .route("/analysis", get(pages::analysis))
        .route("/audit", get(pages::audit))
        .route("/confirm", get(actions::confirm))
        .route("/actions", post(actions::begin))
        .route("/jobs/{id}", get(actions::job))
        .route("/live", get(live::stream))
        .with_state(dashboard)
        .route(assets::STYLE, get(assets::style))
        .route(assets::SCRIPT, get(assets::script))
        .route(assets::ICON, get(assets::icon))
}
