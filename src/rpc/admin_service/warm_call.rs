//! Warm: fetches entries in the background of its call.

use std::{num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{AdminRpc, MAX_WARM_CALLS};
use crate::{
    cache::{Cache, WarmPlan, WarmProgress},
    config::WarmConfig,
    model::{Namespace, Violation},
    pb::{from_duration, v1 as pb},
    rpc::{
        access::Access, audit_trail::AuditTrail, convert, deadline, overload::Overload,
        schema::Schema, status,
    },
    warm_list,
};

/// Most keys in one Warm.
const MAX_WARM_KEYS: usize = 10_000;
/// Highest rate of a Warm, in fetches per second.
const MAX_WARM_RATE: u32 = 100_000;
/// Time between two progress reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Reports of the progress of a Warm.
pub(super) type WarmStream = Pin<Box<dyn Stream<Item = Result<pb::WarmResponse, Status>> + Send>>;

type WarmSender = mpsc::Sender<Result<pb::WarmResponse, Status>>;

impl AdminRpc {
    pub(super) async fn serve_warm(
        &self,
        request: Request<pb::WarmRequest>,
    ) -> Result<Response<WarmStream>, Status> {
        let deadline = deadline::of(request.metadata().as_ref())?;
        let permit = self.warm_calls.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            self.limits.record_rejection(Overload::WarmCalls);
            status::overloaded_by(Overload::WarmCalls, Some(MAX_WARM_CALLS))
        })?;
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let trail = AuditTrail::of(&request);
        let mut plan = self.plan(request.into_inner(), &access).await?;
        trail.namespace(&plan.namespace);
        trail.keys(plan.keys.iter().map(|(key, _)| key));
        plan.keys.iter_mut().for_each(|(key, _)| schema.apply(key));
        let (sender, responses) = mpsc::channel(1);
        let cache = self.cache.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let work = async {
                tokio::select! {
                    outcome = warm(cache, plan, &sender, &trail) => outcome,
                    () = sender.closed() => Ok(()),
                }
            };
            if let Err(status) = deadline::within(deadline, work).await.unwrap_or_else(Err) {
                // Sending fails only if the client has disconnected.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(responses).boxed()))
    }

    /// The keys of the request, or those of the namespace's warm list.
    async fn plan(&self, request: pb::WarmRequest, access: &Access) -> Result<WarmPlan, Status> {
        let namespace = Namespace::new(&request.namespace)?;
        access.check_namespace(&namespace)?;
        let config = self.cache.warm_config(&namespace)?;
        if request.rate > MAX_WARM_RATE {
            let description = format!("is {}, the limit is {MAX_WARM_RATE}", request.rate);
            return Err(Violation::over_limit("rate", description, MAX_WARM_RATE as usize).into());
        }
        let mut plan = if request.keys.is_empty() && config.keys.is_empty() && config.file.is_none()
        {
            return Err(status::no_warm_list(&namespace));
        } else if request.keys.is_empty() {
            warm_list::read(namespace, config)
                .await
                .map_err(|error| status::warm_list_unreadable(&error))?
        } else {
            convert::check_batch_size("keys", request.keys.len(), MAX_WARM_KEYS, None)
                .map_err(status::batch_size)?;
            plan_of_keys(namespace, request.keys, &config)?
        };
        if let Some(quota) = access.quota() {
            quota.charge_keys(&plan.namespace, plan.keys.len().saturating_sub(1) as u64);
        }
        plan.refresh = request.refresh;
        plan.rate = NonZeroU32::new(request.rate).unwrap_or(plan.rate);
        Ok(plan)
    }
}

fn plan_of_keys(
    namespace: Namespace,
    keys: Vec<pb::WarmKey>,
    config: &WarmConfig,
) -> Result<WarmPlan, Violation> {
    let keys = keys.into_iter().enumerate().map(|(index, warm_key)| {
        let key = convert::entry_key(namespace.as_str(), &warm_key.key, &warm_key.params);
        let key = key.map_err(|violation| violation.within(&format!("keys[{index}].")))?;
        Ok((key, warm_key.params))
    });
    let keys = keys.collect::<Result<_, Violation>>()?;
    let rate = NonZeroU32::new(config.rate).unwrap_or(NonZeroU32::MIN);
    Ok(WarmPlan { namespace, keys, refresh: false, rate })
}

async fn warm(
    cache: Arc<Cache>,
    plan: WarmPlan,
    sender: &WarmSender,
    trail: &AuditTrail,
) -> Result<(), Status> {
    let (started, total) = (Instant::now(), plan.keys.len() as u64);
    let (mut last, mut reported) = (WarmProgress::default(), started);
    let warmed = cache.warm(plan, |progress| {
        last.clone_from(progress);
        trail.counts(|| counts(progress));
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            // A client that reads slowly receives fewer reports.
            let _ = sender.try_send(Ok(response(progress, total, started)));
        }
    });
    warmed.await?;
    let _ = sender.send(Ok(response(&last, total, started))).await;
    Ok(())
}

fn counts(progress: &WarmProgress) -> Vec<(&'static str, u64)> {
    let &WarmProgress { done, stored, fresh, not_stored, failed, .. } = progress;
    let results = [("stored", stored), ("fresh", fresh), ("not_stored", not_stored)];
    [("done", done)].into_iter().chain(results).chain([("failed", failed)]).collect()
}

fn response(progress: &WarmProgress, total: u64, started: Instant) -> pb::WarmResponse {
    let WarmProgress { done, stored, fresh, not_stored, failed, last_error } = progress.clone();
    let took = Some(from_duration(started.elapsed()));
    pb::WarmResponse { total, done, stored, fresh, not_stored, failed, last_error, took }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan(keys: &[&str]) -> Result<WarmPlan, Violation> {
        let key = |key: &&str| pb::WarmKey { key: (*key).to_owned(), params: BTreeMap::new() };
        let config = WarmConfig { rate: 7, ..WarmConfig::default() };
        plan_of_keys(Namespace::new("ns").unwrap(), keys.iter().map(key).collect(), &config)
    }

    #[test]
    fn plan_has_the_keys_of_the_request_and_the_rate_of_the_warm_list() {
        let plan = plan(&["a", "b"]).unwrap();
        assert_eq!((plan.keys.len(), plan.rate.get(), plan.refresh), (2, 7, false));
    }

    #[test]
    fn violation_of_a_warm_key_names_the_index() {
        assert_eq!(plan(&["a", ""]).unwrap_err().field(), "keys[1].key");
    }
}
