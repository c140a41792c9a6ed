//! Faults of a service with sentinels.

use std::time::Duration;

use super::Nemesis;
use crate::{
    fleet::Store,
    history::Loss,
    support::{sentinel::Service, wait::eventually},
};

/// Time in which another server becomes the primary.
const PROMOTED: Duration = Duration::from_secs(60);

impl Nemesis {
    fn service(&mut self) -> &mut Service {
        match &mut self.fleet.store {
            Store::Sentinel(service) => service,
            _ => unreachable!("the fault is one of a service with sentinels"),
        }
    }

    pub(super) async fn sentinel_failover(&mut self) {
        let loss = Loss::Rewound { since: self.since() };
        let fault = self.shared.faults.begin("failover by sentinels", None, loss);
        let service = self.service();
        let primary = service.primary_port().await;
        service.fail_over_from(primary).await;
        self.await_promotion(primary).await;
        self.end(fault).await;
    }

    pub(super) async fn kill_primary(&mut self) {
        let loss = Loss::Rewound { since: self.since() };
        let fault = self.shared.faults.begin("kill of the primary", None, loss);
        let service = self.service();
        let primary = service.primary_port().await;
        let number = service.servers.iter().position(|server| server.port() == primary).unwrap();
        service.servers[number].kill();
        self.await_promotion(primary).await;
        self.service().servers[number].restart().await;
        self.end(fault).await;
    }

    /// Waits until the sentinels agree on a primary that works, and a server that was stopped is
    /// either this primary or a replica.
    pub(super) async fn await_agreement(&mut self, stopped: usize) {
        let service = self.service();
        eventually("the sentinels agree on the primary", PROMOTED, async || {
            let mut named = None;
            for sentinel in &service.sentinels {
                let state = sentinel.master().await?;
                let port: u16 = state.get("port")?.parse().ok()?;
                let is_well = state.get("flags").is_some_and(|flags| flags == "master");
                (is_well && *named.get_or_insert(port) == port).then_some(())?;
            }
            let port = service.servers[stopped].port();
            // A server that follows another one from now on ends its connections.
            let client = redis::Client::open(service.servers[stopped].url()).ok()?;
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            let info: String = redis::cmd("INFO").query_async(&mut connection).await.ok()?;
            let is_primary = info.contains("role:master");
            (is_primary == (named == Some(port))).then_some(())
        })
        .await;
    }

    async fn await_promotion(&mut self, former: u16) {
        let service = self.service();
        eventually("another server is the primary", PROMOTED, async || {
            (service.primary_port().await != former).then_some(())
        })
        .await;
    }
}
