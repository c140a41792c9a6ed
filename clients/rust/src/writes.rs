//! Writes of entries.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Condition, Error, Failure, Key, Reason, Touched, Ttl, Version, Write,
    core::{BATCH_KEYS, Scope, Spec},
    key::Address,
    options::{WriteOptions, positive, version},
    pb,
    ttl::from_wire,
    typed::Typed,
};

const BATCH_BYTES: usize = 3 * 1024 * 1024;
/// Bytes of an item of a batch besides its value.
const ITEM_BYTES: usize = 256;

/// The result of a write that the server has answered.
pub(crate) fn write_result(answer: pb::SetResponse) -> Write {
    let reason = match answer.result() {
        pb::SetResult::Stored => {
            let ttl = from_wire(answer.ttl).unwrap_or_default();
            return Write::Stored { version: Version::of(&answer.version), ttl };
        }
        pb::SetResult::ConditionNotMet => Reason::ConditionNotMet,
        pb::SetResult::LeaseLost => Reason::LeaseLost,
        pb::SetResult::Invalidated => Reason::Invalidated,
        pb::SetResult::Superseded => Reason::Superseded,
        pb::SetResult::NotStored | pb::SetResult::Unspecified => Reason::NotStored,
    };
    if answer.degraded {
        return Write::away(Reason::Degraded, None);
    }
    let error = (!answer.cause.is_empty()).then_some(Failure::Server(answer.cause));
    Write::NotStored { reason, degraded: false, error }
}

/// Parts of at most 1,000 items and 3 MiB, by the sizes of the items.
pub(crate) fn parts(sizes: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, size) in sizes.iter().enumerate() {
        let size = size + ITEM_BYTES;
        if index > start && (index - start == BATCH_KEYS || bytes + size > BATCH_BYTES) {
            parts.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        parts.push(start..sizes.len());
    }
    parts
}

fn wire_condition(
    condition: Option<&Condition>,
) -> Result<Option<pb::set_request::Condition>, Error> {
    Ok(match condition {
        None => None,
        Some(Condition::IfAbsent) => Some(pb::set_request::Condition::IfAbsent(true)),
        Some(Condition::IfPresent) => Some(pb::set_request::Condition::IfPresent(true)),
        Some(Condition::IfVersion(own)) => {
            version(Some(own.clone()))?.map(pb::set_request::Condition::IfVersion)
        }
    })
}

impl Scope {
    /// A write without the cache at an outage.
    fn unavailable(&self, error: Error) -> Result<Write, Error> {
        let failure = self.fail_open(error)?;
        Ok(Write::away(Reason::Unavailable, Some(failure)))
    }

    /// A value without a lifetime is not stored, and ends the one that is there.
    async fn expire(
        &self,
        address: Address,
        condition: Option<&Condition>,
        spec: Spec,
    ) -> Result<Write, Error> {
        self.core.check_open()?;
        let if_version = match condition {
            // There is nothing to delete if the value was to be stored only in place of none.
            Some(Condition::IfAbsent) => return Ok(Write::refused(Reason::Expired)),
            Some(Condition::IfVersion(own)) => version(Some(own.clone()))?,
            Some(Condition::IfPresent) | None => None,
        };
        let request = pb::DeleteRequest {
            namespace: self.namespace.to_string(),
            key: address.key,
            params: address.params,
            if_version,
            ..Default::default()
        };
        match self.call(request, spec).await {
            Ok(_) => Ok(Write::refused(Reason::Expired)),
            Err(error) => self.unavailable(error),
        }
    }

    /// Gives a fresh entry a new TTL from now.
    pub(crate) async fn touch(
        &self,
        address: Address,
        ttl: Ttl,
        spec: Spec,
    ) -> Result<Touched, Error> {
        if ttl.is_zero() {
            return Err(Error::argument("ttl", "must be positive"));
        }
        let request = pb::TouchRequest {
            namespace: self.namespace.to_string(),
            key: address.key,
            params: address.params,
            ttl: Some(ttl.to_wire()),
        };
        match self.call(request, spec).await {
            Ok(answer) => Ok(Touched {
                found: answer.found,
                ttl: from_wire(answer.ttl),
                degraded: answer.degraded,
                error: None,
            }),
            Err(error) => {
                let error = Some(self.fail_open(error)?);
                Ok(Touched { found: false, ttl: None, degraded: true, error })
            }
        }
    }
}

