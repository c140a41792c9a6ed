//! Contents of the cache: keys, single entries and namespaces, for operators and for callers that
//! iterate over their namespace.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::{
    Analysis, AnalyzedNamespace, Cache, Error, Outcome, Tier,
    analysis::ReuseEstimate,
    distributions::Distributions,
    fleet_stats::{FleetStats, Overview},
    hot_keys::HotKeyReport,
    policy::{self, Verdict},
};
use crate::{
    config::NamespaceConfig,
    model::{Entry, EntryKey, Glob, Namespace, SaturatingFrom as _, Timestamp, Version},
    stats::registry::OTHER,
    store::{
        self, BanListing, EntryInspection, ErrorKind, KeyListPosition, KeyListStep,
        NamespaceFilter, NamespacePage, StatsBackend,
    },
};

/// Time after which a page ends, whatever it has found.
const PAGE_TIME: Duration = Duration::from_millis(100);
/// Time after which the examination of entries ends, whatever it has found.
const SAMPLE_TIME: Duration = Duration::from_secs(1);
/// Longest time for a listing of all namespaces.
const NAMESPACES_TIME: Duration = Duration::from_secs(60);
/// Fewest entries that a step visits: a step has a cost of its own.
const MIN_VISITS: usize = 16;

/// Lists what is in the cache.
pub struct Directory {
    cache: Arc<Cache>,
    fleet: Arc<FleetStats>,
    store: Arc<dyn StatsBackend>,
}

/// Which keys to list.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// The namespace.
    pub namespace: Namespace,
    /// Only keys that match; `None` lists all.
    pub glob: Option<Glob>,
    /// Where to begin.
    pub position: KeyListPosition,
}

/// The stored entry and the lease of a key.
#[derive(Debug)]
pub struct EntryReport {
    /// The state of the key in the store.
    pub stored: EntryInspection,
    /// How a read that accepts any stale value sees the stored entry; `None` is a miss.
    pub outcome: Option<Outcome>,
    /// Whether the origin's present configuration would have fetched the stored entry from
    /// elsewhere, so that no read returns it.
    pub is_of_other_source: bool,
    /// Version of the copy in the near cache of this replica.
    pub near: Option<Version>,
    /// Where a read would find the entry; `None` is a miss.
    pub tier: Option<Tier>,
    /// Time of the report, by the store's clock.
    pub now: Timestamp,
}

/// The bans of a namespace.
#[derive(Debug)]
pub struct BanReport {
    /// The bans.
    pub listing: BanListing,
    /// Longest lifetime of an entry: a ban matters for no longer.
    pub longest_lifetime: Duration,
    /// Time of the report, by the store's clock.
    pub now: Timestamp,
}

/// A page of namespaces.
#[derive(Debug)]
pub struct NamespaceList {
    /// The namespaces, sorted by name.
    pub namespaces: Vec<ListedNamespace>,
    /// Whether there are more pages.
    pub has_more: bool,
    /// Figures of these namespaces, and of others.
    pub overview: Overview,
}

/// A namespace in use.
#[derive(Debug)]
pub struct ListedNamespace {
    /// Its name.
    pub name: Namespace,
    /// Whether it has rules of its own.
    pub is_configured: bool,
    /// Its rules; `None` if requests to it are refused.
    pub config: Option<NamespaceConfig>,
}

impl Directory {
    /// Lists what `cache` and its store have. `store` is the store without the near cache.
    pub fn new(cache: Arc<Cache>, fleet: Arc<FleetStats>, store: Arc<dyn StatsBackend>) -> Self {
        Self { cache, fleet, store }
    }

    /// Lists about `size` keys, fewer if that takes too long. Returns where the next page begins;
    /// `None` at the end.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::StoreUnavailable`].
    pub async fn list_keys(
        &self,
        query: KeyQuery,
        size: usize,
    ) -> Result<(Vec<EntryKey>, Option<KeyListPosition>), Error> {
        let mut keys = Vec::new();
        let next = self.walk(query, size, |found| keys.extend(found)).await?;
        Ok((keys, next))
    }

