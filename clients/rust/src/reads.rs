//! Reads of entries.

use std::collections::BTreeMap;

use crate::{
    Error, Key, Read,
    batch_get::{BatchGet, Refs, SharedRef},
    core::BATCH_KEYS,
    key::Address,
    names,
    options::{ReadOptions, positive},
    pb,
    ttl::to_wire,
    typed::{Typed, kept, value_bytes},
};

/// The fields that all requests of reads have.
pub(crate) struct Fields {
    pub(crate) max_stale: Option<prost_types::Duration>,
    pub(crate) consistency: i32,
    pub(crate) touch: Option<prost_types::Duration>,
}

pub(crate) fn fields(options: &ReadOptions, consistent: bool) -> Result<Fields, Error> {
    let consistency = if consistent || options.consistent {
        pb::Consistency::Store
    } else {
        pb::Consistency::Unspecified
    };
    Ok(Fields {
        max_stale: options.max_stale.map(to_wire),
        consistency: consistency.into(),
        touch: positive("touch", options.touch)?.map(to_wire),
    })
}

impl<V: Send + Sync + 'static> Typed<V> {
    /// The value of the near cache.
    pub(crate) fn get_near(&self, key: &Key<'_>, options: &ReadOptions) -> Option<Read<V>> {
        let near = self.near(options)?;
        if self.scope.core.check_open().is_err() {
            return None;
        }
        let hit = match key.plain_id() {
            Some(id) => near.get(id),
            None => near.get(&Address::of(key.clone()).ok()?.entry_id()),
        }?;
        self.scope.count.near_hits.add();
        Some(hit)
    }

    fn get_request(
        &self,
        address: Address,
        options: &ReadOptions,
        consistent: bool,
    ) -> Result<pb::GetRequest, Error> {
        let fields = fields(options, consistent)?;
        Ok(pb::GetRequest {
            namespace: self.scope.namespace.to_string(),
            key: address.key,
            params: address.params,
            max_stale: fields.max_stale,
            consistency: fields.consistency,
            touch: fields.touch,
            ..Default::default()
        })
    }

    /// Reads one entry that is not in the near cache.
    pub(crate) async fn get(&self, key: Key<'_>, options: &ReadOptions) -> Result<Read<V>, Error> {
        let address = Address::of(key)?;
        let spec = self.scope.open_spec(options.timeout, true)?;
        let pending = self.begin(options, &address.key);
        let id = pending.as_ref().map(|_| address.entry_id()).unwrap_or_default();
        let request = self.get_request(address, options, pending.is_some())?;
        match self.scope.call(request, spec).await {
            Ok(answer) => {
                let bytes = value_bytes(answer.value.as_ref());
                let outcome = answer.outcome();
                let value = kept(answer.value, pending.is_some());
                let read = self.read(outcome, value, answer.entry, answer.degraded);
                if let Some(pending) = pending {
                    pending.keep(id, &read, bytes);
                }
                Ok(read)
            }
            Err(error) => self.miss_at_outage(error),
        }
    }

    /// A miss in place of an outage.
    pub(crate) fn miss_at_outage(&self, error: Error) -> Result<Read<V>, Error> {
        let failure = self.scope.fail_open(error)?;
        self.scope.count.misses.add();
        Ok(Read::miss(true, Some(failure)))
    }

    /// Whether `get` would find a value. The value is not transferred.
    pub(crate) async fn contains(
        &self,
        key: Key<'_>,
        options: &ReadOptions,
    ) -> Result<bool, Error> {
        let spec = self.scope.open_spec(options.timeout, true)?;
        let request = self.get_request(Address::of(key)?, options, false)?;
        let request = pb::GetRequest { omit_value: true, ..request };
        match self.scope.call(request, spec).await {
            Ok(answer) => Ok(matches!(answer.outcome(), pb::Outcome::Hit | pb::Outcome::Stale)),
            Err(error) => self.scope.fail_open(error).map(|_| false),
        }
    }

    /// Reads several entries.
    pub(crate) async fn get_many(
        &self,
        mut keys: Vec<Key<'static>>,
        options: &ReadOptions,
    ) -> Result<BTreeMap<Key<'static>, Read<V>>, Error> {
        self.scope.core.check_open()?;
        // In the order of the results, so that their map is made at once.
        keys.sort_unstable();
        keys.dedup();
        let mut reads = Vec::with_capacity(keys.len());
        if self.near(options).is_some() {
            let mut wanted = Vec::with_capacity(keys.len());
            for key in keys {
                match self.get_near(&key, options) {
                    Some(hit) => reads.push((key, hit)),
                    None => wanted.push(key),
                }
            }
            keys = wanted;
        }
        // All keys are checked before the first call.
        let requests: Vec<_> =
            keys.chunks(BATCH_KEYS).map(|part| self.refs(part)).collect::<Result<_, _>>()?;
        let mut keys = keys.into_iter();
        for refs in requests {
            let part = keys.by_ref().take(refs.len()).collect();
            self.get_part(part, refs, options, &mut reads).await?;
        }
        Ok(reads.into_iter().collect())
    }

    /// The keys of a request.
    fn refs(&self, keys: &[Key<'static>]) -> Result<Vec<SharedRef>, Error> {
        let mut refs = Refs::new(&self.scope.namespace, keys.len());
        for key in keys {
            let params = names::encode_params(key.params().clone())?;
            refs.push(&names::encode_key(key.text().into())?, params);
        }
        Ok(refs.into_keys())
    }

    async fn get_part(
        &self,
        keys: Vec<Key<'static>>,
        refs: Vec<SharedRef>,
        options: &ReadOptions,
        reads: &mut Vec<(Key<'static>, Read<V>)>,
    ) -> Result<(), Error> {
        let spec = self.scope.open_spec(options.timeout, true)?;
        let mut pending = Vec::new();
        if let Some(near) = self.near(options) {
            for key in &keys {
                let address = Address::of(key.into())?;
                let begun = near.begin(&address.key);
                pending.push(begun.map(|begun| (begun, address.entry_id())));
            }
        }
        let fields = fields(options, pending.iter().any(Option::is_some))?;
        let request = BatchGet {
            keys: refs,
            max_stale: fields.max_stale,
            consistency: fields.consistency,
            touch: fields.touch,
        };
        let messages = match self.scope.collect(request, spec).await {
            Ok(messages) => messages,
            Err(error) => {
                for key in keys {
                    reads.push((key, self.miss_at_outage(error.clone())?));
                }
                return Ok(());
            }
        };
        let mut answers = messages.into_iter().flat_map(|message| {
            message.results.into_iter().map(move |result| (result, message.degraded))
        });
        let mut pending = pending.into_iter();
        for key in keys {
            let pending = pending.next().flatten();
            let Some((result, degraded)) = answers.next() else {
                // A server that answers with fewer results than keys.
                reads.push((key, Read::miss(true, None)));
                continue;
            };
            // Of a message, the keys that missed may be those that the store did not answer for.
            let away = degraded && result.outcome() == pb::Outcome::Miss;
            let bytes = value_bytes(result.value.as_ref());
            let outcome = result.outcome();
            let value = kept(result.value, pending.is_some());
            let read = self.read(outcome, value, result.entry, away);
            if let Some((pending, id)) = pending {
                pending.keep(id, &read, bytes);
            }
            reads.push((key, read));
        }
        Ok(())
    }
}
