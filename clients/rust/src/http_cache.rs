//! The store of the crate `http-cache`, with the feature `http-cache`.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_cache::{CacheManager, HttpResponse};
// That crate has a release of its own.
use http_cache_policy::CachePolicy;

use crate::{Client, Error, Namespace, NearCache, WriteOptions};

const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Keeps the answers that an HTTP client has received, shared by all processes:
/// `HttpCache { manager: LarderManager::new(&client), .. }` of `http-cache` and of its middleware.
///
/// Answers that are no longer fresh are kept for a day, so that they can be revalidated. Without
/// the cache each request goes to its server: no request fails because of the cache. A failed
/// `delete` is an error, because the old answer stays.
#[derive(Clone, Debug)]
pub struct LarderManager {
    client: Client,
    handle: Namespace<Bytes>,
    keep: Duration,
}

type Answer = (HttpResponse, CachePolicy);

impl LarderManager {
    /// A store in the namespace `http-cache`.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let handle = client.namespace("http-cache").on_error(crate::OnError::Open);
        Self { client: client.clone(), handle, keep: KEPT }
    }

    /// The namespace of Larder. Set it before [`near_cache`](Self::near_cache).
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.handle = self.client.namespace(name).on_error(crate::OnError::Open);
        self
    }

    /// How long an answer that is not fresh is kept for its revalidation: a day.
    #[must_use]
    pub const fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Keeps answers in this process, too.
    #[must_use]
    pub fn near_cache(mut self, bounds: NearCache) -> Self {
        self.handle = self.handle.near_cache(bounds);
        self
    }

    /// Removes all answers.
    ///
    /// # Errors
    ///
    /// The store did not apply it; the call can be repeated.
    pub async fn clear(&self) -> Result<(), Error> {
        self.handle.invalidate_namespace().await.map(|_| ())
    }
}

/// The length of the head in 4 bytes, the head as JSON, and the body.
fn written(answer: &mut HttpResponse, policy: &CachePolicy) -> Option<Bytes> {
    let body = std::mem::take(&mut answer.body);
    let head = serde_json::to_vec(&(&*answer, policy)).ok();
    let bytes = head.and_then(|head| {
        let mut bytes = BytesMut::with_capacity(4 + head.len() + body.len());
        bytes.put_u32(head.len().try_into().ok()?);
        bytes.put_slice(&head);
        bytes.put_slice(&body);
        Some(bytes.freeze())
    });
    answer.body = body;
    bytes
}

fn read(bytes: &[u8]) -> Option<Answer> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(4)?;
    let (mut answer, policy): Answer = serde_json::from_slice(bytes.get(4..end)?).ok()?;
    answer.body = bytes.get(end..)?.to_vec();
    Some((answer, policy))
}

#[async_trait]
impl CacheManager for LarderManager {
    async fn get(&self, cache_key: &str) -> http_cache::Result<Option<Answer>> {
        match self.handle.get(cache_key).await {
            Ok(found) => Ok(found.value.and_then(|bytes| read(&bytes))),
            Err(error) => {
                tracing::warn!("an answer is not read from the cache: {error}");
                Ok(None)
            }
        }
    }

    async fn put(
        &self,
        cache_key: String,
        mut res: HttpResponse,
        policy: CachePolicy,
    ) -> http_cache::Result<HttpResponse> {
        let fresh = policy.time_to_live(SystemTime::now());
        let options = WriteOptions::default().ttl(fresh.saturating_add(self.keep));
        let stored = match written(&mut res, &policy) {
            Some(bytes) => self.handle.set_with(cache_key, &bytes, &options).await.map(|_| ()),
            None => Ok(()),
        };
        if let Err(error) = stored {
            tracing::warn!("an answer is not stored: {error}");
        }
        Ok(res)
    }

    async fn delete(&self, cache_key: &str) -> http_cache::Result<()> {
        self.handle.delete(cache_key).await.map(|_| ()).map_err(Into::into)
    }
}
