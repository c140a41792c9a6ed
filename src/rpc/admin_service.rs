//! The operators' service.

use std::{num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{convert, deadline, status};
use crate::{
    cache::{Cache, WarmPlan, WarmProgress},
    model::{Namespace, Violation},
    pb::v1::{self as pb, admin_service_server::AdminService},
    warm_list,
};

/// Most keys that one call names.
const MAX_WARM_KEYS: usize = 10_000;
/// Most fetches per second.
const MAX_WARM_RATE: u32 = 100_000;
/// Calls at once.
const MAX_WARMINGS: usize = 4;
/// Between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Implements `larder.v1.AdminService`.
pub struct AdminRpc {
    cache: Arc<Cache>,
    warmings: Arc<Semaphore>,
}

impl AdminRpc {
    /// Serves `cache`.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, warmings: Arc::new(Semaphore::new(MAX_WARMINGS)) }
    }

    async fn plan(&self, request: pb::WarmRequest) -> Result<WarmPlan, Status> {
        let namespace = Namespace::new(&request.namespace)?;
        let config = self.cache.warm_config(&namespace)?;
        if request.rate > MAX_WARM_RATE {
            let description = format!("is {}, the limit is {MAX_WARM_RATE}", request.rate);
            return Err(Violation::over_limit("rate", description, MAX_WARM_RATE as usize).into());
        }
        let mut plan = if request.keys.is_empty() {
            warm_list::read(namespace, config)
                .await
                .map_err(|error| status::warm_list_unreadable(&error))?
        } else {
            convert::batch_size("keys", request.keys.len(), MAX_WARM_KEYS)
                .map_err(status::batch_size)?;
            let rate = NonZeroU32::new(config.rate).unwrap_or(NonZeroU32::MIN);
            let named = request.keys.into_iter().enumerate().map(|(place, named)| {
                let key = convert::key(namespace.as_str(), &named.key, &named.params);
                let key = key.map_err(|violation| violation.within(&format!("keys[{place}].")))?;
                Ok((key, named.params))
            });
            let keys = named.collect::<Result<_, Violation>>()?;
            WarmPlan { namespace, keys, refresh: false, rate }
        };
        plan.refresh = request.refresh;
        plan.rate = NonZeroU32::new(request.rate).unwrap_or(plan.rate);
        Ok(plan)
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    type WarmStream = Pin<Box<dyn Stream<Item = Result<pb::WarmResponse, Status>> + Send>>;

    async fn warm(
        &self,
        request: Request<pb::WarmRequest>,
    ) -> Result<Response<Self::WarmStream>, Status> {
        let deadline = deadline::of(request.metadata().as_ref());
        let permit = self
            .warmings
            .clone()
            .try_acquire_owned()
            .map_err(|_| status::overloaded(MAX_WARMINGS))?;
        let plan = self.plan(request.into_inner()).await?;
        let (tell, told) = mpsc::channel(1);
        let cache = self.cache.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let work = async {
                tokio::select! {
                    outcome = warm(cache, plan, &tell) => outcome,
                    () = tell.closed() => Ok(()),
                }
            };
            let outcome = match deadline {
                None => work.await,
                Some(deadline) => {
                    let late = |_| Err(status::deadline_exceeded());
                    tokio::time::timeout_at(deadline, work).await.unwrap_or_else(late)
                }
            };
            if let Err(status) = outcome {
                // Nobody to tell is nothing to do.
                let _ = tell.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(told).boxed()))
    }
}

async fn warm(
    cache: Arc<Cache>,
    plan: WarmPlan,
    tell: &mpsc::Sender<Result<pb::WarmResponse, Status>>,
) -> Result<(), Status> {
    let (started, total) = (Instant::now(), plan.keys.len() as u64);
    let (mut last, mut reported) = (WarmProgress::default(), started);
    let warmed = cache.warm(plan, |progress| {
        last.clone_from(progress);
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            // A caller who reads slowly gets fewer reports.
            let _ = tell.try_send(Ok(response(progress, total, started)));
        }
    });
    warmed.await?;
    let _ = tell.send(Ok(response(&last, total, started))).await;
    Ok(())
}

fn response(progress: &WarmProgress, total: u64, started: Instant) -> pb::WarmResponse {
    let WarmProgress { done, stored, fresh, not_stored, failed, last_error } = progress.clone();
    let took = Some(convert::duration(started.elapsed()));
    pb::WarmResponse { total, done, stored, fresh, not_stored, failed, last_error, took }
}
