//! The lease of a computation: it is renewed, filled or given up.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    Codec, Error, Failure, Loaded, Reason, Ttl, Write,
    calls::stream,
    core::{Scope, Spec},
    key::Address,
    names::cut,
    pb::{self, batch_get_or_fetch_result::Result as Answered, get_or_fetch_response::Outcome},
    transport::wire::Attempt,
    ttl::from_wire,
    writes::write_result,
};

const MAX_REASON_BYTES: usize = 256;
/// The shortest time between two renewals, whatever the server wants.
const MIN_RENEWAL: Duration = Duration::from_millis(10);
const LEASE: Duration = Duration::from_secs(10);

/// The end of a fill, or the request that is still to be sent.
pub(crate) enum Fill {
    /// There is no fill; the lease was given up.
    Done(Write),
    Request(Box<pb::SetRequest>, Lease),
    /// The TTL is zero: the entry is deleted, which also ends the lease.
    Delete(Lease),
}

/// A lease that this process holds. It is renewed until it is dropped; one that is neither filled
/// nor given up passes to the next caller.
pub(crate) struct Lease {
    scope: Scope,
    address: Address,
    token: Bytes,
    lost: Arc<Mutex<Option<Reason>>>,
    renewing: AbortHandle,
    settled: bool,
    runtime: Handle,
}

impl Lease {
    pub(crate) fn new(scope: Scope, address: Address, lease: &pb::Lease) -> Self {
        let lost = Arc::new(Mutex::new(None));
        let renewal = renewed(
            scope.clone(),
            pb::RenewRequest {
                namespace: scope.namespace.to_string(),
                key: address.key.clone(),
                params: address.params.clone(),
                lease_token: lease.token.clone(),
            },
            from_wire(lease.expires_in).unwrap_or(LEASE),
            Arc::clone(&lost),
        );
        Self {
            renewing: tokio::spawn(renewal).abort_handle(),
            scope,
            address,
            token: lease.token.clone(),
            lost,
            settled: false,
            runtime: Handle::current(),
        }
    }

    /// The fill of a value, or why there is none.
    pub(crate) fn fill<V: 'static>(
        self,
        loaded: &Loaded<V>,
        codec: &dyn Codec<V>,
        ttl: Option<Ttl>,
        tags: &[String],
    ) -> Fill {
        if !loaded.store {
            return Fill::Done(Write::refused(Reason::NotStored));
        }
        let lost = *self.lost.lock();
        if let Some(reason) = lost {
            self.settle();
            return Fill::Done(Write::refused(reason));
        }
        let ttl = loaded.ttl.or(ttl).or(self.scope.ttl);
        if ttl.is_some_and(Ttl::is_zero) {
            return Fill::Delete(self);
        }
        let encoded = match codec.encode(&loaded.value) {
            Ok(encoded) => encoded,
            Err(error) => {
                let error = Some(Failure::NotEncodable(Box::new(error)));
                let reason = Reason::NotEncodable;
                return Fill::Done(Write::NotStored { reason, degraded: false, error });
            }
        };
        let own = tags.iter().chain(&loaded.tags).cloned();
        let request = pb::SetRequest {
            namespace: self.scope.namespace.to_string(),
            key: self.address.key.clone(),
            params: self.address.params.clone(),
            value: Some(encoded.into_wire()),
            ttl: ttl.map(Ttl::to_wire),
            // They were checked after the loader.
            tags: self.scope.joined_tags(own),
            lease_token: self.token.clone(),
            condition: None,
        };
        Fill::Request(Box::new(request), self)
    }

    /// Ends the lease without a call: it was filled, or is lost.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }

    /// Gives the lease up because its computation failed.
    pub(crate) fn abandon(mut self, reason: &str) {
        self.settled = true;
        self.give_up(cut(reason, MAX_REASON_BYTES).to_owned(), false);
    }

    fn give_up(&self, reason: String, pass_on: bool) {
        let request = pb::AbandonRequest {
            namespace: self.scope.namespace.to_string(),
            key: self.address.key.clone(),
            params: self.address.params.clone(),
            lease_token: self.token.clone(),
            reason,
            pass_on,
        };
        let scope = self.scope.clone();
        self.part(async move {
            // Without this call the lease ends by itself. Its error is counted.
            let _ = scope.call(request, parting(&scope)).await;
        });
    }

    /// The entry that the lease is for.
    pub(crate) fn key_ref(&self) -> pb::KeyRef {
        self.address.clone().into_key_ref(&self.scope.namespace)
    }

    /// Makes a call that goes on although the callers have left.
    fn part(&self, call: impl Future<Output = ()> + Send + 'static) {
        let tracked = self.scope.core.background.track();
        self.runtime.spawn(crate::telemetry::in_trace(async move {
            let _tracked = tracked;
            call.await;
        }));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        if !self.settled {
            self.give_up(String::new(), true);
        }
    }
}

