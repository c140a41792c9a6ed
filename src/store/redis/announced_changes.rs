//! Announcements of Redis for the watches whose state is not read yet.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    change_checks::AnnouncedNews,
    client_tracking::Invalidation,
    key_schema::{KeySchema, ParsedKey},
    watched_namespace::WatchedNamespace,
};
use crate::{
    changes::{ChangeHub, ChangedKey, ResetReason},
    model::{EntryKey, Namespace, ParamsDigest},
    planted::{self, Bug},
    store::near_cache::NearCache,
};

/// Announced changes that are not yet read. Several connections share them.
#[derive(Default)]
pub(super) struct Announced {
    news: Mutex<HashMap<Namespace, AnnouncedNews>>,
    pub(super) has_news: Notify,
    pub(super) is_flushed: AtomicBool,
}

/// A namespace to read, with its announcements and its state.
pub(super) type Due = (Namespace, AnnouncedNews, Arc<tokio::sync::Mutex<WatchedNamespace>>);

/// The namespaces that are followed.
pub(super) type Watched = Mutex<HashMap<Namespace, Arc<tokio::sync::Mutex<WatchedNamespace>>>>;

impl Announced {
    pub(super) fn on_invalidation(
        &self,
        schema: &KeySchema,
        near: &NearCache,
        hub: &ChangeHub,
        invalidation: Invalidation<'_>,
    ) {
        if planted::is(Bug::WatchSilent) {
            return;
        }
        let Invalidation::Key(name) = invalidation else {
            self.is_flushed.store(true, Ordering::Release);
            hub.on_lost(ResetReason::StoreFlushed);
            self.has_news.notify_one();
            return;
        };
        match schema.parse(name) {
            Some(ParsedKey::Entry { namespace, key, digest }) => {
                forget(near, namespace, key, digest);
                match digest.map(ParamsDigest::parse) {
                    // A foreign key.
                    Some(None) => {}
                    digest => {
                        let digest = digest.flatten();
                        let digest = digest.as_ref().map(ParamsDigest::as_bytes);
                        hub.publish_key(namespace, ChangedKey { key, digest });
                    }
                }
            }
            Some(ParsedKey::Marker { namespace, shard }) => {
                near.invalidate_shard(namespace, shard);
                self.add(hub, namespace, |news| {
                    news.shards.extend(usize::try_from(shard));
                });
            }
            None => {
                if let Some(namespace) = schema.banned_namespace(name) {
                    self.add(hub, namespace, |_| ());
                } else if let Some(namespace) = schema.invalidated_namespace(name) {
                    self.add(hub, namespace, |news| news.is_invalidated = true);
                }
            }
        }
    }

    /// Forgets what was announced of other namespaces.
    pub(super) fn retain(&self, names: &BTreeSet<Namespace>) {
        self.news.lock().retain(|name, _| names.contains(name));
    }

    fn add(&self, hub: &ChangeHub, namespace: &str, add: impl FnOnce(&mut AnnouncedNews)) {
        if hub.is_watched(namespace)
            && let Ok(namespace) = Namespace::new(namespace)
        {
            add(self.news.lock().entry(namespace).or_default());
            self.has_news.notify_one();
        }
    }

    /// Takes what was announced of the namespaces whose state is known, with their states.
    pub(super) fn take_of(&self, watched: &Watched) -> Vec<Due> {
        let (mut news, watched) = (self.news.lock(), watched.lock());
        let known = news.extract_if(|name, _| watched.contains_key(name));
        let due = known.filter_map(|(name, news)| {
            let state = watched.get(&name)?.clone();
            Some((name, news, state))
        });
        due.collect()
    }
}

/// Removes the copy of an entry, so that a read through this replica that follows the event does
/// not return it.
fn forget(near: &NearCache, namespace: &str, key: &str, digest: Option<&str>) {
    if near.is_configured(namespace)
        && let Some(key) = EntryKey::restored(namespace, key, digest)
    {
        near.invalidate(&key);
    }
}
