//! Lets the service make an answer, and decides whether it is cached.

use super::{reading::Waiting, *};
use crate::checks;

/// A request whose answer the service makes.
struct Asking<'a, E> {
    lookup: &'a Lookup,
    /// The headers in the key of the lease.
    names: &'a [HeaderName],
    waiting: Waiting<E>,
}

impl Engine {
    /// Lets the service answer. An answer that is not cached is sent as it is, to its request only.
    pub(super) async fn load<S, Q, B>(
        &self,
        lookup: &Lookup,
        names: &[HeaderName],
        turn: &Turn<S, Q>,
        waiting: Waiting<S::Error>,
    ) -> Result<Loaded<Entry>, ServiceFailed>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let taken = turn.lock().take();
        let Some((mut service, mut request)) = taken else { return Err(ServiceFailed) };
        // The service makes the whole answer, which the cache turns into a 304.
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            request.headers_mut().remove(name);
        }
        let answer = match service.call(request).await {
            Ok(answer) => answer,
            Err(error) => {
                // A request that has gone does not want it.
                let _ = waiting.live.send(Err(error));
                return Err(ServiceFailed);
            }
        };
        let asking = Asking { lookup, names, waiting };
        let (parts, body) = answer.into_parts();
        let length = content_length(&parts.headers);
        let is_large = length.is_some_and(|length| length > self.options.max_body as u64);
        let fresh = self.fresh_for(lookup, &parts).filter(|_| !is_large);
        let Some(ttl) = fresh else { return Ok(self.passed(asking, parts, boxed(body))) };
        Ok(match collect(body, self.options.max_body, JOINED).await {
            Collected::Whole(body) if length.is_none_or(|own| own == body.len() as u64) => {
                self.stored(asking, parts, body, ttl).await
            }
            Collected::Whole(body) => self.passed(asking, parts, full(body)),
            Collected::Passing(body) => self.passed(asking, parts, body),
        })
    }

    fn fresh_for(&self, lookup: &Lookup, parts: &response::Parts) -> Option<Duration> {
        if !self.options.statuses.contains(&parts.status) {
            return None;
        }
        let ttl = self.options.ttl.as_ref().and_then(|ttl| ttl(&lookup.parts, parts));
        let mut headers = parts.headers.clone();
        dated(&mut headers);
        fresh_for(&lookup.parts.headers, parts.status, &headers, lookup.shared, ttl)
    }

    /// An answer that is not cached: requests of its URL do not wait for each other for a while.
    fn passed<E>(
        &self,
        asking: Asking<'_, E>,
        mut parts: response::Parts,
        body: CacheBody,
    ) -> Loaded<Entry> {
        let Asking { lookup, names, waiting } = asking;
        let is_failed = parts.status.is_server_error();
        let ttl = if is_failed { FAILED_PASS.min(self.options.pass) } else { self.options.pass };
        self.mark(&mut parts.headers, "MISS", lookup, names);
        let _ = waiting.live.send(Ok(Response::from_parts(parts, body)));
        Loaded::new(Entry::Pass).ttl(ttl)
    }

    async fn stored<E>(
        &self,
        asking: Asking<'_, E>,
        parts: response::Parts,
        body: Bytes,
        ttl: Duration,
    ) -> Loaded<Entry> {
        let given = self.options.tags.as_ref().map(|tags| tags(&asking.lookup.parts, &parts));
        let tags: Vec<_> =
            given.into_iter().flatten().chain([path_tag(&asking.lookup.path)]).collect();
        let mut headers = storable_headers(&parts.headers);
        for name in OWN {
            headers.remove(name);
        }
        if !headers.contains_key(ETAG) {
            headers.extend(entity_tag(&body).map(|tag| (ETAG, tag)));
        }
        let wrong = checks::tags(&tags).err().map(|error| error.to_string());
        let wrong =
            wrong.or_else(|| (!is_text(&headers)).then(|| "a header is no text".to_owned()));
        if let Some(wrong) = wrong {
            self.warn(&asking.lookup.path, &wrong);
            return self.passed(asking, parts, full(body));
        }
        let Asking { lookup, names, waiting } = asking;
        let stored = Stored { status: parts.status, headers, body };
        let needed = vary_names(&parts.headers).unwrap_or_default();
        if needed.iter().all(|name| names.contains(name)) {
            *waiting.made.lock() = Some(stored.clone());
            return Loaded::new(Entry::Answer(stored)).ttl(ttl).tags(tags);
        }
        // The lease is for another entry than this variant: the next request makes it again.
        let all = merged(names, &needed);
        let primary = self.primary(lookup);
        self.remembered.lock().insert(primary.clone(), all.clone());
        let _ = waiting.live.send(Ok(self.serve(lookup, &all, &stored, &unstored())));
        let record = Entry::Vary(all);
        if lookup.variant(names) == primary {
            return Loaded::new(record).ttl(Ttl::FOREVER);
        }
        let options = WriteOptions::default().ttl(Ttl::FOREVER);
        if let Err(error) = self.handle.set_with(primary, &record, &options).await {
            tracing::warn!("the variants of an answer are not stored: {error}");
        }
        Loaded::new(record).unstored()
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