/// The answers of a batch in their order, as they arrive. A lease that is in one that nothing takes
/// passes on: the stream can break, and the caller can leave.
pub(crate) struct Answers {
    scope: Scope,
    addresses: Mutex<VecDeque<Address>>,
    arrived: Arc<Mutex<VecDeque<pb::BatchGetOrFetchResult>>>,
    runtime: Handle,
}

impl Answers {
    pub(crate) fn new(scope: &Scope, addresses: impl Iterator<Item = Address>) -> Self {
        Self {
            scope: scope.clone(),
            addresses: Mutex::new(addresses.collect()),
            arrived: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Reads a stream. Once an answer has arrived, its error is a result: the call must not be
    /// repeated, because the leases are held.
    pub(crate) fn read(
        &self,
        attempt: Attempt,
        request: tonic::Request<Arc<pb::BatchGetOrFetchRequest>>,
    ) -> impl Future<Output = Result<Option<Error>, tonic::Status>> + use<> {
        let arrived = Arc::clone(&self.arrived);
        async move {
            let reading = async {
                let mut messages = stream(attempt, request).await?;
                while let Some(message) = messages.message().await? {
                    arrived.lock().extend(message.results);
                }
                Ok::<_, tonic::Status>(())
            };
            match reading.await {
                Ok(()) => Ok(None),
                Err(status) if arrived.lock().is_empty() => Err(status),
                Err(status) => Ok(Some(status.into())),
            }
        }
    }

    /// The next answer; `None` if it has not arrived.
    pub(crate) fn next(&self) -> Option<pb::BatchGetOrFetchResult> {
        self.addresses.lock().pop_front();
        self.arrived.lock().pop_front()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let _runtime = self.runtime.enter();
        let addresses = self.addresses.get_mut().drain(..);
        for (address, answer) in addresses.zip(self.arrived.lock().drain(..)) {
            if let Some(Answered::Answer(answer)) = answer.result
                && let Some(Outcome::Lease(lease)) = answer.outcome
                && !answer.degraded
            {
                drop(Lease::new(self.scope.clone(), address, &lease));
            }
        }
    }
}

fn parting(scope: &Scope) -> Spec {
    Spec { timeout: scope.core.limits.call, idempotent: true, open: false, parting: true }
}

async fn renewed(
    scope: Scope,
    request: pb::RenewRequest,
    mut expires_in: Duration,
    lost: Arc<Mutex<Option<Reason>>>,
) {
    let timeout = scope.core.limits.call;
    let spec = Spec { timeout, idempotent: true, open: false, parting: false };
    loop {
        tokio::time::sleep(MIN_RENEWAL.max(expires_in / 3)).await;
        match scope.call(request.clone(), spec).await {
            Ok(answer) => {
                let reason = match answer.result() {
                    pb::RenewResult::LeaseLost => Some(Reason::LeaseLost),
                    pb::RenewResult::Invalidated => Some(Reason::Invalidated),
                    pb::RenewResult::Superseded => Some(Reason::Superseded),
                    pb::RenewResult::Unspecified | pb::RenewResult::Renewed => None,
                };
                if reason.is_some() {
                    *lost.lock() = reason;
                    return;
                }
                expires_in = from_wire(answer.expires_in).unwrap_or(expires_in);
            }
            Err(error) if error.is_closed() => return,
            // The lease may still be held: the next renewal, or the fill, finds out.
            Err(_) => {}
        }
    }
}

/// The result of a fill that the server has answered.
pub(crate) fn filled(scope: &Scope, answer: pb::SetResponse) -> Write {
    let write = write_result(answer);
    if !write.is_stored() {
        scope.count.fills_refused.add();
    }
    write
}

/// The result of a fill that has deleted its entry.
pub(crate) fn expired(scope: &Scope) -> Write {
    scope.count.fills_refused.add();
    Write::refused(Reason::Expired)
}

/// The result of a fill that has failed, by an outage or a mistake: the loader's value is still the
/// caller's.
pub(crate) fn unfilled(scope: &Scope, error: Error) -> Write {
    scope.count.fills_refused.add();
    if error.is_outage() {
        scope.count.fail_open.add();
        return Write::away(Reason::Unavailable, Some(Failure::Call(error)));
    }
    let error = Some(Failure::Call(error));
    Write::NotStored { reason: Reason::NotStored, degraded: false, error }
}
