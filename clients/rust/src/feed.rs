//! The changes of a namespace for its near caches, from Watch and from writes of this client.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    Change, Error,
    core::{Core, Scope},
    globs::Glob,
    moment::Moment,
    watching::{Follower, Signal},
};

/// Time between two attempts after an error that is no outage.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Learns what is not valid any more.
pub(crate) trait Listener: Send + Sync {
    /// Entries with this key, with any params.
    fn key_changed(&self, key: &str);
    /// Entries for which `concerns` is true, by key and tags.
    fn matching(&self, concerns: &dyn Fn(&str, &[String]) -> bool);
    /// All entries.
    fn clear(&self);
}

/// The changes of a namespace.
pub(crate) struct Feed {
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    /// Time without a message after which nothing is valid.
    silence: Mutex<Duration>,
    /// Until when all changes arrive, unless a message comes before that. Zero: they do not.
    live_until: AtomicU64,
    /// Whether the stream is ready and unbroken.
    is_ready: AtomicBool,
    is_started: AtomicBool,
}

impl Feed {
    fn new() -> Self {
        Self {
            listeners: Mutex::default(),
            silence: Mutex::default(),
            live_until: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
            is_started: AtomicBool::new(false),
        }
    }

    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|each| each.strong_count() > 0);
        listeners.push(listener);
    }

    /// Whether all near caches of the feed are gone.
    fn is_unused(&self) -> bool {
        self.listeners.lock().iter().all(|listener| listener.strong_count() == 0)
    }

    fn each(&self, visit: impl Fn(&dyn Listener)) {
        let listeners: Vec<_> = self.listeners.lock().iter().filter_map(Weak::upgrade).collect();
        for listener in listeners {
            visit(&*listener);
        }
    }

    /// Whether all changes arrive, also at a time that is ahead.
    #[inline]
    pub(crate) fn is_live_until(&self, time: Moment) -> bool {
        time.nanos() <= self.live_until.load(SeqCst)
    }

    /// Whether all changes arrive.
    #[inline]
    pub(crate) fn is_live(&self, now: Moment) -> bool {
        let until = self.live_until.load(SeqCst);
        if now.nanos() <= until {
            return true;
        }
        if until != 0 && self.live_until.compare_exchange(until, 0, SeqCst, SeqCst).is_ok() {
            self.clear();
        }
        false
    }

    /// Opens the stream at the first read: to make a handle does not connect.
    pub(crate) fn start(self: &Arc<Self>, scope: &Scope) {
        if self.is_started.swap(true, SeqCst) {
            return;
        }
        let (feed, scope) = (Arc::clone(self), scope.clone());
        tokio::spawn(async move {
            let core = Arc::clone(&scope.core);
            let mut running = Running(&feed);
            tokio::select! {
                () = core.ended() => {}
                () = running.run(scope) => {}
            }
        });
    }

    fn end(&self) {
        self.is_ready.store(false, SeqCst);
        self.live_until.store(0, SeqCst);
    }

    /// A message has come.
    fn extend(&self) {
        let until = Moment::now().after(*self.silence.lock());
        self.live_until.store(until.nanos(), SeqCst);
    }

    fn take(&self, signal: Signal, silence: Duration) {
        // After a silence that was too long nothing of before is valid, but the changes of an
        // unbroken stream arrive all the same.
        if self.is_ready.load(SeqCst) {
            if !self.is_live(Moment::now()) {
                self.clear();
            }
            self.extend();
        }
        match signal {
            Signal::Alive => {}
            Signal::Broken => {
                // The entries are valid again if the stream can be continued.
                self.end();
                self.each(|listener| listener.matching(&|_, _| false));
            }
            Signal::Change(Change::Ready { resumed }) => {
                if !resumed {
                    self.clear();
                }
                *self.silence.lock() = silence;
                self.is_ready.store(true, SeqCst);
                self.extend();
            }
            Signal::Change(Change::Reset(_)) => {
                self.end();
                self.clear();
            }
            Signal::Change(Change::Keys(keys)) => {
                for listed in keys {
                    self.key_changed(&listed.key);
                }
            }
            Signal::Change(Change::Namespace) => self.clear(),
            Signal::Change(Change::Tags(tags)) => self.tags_invalidated(&tags),
            Signal::Change(Change::Pattern(glob)) => self.pattern_invalidated(&glob),
        }
    }

    pub(crate) fn key_changed(&self, key: &str) {
        self.each(|listener| listener.key_changed(key));
    }

    pub(crate) fn tags_invalidated(&self, tags: &[String]) {
        let named: HashSet<_> = tags.iter().collect();
        self.each(|listener| {
            listener.matching(&|_, held| held.iter().any(|tag| named.contains(tag)));
        });
    }

    pub(crate) fn pattern_invalidated(&self, glob: &str) {
        let glob = Glob::new(glob);
        self.each(|listener| {
            listener.matching(&|key, _| glob.as_ref().is_none_or(|glob| glob.matches(key)));
        });
    }

    pub(crate) fn clear(&self) {
        self.each(|listener| listener.clear());
    }
}