impl<V: Send + Sync + 'static> Typed<V> {
    fn encoded(&self, value: &V) -> Result<(pb::Value, usize), Error> {
        let encoded = self.codec.encode(value).map_err(|error| {
            Error::new(tonic::Code::InvalidArgument, error.to_string()).with_source(Arc::new(error))
        })?;
        let bytes = encoded.len();
        Ok((encoded.into_wire(), bytes))
    }

    /// Stores one value.
    pub(crate) async fn set(
        &self,
        address: Address,
        value: &V,
        options: &WriteOptions,
    ) -> Result<Write, Error> {
        let scope = &self.scope;
        let condition = wire_condition(options.condition.as_ref())?;
        let spec = scope.open_spec(options.timeout, condition.is_none())?;
        let ttl = options.ttl.or(scope.ttl);
        let tags = scope.tags(options.tags.iter().cloned())?;
        if ttl.is_some_and(Ttl::is_zero) {
            return scope.expire(address, options.condition.as_ref(), spec).await;
        }
        let request = pb::SetRequest {
            namespace: scope.namespace.to_string(),
            key: address.key,
            params: address.params,
            value: Some(self.encoded(value)?.0),
            ttl: ttl.map(Ttl::to_wire),
            tags,
            condition,
            ..Default::default()
        };
        match scope.call(request, spec).await {
            Ok(answer) => Ok(write_result(answer)),
            Err(error) => scope.unavailable(error),
        }
    }

    /// Stores several values, each with a result of its own.
    pub(crate) async fn set_many(
        &self,
        entries: Vec<(Key<'static>, &V)>,
        options: &WriteOptions,
    ) -> Result<BTreeMap<Key<'static>, Write>, Error> {
        let scope = &self.scope;
        scope.core.check_open()?;
        if options.condition.is_some() {
            return Err(Error::argument("condition", "only for the write of one key"));
        }
        let spec = scope.open_spec(options.timeout, true)?;
        let ttl = options.ttl.or(scope.ttl);
        let tags = scope.tags(options.tags.iter().cloned())?;
        let mut results = BTreeMap::new();
        if ttl.is_some_and(Ttl::is_zero) {
            for (key, _) in entries {
                let address = Address::of(Key::from(&key))?;
                results.insert(key, scope.expire(address, None, spec).await?);
            }
            return Ok(results);
        }
        // All values are encoded first, so that one that cannot be leaves nothing stored.
        let mut items = Vec::with_capacity(entries.len());
        let mut sizes = Vec::with_capacity(entries.len());
        for (key, value) in &entries {
            let address = Address::of(key.into())?;
            let (value, bytes) = self.encoded(value)?;
            sizes.push(bytes);
            items.push(pb::SetRequest {
                namespace: scope.namespace.to_string(),
                key: address.key,
                params: address.params,
                value: Some(value),
                ttl: ttl.map(Ttl::to_wire),
                tags: tags.clone(),
                ..Default::default()
            });
        }
        let mut items = items.into_iter();
        let mut keys = entries.into_iter().map(|(key, _)| key);
        for part in parts(&sizes) {
            let keys: Vec<_> = keys.by_ref().take(part.len()).collect();
            let request = pb::BatchSetRequest { items: items.by_ref().take(part.len()).collect() };
            match scope.call(request, spec).await {
                Ok(answer) => {
                    let writes = answer.results.into_iter().map(write_result);
                    results.extend(keys.into_iter().zip(writes));
                }
                Err(error) => {
                    for key in keys {
                        results.insert(key, scope.unavailable(error.clone())?);
                    }
                }
            }
        }
        Ok(results)
    }
}

/// A TTL of a counter or a patch, which must be positive.
pub(crate) fn positive_ttl(ttl: Option<Ttl>) -> Result<Option<prost_types::Duration>, Error> {
    if ttl.is_some_and(Ttl::is_zero) {
        return positive("ttl", Some(std::time::Duration::ZERO)).map(|_| None);
    }
    Ok(ttl.map(Ttl::to_wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_items_and_bytes() {
        assert_eq!(parts(&[1; 1001]), [0..1000, 1000..1001]);
        assert_eq!(parts(&[2 << 20, 2 << 20, 5 << 20]), [0..1, 1..2, 2..3]);
        assert_eq!(parts(&[]), []);
    }
}
