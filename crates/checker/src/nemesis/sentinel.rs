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
        let lag = self.lag();
        let service = self.service();
        let primary = service.primary_port().await;
        let number = service.primary().await;
        service.ways().servers[number].hold_replication();
        self.pause(lag).await;
        let service = self.service();
        service.servers[number].kill();
        service.ways().servers[number].lose_replication();
        self.await_promotion(primary).await;
        let service = self.service();
        service.ways().servers[number].restore().await;
        service.servers[number].restart().await;
        self.end(fault).await;
    }

    async fn await_promotion(&mut self, former: u16) {
        let service = self.service();
        eventually("another server is the primary", PROMOTED, async || {
            (service.primary_port().await != former).then_some(())
        })
        .await;
    }
}
