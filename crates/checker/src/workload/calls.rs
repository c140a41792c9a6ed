//! The calls of a client.

use larder::pb::v1::{
    AbandonRequest, BatchDeleteRequest, BatchGetRequest, BatchSetRequest, Consistency,
    DeleteRequest, GetOrFetchRequest, GetRequest, IncrementRequest, InvalidateNamespaceRequest,
    Lease, TouchRequest, get_or_fetch_response::Outcome as Fetched, set_request,
};
use rand::RngExt as _;

use super::*;

impl Client {
    pub(super) async fn get(&mut self, key: Key) {
        let from_store = self.random.random_ratio(1, 5);
        let consistency = if from_store { Consistency::Store } else { Consistency::Unspecified };
        let request = GetRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            consistency: consistency.into(),
            ..GetRequest::default()
        };
        let called = self.call(async |cache| cache.get(limited(request.clone())).await).await;
        let kind = if from_store { ReadKind::GetFromStore } else { ReadKind::Get };
        if let Ok(response) = &called.result
            && let Some(entry) = &response.entry
            && key.round() == self.round
        {
            self.versions.insert(key, entry.version.clone());
        }
        self.record_called(&called, Call::Read { key, kind }, |response| {
            let (value, entry) = (response.value.as_ref(), response.entry.as_ref());
            convert::read_answer(response.outcome(), value, entry, response.degraded, false)
        });
    }

    /// Keys from this one on.
    fn keys(&mut self, first: Key) -> Vec<Key> {
        let count = self.random.random_range(3..12);
        let begin = first.number - first.number % KEYS_OF_ROUND;
        let other = match first.namespace {
            SHOP => SHOP_EU,
            namespace => namespace,
        };
        (0..count)
            .map(|step| {
                let number = begin + (first.number + step) % KEYS_OF_ROUND;
                let namespace = if step % 4 == 3 { other } else { first.namespace };
                Key { namespace, number }
            })
            .collect()
    }

    pub(super) async fn batch_get(&mut self, first: Key) {
        let keys = self.keys(first);
        let request = BatchGetRequest {
            keys: keys.iter().copied().map(convert::key_ref).collect(),
            ..BatchGetRequest::default()
        };
        let called = self.call(async |cache| {
            let mut stream = cache.rpc().batch_get(limited(request.clone())).await?.into_inner();
            let mut chunks = Vec::new();
            while let Some(chunk) = stream.message().await? {
                chunks.push(chunk);
            }
            Ok(chunks)
        });
        let called = called.await;
        let answers: Vec<Answer> = match &called.result {
            Ok(chunks) => chunks
                .iter()
                .flat_map(|chunk| chunk.results.iter().map(move |result| (chunk.degraded, result)))
                .map(|(degraded, result)| {
                    let (value, entry) = (result.value.as_ref(), result.entry.as_ref());
                    convert::read_answer(result.outcome(), value, entry, degraded, false)
                })
                .collect(),
            Err(status) => vec![Answer::Failed(convert::failure(status)); keys.len()],
        };
        assert_eq!(answers.len(), keys.len(), "a batch has a result for each key");
        for (key, answer) in keys.into_iter().zip(answers) {
            let call = Call::Read { key, kind: ReadKind::Batch };
            self.record(called.replica, called.began, call, answer);
        }
    }

    pub(super) async fn set(
        &mut self,
        key: Key,
        ttl_millis: u64,
        condition: Condition,
        pb_condition: Option<set_request::Condition>,
    ) {
        let (write, ttl) = (self.write_id(), ttl_millis * 1000);
        let tags = self.tags(key);
        let request = convert::set_request(key, write, ttl, tags, pb_condition);
        let called = self.call(async |cache| cache.set(limited(request.clone())).await).await;
        let call = Call::Write { key, write, ttl, tags, condition };
        self.record_called(&called, call, convert::set_answer);
    }

    fn tags(&mut self, key: Key) -> u8 {
        if key.namespace == KEEP {
            return 0;
        }
        [0, 1 << self.random.random_range(0..TAGS), 1 << self.random.random_range(0..TAGS)]
            .into_iter()
            .fold(0, |tags, tag| tags | tag)
    }

    pub(super) async fn set_version(&mut self, key: Key) {
        // If that of this key is not known, that of another one of its namespace.
        let [first, last] = [0, u32::MAX].map(|number| Key { number, ..key });
        let mut known = self.versions.range(key..=last).chain(self.versions.range(first..key));
        let known = known.next();
        let Some((key, seen)) = known.map(|(key, seen)| (*key, seen.clone())) else {
            return self.get(key).await;
        };
        let condition = Condition::IfVersion(convert::version(&seen));
        let ttl = self.ttl();
        self.set(key, ttl, condition, Some(set_request::Condition::IfVersion(seen))).await;
    }

    pub(super) async fn batch_set(&mut self, first: Key) {
        let ttl = self.ttl() * 1000;
        let keys: Vec<Key> = self.keys(first);
        let writes: Vec<(Key, WriteId, u8)> =
            keys.into_iter().map(|key| (key, self.write_id(), self.tags(key))).collect();
        let items = writes
            .iter()
            .map(|(key, write, tags)| convert::set_request(*key, *write, ttl, *tags, None));
        let request = BatchSetRequest { items: items.collect() };
        let called = self.call(async |cache| cache.batch_set(limited(request.clone())).await).await;
        for (position, (key, write, tags)) in writes.into_iter().enumerate() {
            let call = Call::Write { key, write, ttl, tags, condition: Condition::Always };
            self.record_called(&called, call, |response| {
                convert::set_answer(&response.results[position])
            });
        }
    }

    pub(super) async fn get_or_fetch(&mut self, key: Key) {
        let wait = self.random.random_range(0..4) * 40_000;
        let request = GetOrFetchRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            wait: convert::duration(wait),
            ..GetOrFetchRequest::default()
        };
        let called =
            self.call(async |cache| cache.get_or_fetch(limited(request.clone())).await).await;
        let call = Call::Read { key, kind: ReadKind::GetOrFetch };
        self.record_called(&called, call, convert::fetched);
        let Ok(response) = called.result else { return };
        let Some(Fetched::Lease(lease)) = response.outcome else { return };
        let expires_in = convert::micros(lease.expires_in);
        match self.random.random_range(0..20) {
            0 => self.abandon(key, &lease).await,
            1 => {}
            // A fill that comes too late.
            2 => self.held.push((key, lease, clock::now() + expires_in + 60_000)),
            3..10 => {
                let delay = self.random.random_range(0..expires_in.max(1));
                self.held.push((key, lease, clock::now() + delay));
            }
            // A lease that is used twice.
            10 => {
                self.fill(key, lease.clone()).await;
                self.fill(key, lease).await;
            }
            _ => self.fill(key, lease).await,
        }
    }

    pub(super) async fn fill(&mut self, key: Key, lease: Lease) {
        let (write, ttl) = (self.write_id(), self.ttl() * 1000);
        let tags = self.tags(key);
        let mut request = convert::set_request(key, write, ttl, tags, None);
        let condition = Condition::Lease(convert::hash(&lease.token));
        request.lease_token = lease.token;
        let called = self.call(async |cache| cache.set(limited(request.clone())).await).await;
        let call = Call::Write { key, write, ttl, tags, condition };
        self.record_called(&called, call, convert::set_answer);
    }

    pub(super) async fn abandon(&mut self, key: Key, lease: &Lease) {
        let request = AbandonRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            lease_token: lease.token.clone(),
            pass_on: self.random.random_bool(0.5),
            ..AbandonRequest::default()
        };
        let called = self.call(async |cache| cache.abandon(limited(request.clone())).await).await;
        let call = Call::Abandon { key, lease: convert::hash(&lease.token) };
        self.record_called(&called, call, |_| Answer::Done);
    }

    pub(super) async fn delete(&mut self, key: Key) {
        let request = DeleteRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ..DeleteRequest::default()
        };
        let called = self.call(async |cache| cache.delete(limited(request.clone())).await).await;
        self.record_called(&called, Call::Invalidate(Target::Key(key)), |response| {
            convert::invalidated(response.durability())
        });
    }

    pub(super) async fn batch_delete(&mut self, first: Key) {
        let keys: Vec<Key> = self.keys(first).into_iter().take(4).collect();
        let request = BatchDeleteRequest {
            keys: keys.iter().copied().map(convert::key_ref).collect(),
            ..BatchDeleteRequest::default()
        };
        let called =
            self.call(async |cache| cache.batch_delete(limited(request.clone())).await).await;
        for (position, key) in keys.into_iter().enumerate() {
            self.record_called(&called, Call::Invalidate(Target::Key(key)), |response| {
                let durability = response.durabilities().nth(position);
                convert::invalidated(durability.unwrap_or_default())
            });
        }
    }

    pub(super) async fn invalidate(&mut self, target: Target) {
        let request = convert::invalidate_request(target);
        let called =
            self.call(async |cache| cache.invalidate(limited(request.clone())).await).await;
        self.record_called(&called, Call::Invalidate(target), |response| {
            convert::invalidated(response.durability())
        });
    }

    pub(super) async fn invalidate_namespace(&mut self, namespace: Namespace) {
        let request = InvalidateNamespaceRequest {
            namespace: NAMESPACES[usize::from(namespace)].to_owned(),
            ..InvalidateNamespaceRequest::default()
        };
        let called = self
            .call(async |cache| cache.invalidate_namespace(limited(request.clone())).await)
            .await;
        let call = Call::Invalidate(Target::Namespace(namespace));
        self.record_called(&called, call, |response| convert::invalidated(response.durability()));
    }

    pub(super) async fn touch(&mut self, key: Key) {
        let ttl = self.ttl() * 1000;
        let request = TouchRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ttl: convert::duration(ttl),
            ..TouchRequest::default()
        };
        let called = self.call(async |cache| cache.touch(limited(request.clone())).await).await;
        self.record_called(&called, Call::Touch { key, ttl }, |response| {
            // A degraded one may have been applied.
            if response.found || response.degraded { Answer::Done } else { Answer::NoEffect }
        });
    }

    pub(super) async fn increment(&mut self) {
        let number = self.round * KEYS_OF_ROUND + self.random.random_range(0..COUNTERS);
        let key = Key { namespace: COUNT, number };
        let request = IncrementRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ttl: convert::duration(LONG * 1000),
            ..IncrementRequest::default()
        };
        let called = self.call(async |cache| cache.increment(limited(request.clone())).await).await;
        let call = Call::Increment { key };
        self.record_called(&called, call, |response| Answer::Counted(response.value));
    }
}