/// The task of a feed. Its end, also that of its runtime, makes the near caches unused.
struct Running<'a>(&'a Feed);

impl Running<'_> {
    async fn run(&mut self, scope: Scope) {
        loop {
            let mut follower = Follower::new(scope.clone(), true);
            let error = loop {
                match follower.next().await {
                    Ok(signal) => self.0.take(signal, follower.grace),
                    Err(error) => break error,
                }
                if self.0.is_unused() {
                    return;
                }
            };
            self.0.end();
            self.0.clear();
            tracing::warn!(namespace = &*scope.namespace, "there is no near cache: {error}");
            tokio::time::sleep(LONG_PAUSE).await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.0.clear();
        self.0.is_started.store(false, SeqCst);
    }
}

/// The feeds of a client by namespace: there are some only for namespaces with near caches.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<Arc<str>, Weak<Feed>>>);

impl Feeds {
    /// The feed of a namespace. It is opened at the first read.
    pub(crate) fn open(&self, namespace: &Arc<str>) -> Arc<Feed> {
        let mut feeds = self.0.lock();
        if let Some(feed) = feeds.get(namespace).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed::new());
        feeds.insert(Arc::clone(namespace), Arc::downgrade(&feed));
        feed
    }

    fn of(&self, namespace: &str) -> Option<Arc<Feed>> {
        self.0.lock().get(namespace).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Feed>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }
}

/// Does the same at its begin and at its end, also if the call between is dropped.
struct Around<F: Fn()>(F);

impl<F: Fn()> Around<F> {
    fn new(act: F) -> Self {
        act();
        Self(act)
    }
}

impl<F: Fn()> Drop for Around<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Makes a call that changes entries: what it concerns is forgotten before and after it, so that no
/// read of this process returns or keeps what was there.
pub(crate) async fn changing<R>(
    scope: &Scope,
    forget: impl Fn(&Feed),
    call: impl Future<Output = Result<R, Error>>,
) -> Result<R, Error> {
    let Some(feed) = scope.core.feeds.of(&scope.namespace) else { return call.await };
    let _around = Around::new(|| forget(&feed));
    call.await
}

/// As [`changing`], for an invalidation: the computations of now are not joined any more.
pub(crate) async fn removing<R>(
    scope: &Scope,
    forget: impl Fn(&Feed),
    concerns: impl Fn(&str) -> bool,
    call: impl Future<Output = Result<R, Error>>,
) -> Result<R, Error> {
    let flights = &scope.core.flights;
    let _around = Around::new(|| flights.forget(Some(&scope.namespace), &concerns));
    changing(scope, forget, call).await
}

/// As [`removing`], for a call that may concern all namespaces.
pub(crate) async fn removing_all<R>(
    core: &Core,
    call: impl Future<Output = Result<R, Error>>,
) -> Result<R, Error> {
    let _around = Around::new(|| {
        core.feeds.all().iter().for_each(|feed| feed.clear());
        core.flights.forget(None, |_| true);
    });
    call.await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Cleared(AtomicUsize);

    impl Listener for Cleared {
        fn key_changed(&self, _: &str) {}

        fn matching(&self, _: &dyn Fn(&str, &[String]) -> bool) {}

        fn clear(&self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_late_message_of_an_unbroken_stream_makes_a_feed_live_again() {
        let cleared = Arc::new(Cleared::default());
        let feed = Feed::new();
        feed.listen(Arc::<Cleared>::downgrade(&cleared) as Weak<dyn Listener>);
        feed.take(Signal::Alive, Duration::ZERO);
        assert!(!feed.is_live(Moment::now()), "before Ready");
        feed.take(Signal::Change(Change::Ready { resumed: false }), Duration::ZERO);
        while feed.is_live(Moment::now()) {}
        *feed.silence.lock() = Duration::from_secs(60);
        let before = cleared.0.load(SeqCst);
        feed.take(Signal::Alive, Duration::ZERO);
        assert!(feed.is_live(Moment::now()));
        assert!(cleared.0.load(SeqCst) > before, "nothing of before is valid");
        feed.take(Signal::Broken, Duration::ZERO);
        feed.take(Signal::Alive, Duration::ZERO);
        assert!(!feed.is_live(Moment::now()), "after the end of the stream");
    }
}
