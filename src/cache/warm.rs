//! Fetching entries before anybody asks for them.

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

/// What is to be warmed.
#[derive(Debug, Clone)]
pub struct WarmPlan {
    /// Their namespace.
    pub namespace: Namespace,
    /// The entries, with the params of their keys.
    pub keys: Vec<(EntryKey, BTreeMap<String, String>)>,
    /// Whether fresh entries are fetched too.
    pub refresh: bool,
    /// Fetches per second.
    pub rate: NonZeroU32,
}

/// How far the warming is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WarmProgress {
    /// Keys that are done.
    pub done: u64,
    /// Of these, fetched and stored.
    pub stored: u64,
    /// Of these, fresh already, or fetched by somebody else.
    pub fresh: u64,
    /// Of these, fetched and not stored.
    pub not_stored: u64,
    /// Of these, not fetched.
    pub failed: u64,
    /// What the last failure was.
    pub last_error: String,
}

/// What became of one entry.
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

    /// Fetches what is not fresh, at the plan's rate and with at most half of the fetches that the origin takes at once. `report`
    /// is told after each entry. Dropped, it begins no more fetches.
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
                if !plan.refresh && self.is_fresh(&key).await {
                    return Warmed::Fresh;
                }
                limiter.until_ready().await;
                self.warm_one(context, origin, key, params, plan.refresh).await
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

    async fn is_fresh(&self, key: &EntryKey) -> bool {
        let stored = self.store.get(key).await.ok().flatten();
        let verdict = stored.map(|entry| policy::evaluate(&entry, self.store.now(), None));
        matches!(verdict, Some(policy::Verdict::Fresh | policy::Verdict::Negative))
    }

    async fn warm_one(
        &self,
        context: &NamespaceContext,
        origin: &OriginBinding,
        key: EntryKey,
        params: BTreeMap<String, String>,
        refresh: bool,
    ) -> Warmed {
        let request = GetOrFetchRequest {
            key,
            params: Arc::new(params),
            max_stale: Some(std::time::Duration::ZERO),
            wait: Some(origin.config.timeout),
            deadline: None,
            mode: if refresh { FetchMode::NoCache } else { FetchMode::Normal },
            consistency: Consistency::Store,
        };
        match FetchContext::read(self, context, &request).await.compute().await {
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
                ) => Warmed::Failed(format!("no answer within {:?}", origin.config.timeout)),
            },
        }
    }
}
