//! Handles of namespaces.

mod whole;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Auto, Codec, Error, FetchError, FetchOptions, Key, Loaded, NearCache, OnError, Read,
    ReadOptions, Touched, Ttl, Write, WriteOptions, client::Owner, codec::CodecId, core::Scope,
    error::LoaderError, feed::changing, key::Address, near::Near, typed::Typed,
};

/// A namespace: a logical cache with its own defaults and a type of values. Clones share its near
/// cache. Made by [`Client::namespace`](crate::Client::namespace).
pub struct Namespace<V> {
    owner: Arc<Owner>,
    typed: Typed<V>,
}

impl<V> Clone for Namespace<V> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), typed: self.typed.clone() }
    }
}

impl<V> std::fmt::Debug for Namespace<V> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &*self.typed.scope.namespace;
        formatter.debug_struct("Namespace").field("name", &name).finish_non_exhaustive()
    }
}

/// Results by key.
pub type Many<T> = BTreeMap<Key<'static>, T>;

impl<V> Namespace<V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    pub(crate) fn new(owner: Arc<Owner>, name: &str) -> Self {
        let scope = Scope::new(Arc::clone(&owner.0), name);
        let codec = Arc::new(Auto);
        let typed = Typed { scope, codec_id: CodecId::of(&codec), codec, near: None };
        Self { owner, typed }
    }
}

