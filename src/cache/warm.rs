//! Warming: fetches entries before callers ask for them.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use futures_util::{StreamExt as _, stream};
use governor::{Quota, RateLimiter};

use super::{
    Cache, Consistency, Error, FetchMode, FetchStatus, FillOutcome, GetOrFetchOutcome,
    GetOrFetchRequest, NamespaceContext, get_or_fetch::FetchContext, namespaces::OriginBinding,
    policy,
};
use crate::{
    config::WarmConfig,
    model::{EntryKey, Namespace},
};

/// Keys to fetch, and how fast.
#[derive(Debug, Clone)]
pub struct WarmPlan {
    /// The namespace of the keys.
    pub namespace: Namespace,
    /// The keys, with their params.
    pub keys: Vec<(EntryKey, BTreeMap<String, String>)>,
    /// Whether fresh entries are fetched as well.
    pub refresh: bool,
    /// Fetches per second.
    pub rate: NonZeroU32,
}

/// Progress of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmProgress {
    /// Finished keys.
    pub done: u64,
    /// Of these, fetched and stored.
    pub stored: u64,
    /// Of these, fresh already, or fetched for another call.
    pub fresh: u64,
    /// Of these, fetched and not stored.
    pub not_stored: u64,
    /// Of these, not fetched.
    pub failed: u64,
    /// The last failure; empty if there was none.
    pub last_error: String,
}

/// Outcome for one key.
enum Warmed {
    Stored,
    Fresh,
    NotStored,
    Failed(String),
}

impl Cache {
    /// The warm list of a namespace: keys, the file with more of them, and fetches per second.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::NoOrigin`].
    pub fn warm_config(&self, namespace: &Namespace) -> Result<WarmConfig, Error> {
        let context = self.context(namespace)?;
        let origin =
            context.rules.origin.as_ref().ok_or_else(|| Error::NoOrigin(namespace.clone()))?;
        Ok(origin.config.warm.clone())
    }

    /// Fetches the keys of the plan that are not fresh, at the plan's rate and with at most half of
    /// the origin's concurrent fetches. `report` is called after each key. When the future is
    /// dropped, no more fetches begin.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::NoOrigin`], [`Error::ShuttingDown`].
    pub async fn warm(
        &self,
        plan: WarmPlan,
        mut report: impl FnMut(&WarmProgress),
    ) -> Result<(), Error> {
        let context = self.context(&plan.namespace)?;
        let origin =
            context.rules.origin.as_ref().ok_or_else(|| Error::NoOrigin(plan.namespace.clone()))?;
        let limiter =
            RateLimiter::direct(Quota::per_second(plan.rate).allow_burst(NonZeroU32::MIN));
        let at_once = usize::try_from(origin.config.max_concurrency / 2).unwrap_or(1).max(1);
        let mut progress = WarmProgress::default();
        let warming = stream::iter(plan.keys).map(|(key, params)| {
            let (context, limiter) = (&context, &limiter);
            async move {
                let key = context.key(&key).into_owned();
                if !plan.refresh && self.is_fresh(context, &key).await {
                    return Warmed::Fresh;
                }
                limiter.until_ready().await;
                let mode = if plan.refresh { FetchMode::NoCache } else { FetchMode::Normal };
                self.warm_one(context, &request(origin, key, params, mode)).await
            }
        });
        let mut warming = std::pin::pin!(warming.buffer_unordered(at_once));
        while let Some(warmed) =
            self.closing.run_until_cancelled(warming.next()).await.ok_or(Error::ShuttingDown)?
        {
            progress.done += 1;
            match warmed {
                Warmed::Stored => progress.stored += 1,
                Warmed::Fresh => progress.fresh += 1,
                Warmed::NotStored => progress.not_stored += 1,
                Warmed::Failed(error) => {
                    progress.failed += 1;
                    progress.last_error = error;
                }
            }
            report(&progress);
        }
        Ok(())
    }

    async fn is_fresh(&self, context: &NamespaceContext, key: &EntryKey) -> bool {
        let stored = self.store.get(key).await.ok().flatten();
        let verdict = stored.map(|entry| context.rules.evaluate(&entry, self.store.now(), None));
        matches!(verdict, Some(policy::Verdict::Fresh | policy::Verdict::Negative))
    }

    async fn warm_one(&self, context: &NamespaceContext, request: &GetOrFetchRequest) -> Warmed {
        match FetchContext::read(self, context, request).await.compute().await {
            Err(error) => Warmed::Failed(error.to_string()),
            Ok(fetched) => match (fetched.outcome, fetched.status, fetched.fill) {
                (_, FetchStatus::Failed(cause), _) => Warmed::Failed(cause.unwrap_or_default()),
                (GetOrFetchOutcome::Found(_), _, Some(FillOutcome::Stored)) => Warmed::Stored,
                (GetOrFetchOutcome::Found(_), _, Some(_)) => Warmed::NotStored,
                (GetOrFetchOutcome::Found(_), _, None) => Warmed::Fresh,
                (
                    GetOrFetchOutcome::Contended { .. }
                    | GetOrFetchOutcome::NotCached
                    | GetOrFetchOutcome::Lease(_),
                    _,
                    _,
                ) => Warmed::Failed(format!(
                    "no answer within {:?} (origin.timeout)",
                    request.wait.unwrap_or_default()
                )),
            },
        }
    }
}

/// A request that waits for the value.
fn request(
    origin: &OriginBinding,
    key: EntryKey,
    params: BTreeMap<String, String>,
    mode: FetchMode,
) -> GetOrFetchRequest {
    GetOrFetchRequest {
        key,
        params: Arc::new(params),
        max_stale: Some(std::time::Duration::ZERO),
        wait: Some(origin.config.timeout),
        deadline: None,
        mode,
        consistency: Consistency::Store,
    }
}

#[cfg(test)]
mod tests;
