//! Pages that change by themselves: their content as server-sent events.
//!
//! One task makes the content, whatever the number of viewers, and only while there is one. Each
//! viewer gets the latest content only, so that a slow one holds nothing.

mod viewers;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    extract::State,
    http::Uri,
    response::{IntoResponse as _, Response, Sse, sse},
};
use futures_util::{Stream, stream};
use maud::Markup;
use opentelemetry::metrics::{Counter, Meter};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Dashboard,
    error::Error,
    pages::{self, Part},
    places::{AllTaken, Place, Places},
    query::Query,
    span::Span,
    visitor::Visitor,
};
use viewers::Viewers;

use crate::{
    admin::{AccessEnd, LongAnswer},
    cache, metric_list,
    model::Namespace,
};

/// Most streams.
const MAX_STREAMS: usize = 32;
/// Most of them for visitors that are no operators, so that there are places for operators.
const MAX_OPEN_STREAMS: usize = MAX_STREAMS / 2;
/// Time between two checks of what is due.
const TICK: Duration = Duration::from_secs(1);
/// Time in which a browser connects again.
const RETRY: Duration = Duration::from_secs(3);

/// A page that changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Feed {
    Overview { span: Span, shows_keys: bool },
    Namespaces { span: Span, part: Part },
    Namespace { name: Namespace, span: Span, shows_keys: bool },
    HotKeys { namespace: Namespace, minutes: u64 },
    Origins { span: Span, shows_keys: bool },
    Replicas,
}

/// The streams.
pub(super) struct Live {
    feeds: Mutex<HashMap<Feed, Published>>,
    has_viewer: Arc<Notify>,
    places: Places,
    viewers: Viewers<Feed>,
    refused: Counter<u64>,
    updates: Counter<u64>,
}

/// The last content of a page.
struct Published {
    content: watch::Sender<Arc<str>>,
    made_at: Instant,
}

/// One stream.
struct Viewing {
    content: watch::Receiver<Arc<str>>,
    end: AccessEnd,
    stop: CancellationToken,
    until: Instant,
    _place: Place,
}

impl Feed {
    /// The page that a request asks for.
    fn of(query: &Query, dashboard: &Dashboard, visitor: &Visitor) -> Result<Self, Error> {
        let (span, shows_keys) = (Span::of(query), visitor.is_operator);
        let named = || {
            let name = Namespace::new(query.text("namespace"))?;
            match dashboard.parts.cache.namespaces().config(&name) {
                Some(_) => Ok(name),
                None => Err(Error::from(cache::Error::UnknownNamespace(name))),
            }
        };
        match query.text("page") {
            "overview" => Ok(Self::Overview { span, shows_keys }),
            "namespaces" => Ok(Self::Namespaces { span, part: Part::of(query) }),
            "namespace" => Ok(Self::Namespace { name: named()?, span, shows_keys }),
            "hot-keys" => {
                Error::unless_operator(visitor)?;
                Ok(Self::HotKeys { namespace: named()?, minutes: pages::minutes(query) })
            }
            "origins" => Ok(Self::Origins { span, shows_keys }),
            "replicas" => Ok(Self::Replicas),
            _ => Err(Error::NotFound("such page with live figures")),
        }
    }

    fn interval(&self) -> Duration {
        match self {
            Self::Overview { span, .. }
            | Self::Namespaces { span, .. }
            | Self::Namespace { span, .. }
            | Self::Origins { span, .. } => span.update_interval(),
            Self::HotKeys { .. } | Self::Replicas => Span::Hour.update_interval(),
        }
    }

    /// The namespace with keys that it shows, or that keys of several are shown; none if it shows
    /// no keys.
    fn shown_keys(&self) -> Option<Option<&Namespace>> {
        match self {
            Self::Namespace { name, shows_keys: true, .. } => Some(Some(name)),
            Self::HotKeys { namespace, .. } => Some(Some(namespace)),
            Self::Overview { shows_keys: true, .. } | Self::Origins { shows_keys: true, .. } => {
                Some(None)
            }
            Self::Namespace { .. }
            | Self::Overview { .. }
            | Self::Origins { .. }
            | Self::Namespaces { .. }
            | Self::Replicas => None,
        }
    }

    async fn content(&self, dashboard: &Dashboard) -> Result<Markup, Error> {
        match self {
            Self::Overview { span, shows_keys } => {
                pages::overview_content(dashboard, *span, *shows_keys).await
            }
            Self::Namespaces { span, part } => {
                pages::namespaces_content(dashboard, *span, *part).await
            }
            Self::Namespace { name, span, shows_keys } => {
                pages::namespace_update(dashboard, name, *span, *shows_keys).await
            }
            Self::HotKeys { namespace, minutes } => {
                pages::hot_keys_update(dashboard, namespace, *minutes).await
            }
            Self::Origins { span, shows_keys } => {
                pages::origins_content(dashboard, *span, *shows_keys).await
            }
            Self::Replicas => pages::replicas_content(dashboard).await,
        }
    }
}

