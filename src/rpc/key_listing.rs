//! ListKeys and CountKeys, which callers and operators share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;

use super::{access::Access, convert, load_limits::LoadLimits, overload::Overload, status};
use crate::{cache::Directory, model::Namespace, pb::v1 as pb};

/// Most listings at once in a replica.
const MAX_LISTINGS: usize = 8;
/// Time for which further ones wait.
const QUEUE_TIME: Duration = Duration::from_secs(1);

/// Lists keys, at a bounded rate.
pub struct KeyListing {
    directory: Arc<Directory>,
    queue: ListingQueue,
    limits: Arc<LoadLimits>,
}

/// Bounds the listings that run at once.
struct ListingQueue(Semaphore);

/// A page of keys with the token of the next one.
pub(super) type ListedPage = (Vec<pb::ListedKey>, String);

impl KeyListing {
    /// Lists the keys of `directory`.
    pub fn new(directory: Arc<Directory>, limits: Arc<LoadLimits>) -> Self {
        Self { directory, queue: ListingQueue(Semaphore::new(MAX_LISTINGS)), limits }
    }

    pub(super) async fn list(
        &self,
        request: &pb::ListKeysRequest,
        access: &Access,
    ) -> Result<ListedPage, Status> {
        let query = convert::key_query(&request.namespace, &request.glob, &request.page_token)?;
        access.check_query(&query)?;
        let size = convert::key_page_size(request.page_size);
        let _permit = self.begin().await?;
        let (keys, next) = self.directory.list_keys(query, size).await?;
        Ok((keys.iter().map(convert::listed_key).collect(), convert::key_page_token(next)))
    }

    pub(super) async fn count(
        &self,
        request: &pb::CountKeysRequest,
        access: &Access,
    ) -> Result<pb::CountKeysResponse, Status> {
        let query = convert::key_query(&request.namespace, &request.glob, &request.page_token)?;
        access.check_query(&query)?;
        let _permit = self.begin().await?;
        let (count, next) = self.directory.count_keys(query).await?;
        let next_page_token = convert::key_page_token(next);
        Ok(pb::CountKeysResponse { count: count as u64, next_page_token })
    }
}

impl KeyListing {
    pub(super) async fn distributions(
        &self,
        request: &pb::DistributionsRequest,
        access: &Access,
    ) -> Result<pb::DistributionsResponse, Status> {
        let namespace = Namespace::new(&request.namespace)?;
        access.check_namespace(&namespace)?;
        let size = convert::sample_size(request.sample_size);
        let _permit = self.begin().await?;
        let found = self.directory.distributions(namespace, size).await?;
        Ok(convert::distributions_response(&found))
    }
}

impl KeyListing {
    async fn begin(&self) -> Result<SemaphorePermit<'_>, Status> {
        let permit = self.queue.begin().await;
        permit.ok_or_else(|| {
            self.limits.record_rejection(Overload::Listings);
            status::overloaded_by(Overload::Listings, Some(MAX_LISTINGS))
        })
    }

    /// All namespaces that requests may use.
    pub(super) async fn namespaces(&self) -> Result<Vec<Namespace>, Status> {
        let _permit = self.begin().await?;
        Ok(self.directory.all_namespaces().await?)
    }
}

impl ListingQueue {
    /// Waits for a place, if there is one in time.
    async fn begin(&self) -> Option<SemaphorePermit<'_>> {
        let permit = tokio::time::timeout(QUEUE_TIME, self.0.acquire()).await;
        permit.ok().and_then(Result::ok)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn listings_beyond_the_limit_wait_for_a_while() {
        let queue = ListingQueue(Semaphore::new(MAX_LISTINGS));
        let mut running = Vec::new();
        for _ in 0..MAX_LISTINGS {
            running.push(queue.begin().await.unwrap());
        }
        assert!(queue.begin().await.is_none());
        let ended = async { drop(running.pop()) };
        let (begun, ()) = tokio::join!(queue.begin(), ended);
        assert!(begun.is_some());
    }
}
