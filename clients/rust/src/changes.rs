//! Deletions, counters and patches.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    DeleteOptions, Deleted, Error, IncrementOptions, Incremented, Key, PatchOptions, Patched,
    Version,
    checks::hold_off,
    core::{BATCH_KEYS, Scope},
    json_writer::to_json,
    key::Address,
    options::version,
    pb,
    ttl::from_wire,
    typed::Typed,
    writes::positive_ttl,
};

/// Change of a JSON value.
#[derive(Clone, Debug)]
pub struct Patch(pb::patch_request::Patch);

impl Patch {
    /// A merge patch (RFC 7396), such as `{"name": "new", "obsolete": null}`.
    ///
    /// # Errors
    ///
    /// The patch is no JSON.
    pub fn merge<T: Serialize + ?Sized>(patch: &T) -> Result<Self, crate::EncodeError> {
        to_json(patch).map(|json| Self(pb::patch_request::Patch::MergePatch(json)))
    }

    /// The operations of a patch (RFC 6902), such as
    /// `[{"op": "replace", "path": "/name", "value": "new"}]`.
    ///
    /// # Errors
    ///
    /// The patch is no JSON.
    pub fn operations<T: Serialize + ?Sized>(patch: &T) -> Result<Self, crate::EncodeError> {
        to_json(patch).map(|json| Self(pb::patch_request::Patch::JsonPatch(json)))
    }
}

impl<V: Send + Sync + 'static> Typed<V> {
    /// Removes one entry.
    pub(crate) async fn delete(
        &self,
        address: Address,
        options: &DeleteOptions,
    ) -> Result<Deleted<V>, Error> {
        let scope = &self.scope;
        let if_version = version(options.if_version.clone())?;
        let idempotent = if_version.is_none() && !options.return_value;
        let spec = scope.spec(options.timeout, idempotent)?;
        let request = pb::DeleteRequest {
            namespace: scope.namespace.to_string(),
            key: address.key,
            params: address.params,
            hold_off: hold_off(options.hold_off)?,
            if_version,
            return_value: options.return_value,
            required_durability: 0,
        };
        let answer = scope.call(request, spec).await?;
        let queued = answer.durability() == pb::Durability::Queued;
        let removed = answer.removed.filter(|removed| removed.outcome != 0);
        Ok(Deleted {
            existed: answer.existed,
            deleted: answer.deleted,
            removed: removed.map(|removed| self.found(removed, false)),
            queued,
        })
    }

    /// Removes several entries.
    pub(crate) async fn delete_many(
        &self,
        keys: &[Key<'static>],
        options: &DeleteOptions,
    ) -> Result<BTreeMap<Key<'static>, Deleted<V>>, Error> {
        let scope = &self.scope;
        scope.core.check_open()?;
        if options.if_version.is_some() || options.return_value {
            return Err(Error::argument("if_version, return_value", "only for one key"));
        }
        let spec = scope.spec(options.timeout, true)?;
        let hold_off = hold_off(options.hold_off)?;
        let mut results = BTreeMap::new();
        for part in keys.chunks(BATCH_KEYS) {
            let mut refs = Vec::with_capacity(part.len());
            for key in part {
                refs.push(Address::of(key.into())?.into_key_ref(&scope.namespace));
            }
            let request = pb::BatchDeleteRequest { keys: refs, hold_off, ..Default::default() };
            let answer = scope.call(request, spec).await?;
            for (index, key) in part.iter().enumerate() {
                let queued = i32::from(pb::Durability::Queued);
                results.insert(
                    key.clone(),
                    Deleted {
                        existed: answer.existed.get(index).copied().unwrap_or_default(),
                        deleted: answer.deleted.get(index).copied().unwrap_or_default(),
                        removed: None,
                        queued: answer.durabilities.get(index) == Some(&queued),
                    },
                );
            }
        }
        Ok(results)
    }
}

impl Scope {
    /// Adds to a counter.
    pub(crate) async fn increment(
        &self,
        address: Address,
        delta: i64,
        options: &IncrementOptions,
    ) -> Result<Incremented, Error> {
        let request = pb::IncrementRequest {
            namespace: self.namespace.to_string(),
            key: address.key,
            params: address.params,
            delta: Some(delta),
            initial: options.initial,
            ttl: positive_ttl(options.ttl.or(self.ttl))?,
            if_present: options.if_present,
        };
        let answer = self.call(request, self.spec(options.timeout, false)?).await?;
        Ok(Incremented {
            value: (!answer.missing).then_some(answer.value),
            version: Version::new(&answer.version),
            ttl_remaining: from_wire(answer.ttl_remaining),
        })
    }

    /// Changes a part of a JSON value.
    pub(crate) async fn patch(
        &self,
        address: Address,
        patch: Patch,
        options: &PatchOptions,
    ) -> Result<Patched, Error> {
        if options.keep_ttl && options.ttl.is_some() {
            return Err(Error::argument("ttl, keep_ttl", "at most one can be set"));
        }
        let expiry = if options.keep_ttl {
            Some(pb::patch_request::Expiry::Keep(true))
        } else {
            positive_ttl(options.ttl.or(self.ttl))?.map(pb::patch_request::Expiry::Ttl)
        };
        let request = pb::PatchRequest {
            namespace: self.namespace.to_string(),
            key: address.key,
            params: address.params,
            if_version: version(options.if_version.clone())?,
            patch: Some(patch.0),
            expiry,
        };
        let answer = self.call(request, self.spec(options.timeout, false)?).await?;
        Ok(match answer.result() {
            pb::PatchResult::Applied => Patched::Applied {
                version: Version::of(&answer.version),
                ttl: from_wire(answer.ttl).unwrap_or_default(),
            },
            pb::PatchResult::Missing => Patched::Missing,
            pb::PatchResult::ConditionNotMet | pb::PatchResult::Unspecified => {
                Patched::ConditionNotMet
            }
        })
    }
}
