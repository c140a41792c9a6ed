//! Writers and operators: invalidations of all kinds, and events.

use std::{sync::Arc, time::Duration};

use larder_client::{Error, Targets};

use crate::{fleet::Fleet, popularity::Zipf};

/// Starts the writers. They go on for as long as the program runs.
pub(crate) fn start(fleet: &Arc<Fleet>) {
    fleet.repeat(Duration::from_secs(7), |fleet| {
        let tag = format!("team-{}", rand::random_range(0..20));
        async move { invalidate(&fleet, "users", Targets::new().tags([&tag]), &tag).await }
    });
    fleet.repeat(Duration::from_secs(11), |fleet| {
        let glob = format!("page:{}*", rand::random_range(1..10));
        async move { invalidate(&fleet, "pages", Targets::new().globs([&glob]), &glob).await }
    });
    let prices = Zipf::new(100, 0.8);
    fleet.repeat(Duration::from_secs(3), move |fleet| {
        let id = prices.choose().to_string();
        async move { fleet.client().publish_event("price_changed", [("id", id)]).await }
    });
    fleet.repeat(Duration::from_secs(45), |fleet| async move {
        fleet.report("search: all entries are invalidated");
        fleet.namespace("search").invalidate_namespace().await
    });
}

async fn invalidate(
    fleet: &Fleet,
    namespace: &str,
    targets: Targets,
    shown: &str,
) -> Result<(), Error> {
    fleet.namespace(namespace).invalidate(&targets).await?;
    fleet.report(&format!("{namespace}: {shown} is invalidated"));
    Ok(())
}
