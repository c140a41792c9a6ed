//! Reads of entries.

use std::collections::BTreeMap;

use crate::{
    Error, Key, Read,
    core::BATCH_KEYS,
    key::Address,
    near::Pending,
    options::{ReadOptions, positive},
    pb,
    ttl::to_wire,
    typed::{Typed, value_bytes},
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
                let read = self.read(answer.outcome(), answer.value, answer.entry, answer.degraded);
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
        keys: Vec<Key<'static>>,
        options: &ReadOptions,
    ) -> Result<BTreeMap<Key<'static>, Read<V>>, Error> {
        self.scope.core.check_open()?;
        let mut results = BTreeMap::new();
        let mut wanted = Vec::new();
        for key in keys {
            if results.contains_key(&key) {
                continue;
            }
            if let Some(hit) = self.get_near(&key, options) {
                results.insert(key, hit);
            } else {
                wanted.push((key.clone(), Address::of(key)?));
            }
        }
        for part in wanted.chunks(BATCH_KEYS) {
            self.get_part(part, options, &mut results).await?;
        }
        Ok(results)
    }

    async fn get_part(
        &self,
        part: &[(Key<'static>, Address)],
        options: &ReadOptions,
        results: &mut BTreeMap<Key<'static>, Read<V>>,
    ) -> Result<(), Error> {
        let spec = self.scope.open_spec(options.timeout, true)?;
        let mut pending: Vec<Option<Pending<V>>> =
            part.iter().map(|(_, address)| self.begin(options, &address.key)).collect();
        let fields = fields(options, pending.iter().any(Option::is_some))?;
        let request = pb::BatchGetRequest {
            keys: part.iter().map(|(_, address)| self.key_ref(address)).collect(),
            max_stale: fields.max_stale,
            consistency: fields.consistency,
            touch: fields.touch,
            ..Default::default()
        };
        let messages = match self.scope.collect(request, spec).await {
            Ok(messages) => messages,
            Err(error) => {
                for (key, _) in part {
                    results.insert(key.clone(), self.miss_at_outage(error.clone())?);
                }
                return Ok(());
            }
        };
        let answers = messages.into_iter().flat_map(|message| {
            message.results.into_iter().map(move |result| (result, message.degraded))
        });
        for (((key, address), pending), (result, degraded)) in
            part.iter().zip(&mut pending).zip(answers)
        {
            // Of a message, the keys that missed may be those that the store did not answer for.
            let away = degraded && result.outcome() == pb::Outcome::Miss;
            let bytes = value_bytes(result.value.as_ref());
            let read = self.read(result.outcome(), result.value, result.entry, away);
            if let Some(pending) = pending.take() {
                pending.keep(address.entry_id(), &read, bytes);
            }
            results.insert(key.clone(), read);
        }
        // A server that answers with fewer results than keys.
        for (key, _) in part {
            results.entry(key.clone()).or_insert_with(|| Read::miss(true, None));
        }
        Ok(())
    }

    pub(crate) fn key_ref(&self, address: &Address) -> pb::KeyRef {
        pb::KeyRef {
            namespace: self.scope.namespace.to_string(),
            key: address.key.clone(),
            params: address.params.clone(),
        }
    }
}