impl Live {
    /// No streams, and their metrics.
    pub(super) fn new(meter: &Meter) -> Self {
        let places = Places::new(MAX_STREAMS, MAX_OPEN_STREAMS);
        let shown = places.clone();
        metric_list::DASHBOARD_STREAMS
            .observed_gauge(meter)
            .with_callback(move |observer| observer.observe(shown.taken() as u64, &[]))
            .build();
        let refused = metric_list::DASHBOARD_STREAMS_REFUSED.counter(meter);
        refused.add(0, &[]);
        let updates = metric_list::DASHBOARD_UPDATES.counter(meter);
        updates.add(0, &[]);
        Self {
            feeds: Mutex::default(),
            has_viewer: Arc::default(),
            places,
            viewers: Viewers::new(),
            refused,
            updates,
        }
    }

    /// A place for a stream.
    ///
    /// # Errors
    /// [`Error::Busy`].
    async fn take_place(&self, visitor: &Visitor) -> Result<Place, Error> {
        let place = self.places.take(visitor.is_operator, Duration::ZERO).await;
        place.map_err(|AllTaken(limit)| {
            self.refused.add(1, &[]);
            Error::Busy { what: "pages with live figures", limit }
        })
    }

    /// Starts the task that makes the content, until the server stops.
    pub(super) fn start(&self, dashboard: &Arc<Dashboard>) {
        let task = update(Arc::downgrade(dashboard), self.has_viewer.clone());
        tokio::spawn(dashboard.parts.stop.clone().run_until_cancelled_owned(task));
    }

    /// The content of a page from now on.
    fn subscribe(&self, feed: Feed) -> watch::Receiver<Arc<str>> {
        let mut feeds = self.feeds.lock();
        let published = feeds.entry(feed).or_insert_with(|| Published {
            content: watch::Sender::new("".into()),
            made_at: Instant::now(),
        });
        let content = published.content.subscribe();
        self.has_viewer.notify_one();
        content
    }

    /// The pages that are due, without those that are no longer viewed; none if no page is viewed.
    fn due(&self) -> Option<Vec<Feed>> {
        let mut feeds = self.feeds.lock();
        feeds.retain(|_, published| published.content.receiver_count() > 0);
        let is_due = |feed: &Feed, at: Instant| at.elapsed() >= feed.interval();
        let due = feeds.iter().filter(|(feed, published)| is_due(feed, published.made_at));
        let due = due.map(|(feed, _)| feed.clone()).collect();
        (!feeds.is_empty()).then_some(due)
    }

    fn publish(&self, feed: &Feed, content: String) {
        self.updates.add(1, &[]);
        if let Some(published) = self.feeds.lock().get_mut(feed) {
            published.made_at = Instant::now();
            published.content.send_replace(content.into());
        }
    }
}

/// Makes the content of all pages that are viewed.
async fn update(dashboard: Weak<Dashboard>, has_viewer: Arc<Notify>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let due = {
            let Some(dashboard) = dashboard.upgrade() else { return };
            dashboard.parts.access.expire_sessions();
            dashboard.live.due()
        };
        let Some(due) = due else {
            has_viewer.notified().await;
            continue;
        };
        for feed in due {
            let Some(dashboard) = dashboard.upgrade() else { return };
            // A page that cannot be made in time shows its last content.
            let Ok(content) = feed.content(&dashboard).await else { continue };
            let content = content.into_string();
            // The format of the stream has no carriage return within a line.
            dashboard.live.publish(&feed, content.replace('\r', ""));
        }
    }
}

/// The content of a page, each time that it is made.
pub(super) async fn stream(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    let feed = Feed::of(&Query::of(&uri), &dashboard, &visitor)?;
    let live = &dashboard.live;
    let place = live.take_place(&visitor).await?;
    if let Some(namespace) = feed.shown_keys()
        && live.viewers.is_new(&visitor.caller, feed.clone())
    {
        dashboard.record_view(&visitor, "GET /live", |record| {
            namespace.iter().for_each(|namespace| record.touched().namespace(namespace));
        });
    }
    visitor.long_answer.begin();
    let viewing = Viewing {
        content: live.subscribe(feed),
        end: visitor.end.unwrap_or_default(),
        stop: dashboard.parts.stop.clone(),
        until: Instant::now() + LongAnswer::LIMIT,
        _place: place,
    };
    let events = Sse::new(events(viewing)).keep_alive(sse::KeepAlive::default());
    Ok(events.into_response())
}

/// An event without content. Browsers leave out events without data.
fn of_name(name: &str) -> sse::Event {
    sse::Event::default().event(name).data(name)
}

/// The events of a stream, until its time is over, the permission ends, or the server stops.
fn events(viewing: Viewing) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let begin = of_name("begin").retry(RETRY);
    stream::unfold((Some(viewing), Some(begin)), |(viewing, begin)| async move {
        let mut viewing = viewing?;
        if let Some(begin) = begin {
            return Some((Ok(begin), (Some(viewing), None)));
        }
        tokio::select! {
            biased;
            () = viewing.stop.cancelled() => None,
            () = viewing.end.wait() => {
                // The page is loaded again, which leads to the login.
                Some((Ok(of_name("end")), (None, None)))
            }
            () = sleep_until(viewing.until) => None,
            changed = viewing.content.changed() => {
                changed.ok()?;
                let content = viewing.content.borrow_and_update().clone();
                let event = sse::Event::default().event("content").data(content);
                Some((Ok(event), (Some(viewing), None)))
            }
        }
    })
}
