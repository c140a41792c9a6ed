//! Deletions, counters, invalidations, and what concerns the whole namespace.

use std::sync::Arc;

use super::{Many, Namespace, addresses, owned};
use crate::{
    DeleteOptions, Deleted, Error, IncrementOptions, Incremented, Invalidated, Key, Keys,
    ListOptions, Patch, PatchOptions, Patched, Published, Targets, Watch,
    feed::{Feed, changing, removing, removing_all},
    globs::Glob,
    key::Address,
    pb,
    watching::Follower,
};

/// Deletions, counters, invalidations, and what concerns the whole namespace.
impl<V: Send + Sync + 'static> Namespace<V> {
    /// Removes one entry. After that no read returns what was written, leased or fetched before.
    ///
    /// # Errors
    ///
    /// The call is wrong, or the store did not apply it.
    pub async fn delete<'k>(&self, key: impl Into<Key<'k>>) -> Result<Deleted<V>, Error> {
        self.delete_with(key, &DeleteOptions::default()).await
    }

    /// As [`delete`](Self::delete), with options.
    ///
    /// # Errors
    ///
    /// As `delete`.
    pub async fn delete_with<'k>(
        &self,
        key: impl Into<Key<'k>>,
        options: &DeleteOptions,
    ) -> Result<Deleted<V>, Error> {
        let address = Address::of(key.into())?;
        let name = address.key.clone();
        let call = self.typed.delete(address, options);
        removing(self.scope(), |feed| feed.key_changed(&name), |key| *key == *name, call).await
    }

    /// Removes several entries, each with the guarantee of `delete`.
    ///
    /// # Errors
    ///
    /// As `delete`.
    pub async fn delete_many<'k, K: Into<Key<'k>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: &DeleteOptions,
    ) -> Result<Many<Deleted<V>>, Error> {
        let keys = owned(keys);
        let names = addresses(keys.iter().cloned())?;
        removing(
            self.scope(),
            |feed| names.iter().for_each(|name| feed.key_changed(&name.key)),
            |key| names.iter().any(|name| name.key == *key),
            self.typed.delete_many(&keys, options),
        )
        .await
    }

    /// Adds to a counter, atomically. It is not repeated after an error: the sum may be applied.
    ///
    /// # Errors
    ///
    /// The server is away, the entry is not an integer (`NOT_AN_INTEGER`), or the sum needs more
    /// than 64 bits (`OVERFLOW`).
    pub async fn increment<'k>(
        &self,
        key: impl Into<Key<'k>>,
        delta: i64,
        options: &IncrementOptions,
    ) -> Result<Incremented, Error> {
        let address = Address::of(key.into())?;
        let name = address.key.clone();
        let call = self.scope().increment(address, delta, options);
        changing(self.scope(), |feed| feed.key_changed(&name), call).await
    }

    /// Changes a part of a JSON value, atomically.
    ///
    /// # Errors
    ///
    /// The server is away, the value is not JSON (`NOT_JSON`), or the patch does not apply
    /// (`PATCH_NOT_APPLICABLE`).
    pub async fn patch<'k>(
        &self,
        key: impl Into<Key<'k>>,
        patch: Patch,
        options: &PatchOptions,
    ) -> Result<Patched, Error> {
        let address = Address::of(key.into())?;
        let name = address.key.clone();
        let call = self.scope().patch(address, patch, options);
        changing(self.scope(), |feed| feed.key_changed(&name), call).await
    }

    /// Makes entries unreachable by tag, by pattern and by key.
    ///
    /// # Errors
    ///
    /// The store did not apply all of it; the call can be repeated.
    pub async fn invalidate(&self, targets: &Targets) -> Result<Invalidated, Error> {
        let names = addresses(targets.keys.iter().cloned())?;
        let globs: Vec<_> = targets.globs.iter().map(|glob| Glob::new(glob)).collect();
        removing(
            self.scope(),
            |feed| {
                names.iter().for_each(|name| feed.key_changed(&name.key));
                targets.globs.iter().for_each(|glob| feed.pattern_invalidated(glob));
                if !targets.tags.is_empty() {
                    feed.tags_invalidated(&targets.tags);
                }
            },
            // The tags of a value that is being computed are open.
            |key| {
                !targets.tags.is_empty()
                    || names.iter().any(|name| name.key == *key)
                    || globs.iter().any(|it| it.as_ref().is_none_or(|glob| glob.matches(key)))
            },
            self.scope().invalidate(targets, &names),
        )
        .await
    }

    /// Makes all entries of the namespace unreachable, at a cost independent of their number.
    ///
    /// # Errors
    ///
    /// The store did not apply it; the call can be repeated.
    pub async fn invalidate_namespace(&self) -> Result<Invalidated, Error> {
        let call = self.scope().invalidate_namespace();
        removing(self.scope(), Feed::clear, |_| true, call).await
    }

    /// Invalidates what the rules of the server select for an event, in all namespaces.
    ///
    /// # Errors
    ///
    /// The server is away, or does not accept the event.
    pub async fn publish_event<N, T>(
        &self,
        name: impl Into<String>,
        attributes: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Published, Error>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let scope = self.scope();
        let pairs = attributes.into_iter().map(|(name, value)| (name.into(), value.into()));
        let call = scope.publish_event(name.into(), pairs.collect(), scope.spec(None, true)?);
        removing_all(&scope.core, call).await
    }

    /// The keys of the namespace, in no order, a page at a time. Keys of all params are listed.
    #[must_use]
    pub fn list_keys(&self, options: ListOptions) -> Keys {
        Keys::new(self.scope().clone(), options, Arc::clone(&self.owner))
    }

    /// The number of keys that `list_keys` lists.
    ///
    /// # Errors
    ///
    /// The server is away.
    pub async fn count_keys(&self, options: &ListOptions) -> Result<u64, Error> {
        self.scope().count_keys(options).await
    }

    /// The changes of the namespace: invalidations and, with `keys`, all writes. Connections that
    /// break are made again; what was missed meanwhile comes first, or else `Reset`. The first
    /// event is `Ready`.
    ///
    /// # Errors
    ///
    /// The client is closed.
    pub fn watch(&self, keys: bool) -> Result<Watch, Error> {
        self.scope().core.check_open()?;
        Ok(Watch::new(Follower::new(self.scope().clone(), keys), Arc::clone(&self.owner)))
    }

    /// Statistics of the namespace in the whole fleet; `None` if there are none yet.
    ///
    /// # Errors
    ///
    /// The server is away.
    pub async fn stats(&self) -> Result<Option<pb::NamespaceStats>, Error> {
        let own = self.wire_name();
        let all = self.scope().stats(vec![own.to_owned()]).await?;
        Ok(all.namespaces.into_iter().find(|namespace| namespace.namespace == own))
    }
}
