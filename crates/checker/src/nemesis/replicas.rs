//! Faults of replicas.

use std::time::Duration;

use futures::future::join_all;
use larder::pb::v1::{BatchGetRequest, KeyRef};
use nix::sys::signal::Signal;
use rand::RngExt as _;

use super::Nemesis;
use crate::{
    fleet::Store,
    history::{End, Loss},
};

/// Callers that a burst adds.
const CALLERS: usize = 400;
const BURST: Duration = Duration::from_millis(700);
/// Time in which a replica that is cut off queues an invalidation.
const QUEUED: Duration = Duration::from_secs(3);

impl Nemesis {
    /// The loss at the end of a replica.
    fn loss(&self) -> Loss {
        if matches!(self.fleet.store, Store::Embedded) { Loss::Vanished } else { Loss::Nothing }
    }

    pub(super) async fn kill_replica(&mut self, replica: u8) {
        let fault = self.shared.faults.begin("kill of a replica", Some(replica), self.loss());
        self.shared.faults.ends(fault, replica, End::Killed);
        self.fleet.kill(replica).await;
        self.end(fault).await;
    }

    /// Kills the first replica while it is cut off from its store, and has invalidations in its
    /// journal.
    pub(super) async fn kill_cut_off_replica(&mut self) {
        let fault = self.shared.faults.begin("kill of a replica, cut off", Some(0), Loss::Nothing);
        self.shared.faults.ends(fault, 0, End::Killed);
        let refuses = self.random.random_bool(0.5);
        for way in self.fleet.ways() {
            if refuses { way.cut().await } else { way.blackhole() }
        }
        if self.fleet.has_journals() {
            let queued = async {
                while self.fleet.queued(0).await == 0 {
                    tokio::time::sleep(super::POLL).await;
                }
            };
            // A replica without calls has none.
            let _ = tokio::time::timeout(QUEUED, queued).await;
        }
        self.pause(50..1_000).await;
        self.fleet.kill(0).await;
        self.pause(50..1_500).await;
        for way in self.fleet.ways() {
            way.restore().await;
        }
        self.end(fault).await;
    }

    pub(super) async fn stop_replica(&mut self, replica: u8) {
        let fault = self.shared.faults.begin("stop of a replica", Some(replica), Loss::Nothing);
        self.fleet.signal(replica, Signal::SIGSTOP);
        self.pause(100..2_500).await;
        self.fleet.signal(replica, Signal::SIGCONT);
        self.end(fault).await;
    }

    /// No call fails: the client goes to the new replica, and those in flight are answered.
    pub(super) async fn roll_replica(&mut self, replica: u8) {
        let fault = self.shared.faults.begin("rolling restart", None, self.loss());
        self.shared.faults.ends(fault, replica, End::Replaced);
        if let Err(error) = self.fleet.roll(replica, &self.shared.faults).await {
            self.shared.fail(format!("BROKEN: {error}"));
        }
        self.end(fault).await;
    }

    pub(super) async fn overload(&mut self, replica: u8) {
        let fault = self.shared.faults.begin("overload", None, Loss::Nothing);
        let keys: Vec<KeyRef> = (0..50)
            .map(|key| KeyRef {
                namespace: "probe".to_owned(),
                key: key.to_string(),
                ..KeyRef::default()
            })
            .collect();
        // A connection of its own: one with many calls that their callers give up is closed.
        let cache = self.fleet.replicas[usize::from(replica)].client().await;
        let until = tokio::time::Instant::now() + BURST;
        let caller = async || {
            while tokio::time::Instant::now() < until {
                let request = BatchGetRequest { keys: keys.clone(), ..BatchGetRequest::default() };
                let mut request = tonic::Request::new(request);
                request.set_timeout(Duration::from_secs(2));
                let _ = cache.rpc().batch_get(request).await;
            }
        };
        join_all((0..CALLERS).map(|_| caller())).await;
        self.end(fault).await;
    }
}
