//! Reads the generation markers of the namespaces with a near cache when they were announced, so
//! that the near cache can distinguish a ban from an invalidation. `store/near_cache/markers.rs`
//! explains why.

use std::{sync::Arc, time::Duration};

use redis::Value;

use super::{
    ban_logs::{BanLogs, NamespaceBans},
    key_schema::KeySchema,
    marker::{GENERATION_BYTES, Position},
    router::Router,
    tracked_servers::TrackedServers,
};
use crate::{
    model::Namespace,
    store::{
        Result,
        near_cache::{BanPosition, KnownBans, MarkerState, NearCache, UnconfirmedMarkers},
    },
};

/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Reads announced generation markers.
#[derive(Clone)]
pub(super) struct MarkerReader {
    pub(super) router: Router,
    pub(super) schema: Arc<KeySchema>,
    pub(super) bans: BanLogs,
}

/// The bans of one namespace.
struct NearBans {
    logs: BanLogs,
    bans: Arc<NamespaceBans>,
}

// === impl MarkerReader ===

impl MarkerReader {
    /// Reads markers whenever they were announced. Never returns.
    pub(super) async fn follow(&self, near: &NearCache, tracked: &TrackedServers) {
        loop {
            near.marker_announced().await;
            for unconfirmed in near.unconfirmed_markers() {
                if let Err(error) = self.confirm(near, tracked, &unconfirmed).await {
                    tracing::debug!(%error, "cannot read the markers for the near cache");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    near.remind_of_markers();
                }
            }
        }
    }

    async fn confirm(
        &self,
        near: &NearCache,
        tracked: &TrackedServers,
        unconfirmed: &UnconfirmedMarkers,
    ) -> Result<()> {
        let UnconfirmedMarkers { namespace, shards } = unconfirmed;
        let name = |(shard, _): &(u64, u64)| self.schema.marker(namespace, *shard);
        let names: Vec<String> = shards.iter().map(name).collect();
        let markers = self.router.mget(&names).await?;
        let markers: Vec<Option<MarkerState>> = markers.iter().map(state_of).collect();
        self.read_bans(namespace, &markers).await?;
        let bans = self.bans.of(namespace);
        let known: Arc<dyn KnownBans> = Arc::new(NearBans { logs: self.bans.clone(), bans });
        // Markers of another server do not match the announcements of these.
        tracked.while_current(|| {
            for ((shard, epoch), state) in shards.iter().zip(markers) {
                near.confirm_marker(namespace, (*shard, *epoch), state, &known);
            }
        });
        Ok(())
    }

    /// Reads the log up to the newest marker.
    async fn read_bans(
        &self,
        namespace: &Namespace,
        markers: &[Option<MarkerState>],
    ) -> Result<()> {
        let sequence = |state: &MarkerState| Position::from(&state.position[..]).sequence;
        let newest = markers.iter().flatten().map(sequence).max();
        self.bans.read(&self.bans.of(namespace), newest.unwrap_or(0)).await
    }
}

fn state_of(marker: &Value) -> Option<MarkerState> {
    let Value::BulkString(marker) = marker else { return None };
    let generation = marker.first_chunk::<GENERATION_BYTES>()?;
    let position = Position::of_marker(marker).encode();
    Some(MarkerState { generation: *generation, position })
}

// === impl NearBans ===

impl KnownBans for NearBans {
    fn permit(&self, since: &BanPosition, until: &BanPosition, key: &str, tags: &[String]) -> bool {
        let [since, until] = [since, until].map(|position| Position::from(&position[..]));
        self.logs.permits(&self.bans, since, until, (key, tags))
    }
}