impl<V: Send + Sync + 'static> Namespace<V> {
    /// How long values are fresh that the handle writes; the server's default otherwise.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.typed.scope.ttl = Some(ttl.into());
        self
    }

    /// Tags of every value that the handle writes.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.typed.scope.tags = self.typed.scope.joined_tags(tags.into_iter().map(Into::into));
        self
    }

    /// Sets whether calls fail at an outage; the client's choice otherwise.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.typed.scope.raise = on_error == OnError::Raise;
        self
    }

    /// Keeps values in this process, coherent by Watch. Keep the handle: each has a near cache of
    /// its own, which its clones share.
    #[must_use]
    pub fn near_cache(mut self, bounds: NearCache) -> Self {
        self.typed.near = Some(Near::new(self.typed.scope.clone(), bounds));
        self
    }

    /// Values of another type, which this codec reads and writes. The handle has no near cache
    /// until [`near_cache`](Self::near_cache) is called again. Calls of handles join only if their
    /// codecs are the same: those with a state are so in clones of one handle only.
    #[must_use]
    pub fn codec<W>(self, codec: impl Codec<W>) -> Namespace<W> {
        let codec = Arc::new(codec);
        let codec_id = CodecId::of(&codec);
        let typed = Typed { scope: self.typed.scope, codec, codec_id, near: None };
        Namespace { owner: self.owner, typed }
    }

    /// The name as the server has it.
    #[must_use]
    pub fn wire_name(&self) -> &str {
        &self.typed.scope.namespace
    }

    fn scope(&self) -> &Scope {
        &self.typed.scope
    }

    /// Reads one entry. Without the cache it is a miss.
    ///
    /// # Errors
    ///
    /// The call is wrong; with [`OnError::Raise`] also at an outage.
    pub async fn get<'k>(&self, key: impl Into<Key<'k>>) -> Result<Read<V>, Error> {
        let key = key.into();
        let options = ReadOptions::default();
        if let Some(hit) = self.typed.get_near(&key, &options) {
            return Ok(hit);
        }
        // On the heap, so that the future of a hit is small.
        Box::pin(self.typed.get(key, &options)).await
    }

    /// As [`get`](Self::get), with options.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn get_with<'k>(
        &self,
        key: impl Into<Key<'k>>,
        options: &ReadOptions,
    ) -> Result<Read<V>, Error> {
        let key = key.into();
        if let Some(hit) = self.typed.get_near(&key, options) {
            return Ok(hit);
        }
        // On the heap, so that the future of a hit is small.
        Box::pin(self.typed.get(key, options)).await
    }

    /// Whether `get` would find a value. The value is not transferred.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn contains<'k>(&self, key: impl Into<Key<'k>>) -> Result<bool, Error> {
        self.typed.contains(key.into(), &ReadOptions::default()).await
    }

    /// Reads several entries. There is a result for each key.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn get_many<'k, K: Into<Key<'k>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Many<Read<V>>, Error> {
        self.get_many_with(keys, &ReadOptions::default()).await
    }

    /// As [`get_many`](Self::get_many), with options.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn get_many_with<'k, K: Into<Key<'k>>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: &ReadOptions,
    ) -> Result<Many<Read<V>>, Error> {
        self.typed.get_many(owned(keys), options).await
    }

    /// Stores one value.
    ///
    /// # Errors
    ///
    /// The call is wrong, the value cannot be sent, or it is over the server's limit
    /// (`VALUE_TOO_LARGE`); with [`OnError::Raise`] also at an outage.
    pub async fn set<'k>(&self, key: impl Into<Key<'k>>, value: &V) -> Result<Write, Error> {
        self.set_with(key, value, &WriteOptions::default()).await
    }

    /// As [`set`](Self::set), with options.
    ///
    /// # Errors
    ///
    /// As `set`.
    pub async fn set_with<'k>(
        &self,
        key: impl Into<Key<'k>>,
        value: &V,
        options: &WriteOptions,
    ) -> Result<Write, Error> {
        let address = Address::of(key.into())?;
        let name = address.key.clone();
        let call = self.typed.set(address, value, options);
        changing(self.scope(), |feed| feed.key_changed(&name), call).await
    }

    /// Stores several values, each with a result of its own. It is not atomic.
    ///
    /// # Errors
    ///
    /// As `set`.
    pub async fn set_many<'v, 'k, K: Into<Key<'k>>>(
        &self,
        entries: impl IntoIterator<Item = (K, &'v V)>,
        options: &WriteOptions,
    ) -> Result<Many<Write>, Error> {
        let entries: Vec<_> =
            entries.into_iter().map(|(key, value)| (key.into().into_owned(), value)).collect();
        let names = addresses(entries.iter().map(|(key, _)| key.into()))?;
        let call = self.typed.set_many(entries, options);
        changing(self.scope(), |feed| names.iter().for_each(|it| feed.key_changed(&it.key)), call)
            .await
    }

    /// Gives a fresh entry a new TTL from now.
    ///
    /// # Errors
    ///
    /// The call is wrong; with [`OnError::Raise`] also at an outage.
    pub async fn touch<'k>(
        &self,
        key: impl Into<Key<'k>>,
        ttl: impl Into<Ttl>,
    ) -> Result<Touched, Error> {
        let address = Address::of(key.into())?;
        let name = address.key.clone();
        let call = self.scope().touch(address, ttl.into(), self.scope().open_spec(None, true)?);
        changing(self.scope(), |feed| feed.key_changed(&name), call).await
    }

    /// Reads a value; one that is missing is computed. Of all calls in all processes that need the
    /// value at the same time, one runs its loader, and the others receive its result.
    ///
    /// The loader runs in a task of its own: a caller that is dropped leaves it to those that
    /// joined. A loader must not ask for the key that it computes: it would wait for itself.
    ///
    /// # Errors
    ///
    /// The loader's error, as it is, or that of a call that is wrong. A cache that is away, slow or
    /// full is no error: the loader runs, and nothing is stored.
    pub async fn get_or_fetch<'k, F, Fut, L, E>(
        &self,
        key: impl Into<Key<'k>>,
        loader: F,
    ) -> Result<Read<V>, FetchError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: LoaderError,
    {
        self.get_or_fetch_with(key, FetchOptions::default(), loader).await
    }

    /// As [`get_or_fetch`](Self::get_or_fetch), with options.
    ///
    /// # Errors
    ///
    /// As `get_or_fetch`.
    pub async fn get_or_fetch_with<'k, F, Fut, L, E>(
        &self,
        key: impl Into<Key<'k>>,
        options: FetchOptions,
        loader: F,
    ) -> Result<Read<V>, FetchError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>>,
        E: LoaderError,
    {
        let key = key.into();
        if !options.refresh
            && let Some(hit) = self.typed.get_near(&key, &options.read)
        {
            return Ok(hit);
        }
        let loader: crate::fetching::Loader<V, E> = Box::new(|| {
            let loading = loader();
            Box::pin(async move { loading.await.map(Into::into) })
        });
        Box::pin(self.typed.get_or_fetch(key, Some(loader), options)).await
    }

    /// Reads a value; one that is missing is fetched from the origin that the server has for the
    /// namespace.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn fetch<'k>(&self, key: impl Into<Key<'k>>) -> Result<Read<V>, Error> {
        self.fetch_with(key, FetchOptions::default()).await
    }

    /// As [`fetch`](Self::fetch), with options.
    ///
    /// # Errors
    ///
    /// As `get`.
    pub async fn fetch_with<'k>(
        &self,
        key: impl Into<Key<'k>>,
        options: FetchOptions,
    ) -> Result<Read<V>, Error> {
        let key = key.into();
        if !options.refresh
            && let Some(hit) = self.typed.get_near(&key, &options.read)
        {
            return Ok(hit);
        }
        Box::pin(self.typed.fetch(key, options)).await
    }

    /// Reads several values; the loader computes those that are missing, together. It receives
    /// their keys, perhaps in several calls. A key without a value in its answer is a miss.
    ///
    /// # Errors
    ///
    /// As `get_or_fetch`.
    pub async fn get_or_fetch_many<'k, K, F, Fut, A, L, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: FetchOptions,
        loader: F,
    ) -> Result<Many<Read<V>>, FetchError<E>>
    where
        K: Into<Key<'k>>,
        F: Fn(Vec<Key<'static>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: IntoIterator<Item = (Key<'static>, L)>,
        L: Into<Loaded<V>>,
        E: LoaderError,
    {
        let loader: crate::fetch_many::ManyLoader<V, E> = Arc::new(move |keys| {
            let loading = loader(keys);
            Box::pin(async move {
                let values = loading.await?.into_iter();
                Ok(values.map(|(key, value)| (key, value.into())).collect::<HashMap<_, _>>())
            })
        });
        Box::pin(self.typed.get_or_fetch_many(owned(keys), Some(loader), options)).await
    }
}

fn owned<'k, K: Into<Key<'k>>>(keys: impl IntoIterator<Item = K>) -> Vec<Key<'static>> {
    keys.into_iter().map(|key| key.into().into_owned()).collect()
}

fn addresses<'k>(keys: impl Iterator<Item = Key<'k>>) -> Result<Vec<Address>, Error> {
    keys.map(Address::of).collect()
}