    /// Counts keys, for a limited time. Returns where to continue; `None` at the end.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn count_keys(
        &self,
        query: KeyQuery,
    ) -> Result<(usize, Option<KeyListPosition>), Error> {
        let mut count = 0;
        let next = self.walk(query, usize::MAX, |found| count += found.len()).await?;
        Ok((count, next))
    }

    /// Passes keys to `each` until there are `size` of them.
    async fn walk(
        &self,
        query: KeyQuery,
        size: usize,
        mut each: impl FnMut(Vec<EntryKey>),
    ) -> Result<Option<KeyListPosition>, Error> {
        let KeyQuery { namespace, glob, position } = query;
        self.cache.namespaces().rules(&namespace)?;
        let started = Instant::now();
        let mut step = KeyListStep { namespace, glob, position, visits: visits(size, 1, 1) };
        let (mut found, mut visited) = (0, 0);
        loop {
            let part = self.store.list_keys(&step).await?;
            found += part.keys.len();
            visited += step.visits;
            each(part.keys);
            let Some(next) = part.next else { return Ok(None) };
            if found >= size || started.elapsed() >= PAGE_TIME {
                return Ok(Some(next));
            }
            step.position = next;
            step.visits = visits(size - found, found, visited);
            yield_now().await;
        }
    }

    /// Examines about `size` entries of a namespace, fewer if that takes too long.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn distributions(
        &self,
        namespace: Namespace,
        size: usize,
    ) -> Result<Distributions, Error> {
        self.cache.namespaces().rules(&namespace)?;
        let started = Instant::now();
        let mut found = Distributions::new();
        let position = KeyListPosition::default();
        let mut step = KeyListStep { namespace, glob: None, position, visits: visits(size, 1, 1) };
        let mut visited = 0;
        loop {
            let began_at = Instant::now();
            let part = self.store.sample_entries(&step).await?;
            let now = self.store.now();
            part.entries.iter().for_each(|entry| found.add(entry, now));
            visited += step.visits;
            let examined = usize::saturating_from(found.examined);
            let Some(next) = part.next else {
                found.is_complete = true;
                return Ok(found);
            };
            if examined >= size || started.elapsed() >= SAMPLE_TIME {
                return Ok(found);
            }
            step.position = next;
            step.visits = visits(size - examined, examined, visited);
            // The store has as much time for others.
            sleep(began_at.elapsed()).await;
        }
    }

    /// Reports what is held for a key, as callers name it.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn inspect(&self, key: &EntryKey) -> Result<EntryReport, Error> {
        let context = self.cache.context(key.namespace())?;
        self.inspect_stored(&context.key(key)).await
    }

    /// As [`Directory::inspect`], for a key as the store names it.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn inspect_stored(&self, key: &EntryKey) -> Result<EntryReport, Error> {
        let rules = self.cache.namespaces().rules(key.namespace())?;
        let copy = self.cache.store.near(key, Instant::now());
        let near = copy.as_ref().map(|entry| entry.version);
        let stored = self.store.inspect_entry(key).await?;
        let now = self.store.now();
        let readable = stored.entry.as_ref().filter(|_| !stored.is_invalidated);
        let outcome = readable.and_then(|entry| match rules.evaluate(entry, now, None) {
            Verdict::Fresh => Some(Outcome::Hit),
            Verdict::Stale => Some(Outcome::Stale),
            Verdict::Negative => Some(Outcome::Negative),
            Verdict::StaleIfError | Verdict::Expired => None,
        });
        let is_served = |copy: &Entry| {
            matches!(rules.evaluate(copy, now, None), Verdict::Fresh | Verdict::Negative)
        };
        let tier = match copy {
            Some(copy) if rules.config.near_cache.is_some() && is_served(&copy) => Some(Tier::Near),
            _ => outcome.map(|_| Tier::Store),
        };
        let is_of_other_source = readable.is_some_and(|entry| rules.is_of_other_source(entry));
        Ok(EntryReport { stored, outcome, is_of_other_source, near, tier, now })
    }

    /// Reports the `limit` keys of a namespace that were read most in the time `window` before now.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn hot_keys(
        &self,
        namespace: &Namespace,
        window: Duration,
        limit: usize,
    ) -> Result<HotKeyReport, Error> {
        self.cache.namespaces().rules(namespace)?;
        Ok(self.fleet.hot_keys(namespace, window, limit).await?)
    }

    /// The bans that a namespace keeps, the newest of them in detail.
    ///
    /// # Errors
    /// As [`Directory::list_keys`].
    pub async fn bans(&self, namespace: &Namespace) -> Result<BanReport, Error> {
        let rules = self.cache.namespaces().rules(namespace)?;
        let limits = policy::ban_limits(&rules.config);
        let listing = self.store.list_bans(namespace, &limits).await?;
        let longest_lifetime = limits.longest_lifetime;
        Ok(BanReport { listing, longest_lifetime, now: self.store.now() })
    }

    /// Analyses the `named` namespaces; of all with statistics, those with the most reads if none
    /// are named.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`] for one that is named.
    pub async fn analyze(
        &self,
        named: &[Namespace],
        visible: Option<NamespaceFilter>,
    ) -> Result<Analysis, Error> {
        named.iter().try_for_each(|name| self.cache.namespaces().rules(name).map(drop))?;
        let selected = named.iter().map(Namespace::to_string).collect();
        let page = NamespacePage::new(selected, String::new(), NamespacePage::MAX);
        let page = page.visible_to(visible);
        let overview = self.fleet.overview(&page).await;
        let mut reuse = match overview.degraded {
            true => BTreeMap::new(),
            // Without an answer of the store, the counters are analysed alone.
            false => self.fleet.reuse().await.unwrap_or_default(),
        };
        let facts = overview.facts.as_ref();
        let memory = facts.filter(|_| overview.store_kind == "memory").map(|facts| facts.max_bytes);
        let names: BTreeSet<Namespace> = if named.is_empty() {
            let counted = overview.report.last_day.keys().filter(|name| page.selects(name));
            counted.filter_map(|name| Namespace::new(name).ok()).collect()
        } else {
            named.iter().cloned().collect()
        };
        let namespaces = names.into_iter().filter_map(|name| {
            let counters = overview.report.last_day.get(name.as_str()).cloned().unwrap_or_default();
            let miss_rate = counters.hit_rate().map(|rate| 1.0 - rate);
            Some(AnalyzedNamespace {
                counters,
                usage: overview.size(name.as_str()).cloned(),
                config: self.cache.namespaces().rules(&name).ok()?.config.clone(),
                reuse: reuse
                    .remove(name.as_str())
                    .and_then(|figures| ReuseEstimate::of(figures, miss_rate)),
                evictions: facts.map_or(0, |facts| facts.evicted_keys),
                memory_bytes: memory,
                name,
            })
        });
        Ok(Analysis::of(namespaces.collect(), overview.degraded))
    }

    /// All namespaces that are configured or have entries, and that requests may use. Sorted.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], also if the listing takes too long.
    pub async fn all_namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let namespaces = self.cache.namespaces();
        let mut found: BTreeSet<Namespace> = namespaces.configured().into_iter().collect();
        let (started, mut position) = (Instant::now(), KeyListPosition::default());
        loop {
            let began_at = Instant::now();
            let part = self.store.list_namespaces(position).await?;
            found.extend(part.namespaces);
            let Some(next) = part.next else { break };
            position = next;
            if started.elapsed() >= NAMESPACES_TIME {
                return Err(store::Error::from(ErrorKind::Timeout).into());
            }
            // The store has as much time for others.
            sleep(began_at.elapsed()).await;
        }
        found.retain(|namespace| namespaces.rules(namespace).is_ok());
        Ok(found.into_iter().collect())
    }

    /// Lists the `limit` namespaces after the name `after` that are configured, have entries or
    /// have statistics.
    pub async fn namespaces(
        &self,
        after: String,
        limit: usize,
        visible: Option<NamespaceFilter>,
    ) -> NamespaceList {
        let limit = limit.clamp(1, NamespaceList::MAX);
        // One more, because the shared counters are reported as a namespace and are none.
        let page = NamespacePage::new(Vec::new(), after, limit + 1).visible_to(visible);
        let overview = self.fleet.overview(&page).await;
        let configured = self.cache.namespaces().configured();
        let (in_use, has_more) = overview.names(&page);
        let in_use = in_use.into_iter().filter(|name| *name != OTHER);
        let mut names: Vec<Namespace> = in_use
            .filter_map(|name| Namespace::new(name).ok())
            .chain(configured.iter().filter(|name| page.follows(name.as_str())).cloned())
            .collect();
        names.sort_unstable();
        names.dedup();
        let has_more = has_more || names.len() > limit;
        names.truncate(limit);
        let namespaces = names.into_iter().map(|name| ListedNamespace {
            is_configured: configured.contains(&name),
            config: self.cache.namespaces().rules(&name).ok().map(|rules| rules.config.clone()),
            name,
        });
        NamespaceList { namespaces: namespaces.collect(), has_more, overview }
    }
}

impl NamespaceList {
    /// Most namespaces of a page.
    pub const MAX: usize = 500;
}

/// How many entries to visit for `wanted` keys, where `found` keys were among `visited` entries.
fn visits(wanted: usize, found: usize, visited: usize) -> usize {
    let estimate = wanted.saturating_mul(visited) / found.max(1);
    estimate.clamp(MIN_VISITS, KeyListStep::MAX_VISITS)
}
