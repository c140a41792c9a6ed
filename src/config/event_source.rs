//! Streams that events are read from: `[[event_sources]]`.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::diagnostics::Diagnostics;
use super::store_file::read_url;
use super::store_url::{StoreUrl, store_url};
use super::toml::join;
use super::value::{HOUR, SECOND, choice, count, duration, exact_text, path};
use super::visitor::{ConfigVisitor, Section};
use crate::model::check_event_name;

/// Maximum number of sources.
const MAX_SOURCES: usize = 16;

/// `[[event_sources]]`: a Redis stream from which events are read.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSourceConfig {
    /// The server, which is not `"memory"`. Without it: that of the store.
    pub url: Option<StoreUrl>,
    /// A file with the URL, in place of `url`.
    pub url_file: Option<PathBuf>,
    /// Key of the stream. It is required.
    pub redis_stream: String,
    /// The consumer group that all replicas share.
    pub group: String,
    /// Name of this replica in the group, different on each replica. Empty: a random one.
    pub consumer: String,
    /// Where a new group begins: at the entries that follow, or at the oldest entry.
    pub start: StreamStart,
    /// Most entries that are read and applied at a time.
    pub batch: usize,
    /// Time after which an entry that another replica has read and not acknowledged is taken over.
    pub min_idle: Duration,
    /// How often an entry is read without being acknowledged before it is given up.
    pub max_deliveries: u64,
    /// The event of all entries, of at most 255 bytes. Empty: the field `event_field` names it.
    pub event: String,
    /// Field with the name of the event.
    pub event_field: String,
    /// Field with a JSON object whose members are the attributes. Empty: all other fields are.
    pub data_field: String,
    /// Stream to which entries that cannot be applied are copied, the last 10,000 or so. Empty:
    /// none.
    pub dead_letter: String,
}

/// Where a new consumer group begins to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStart {
    /// At the entries that follow.
    New,
    /// At the oldest entry.
    Oldest,
}

impl Default for EventSourceConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            redis_stream: String::new(),
            group: "larder".to_owned(),
            consumer: String::new(),
            start: StreamStart::New,
            batch: 100,
            min_idle: Duration::from_secs(30),
            max_deliveries: 10,
            event: String::new(),
            event_field: "event".to_owned(),
            data_field: String::new(),
            dead_letter: String::new(),
        }
    }
}

impl Section for EventSourceConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let name = || exact_text("1 to 512 bytes", |text| (1..=512).contains(&text.len()));
        let or_empty = || exact_text("at most 512 bytes", |text| text.len() <= 512);
        visitor.key("redis_stream", &mut self.redis_stream, name());
        // Only one of the two is rendered. A section that is read has no file before.
        if self.url_file.is_none() {
            visitor.optional_key("url", &mut self.url, store_url());
        }
        visitor.optional_key("url_file", &mut self.url_file, path());
        visitor.key("group", &mut self.group, name());
        visitor.key("consumer", &mut self.consumer, or_empty());
        const STARTS: &[(&str, StreamStart)] =
            &[("new", StreamStart::New), ("oldest", StreamStart::Oldest)];
        visitor.key("start", &mut self.start, choice(STARTS));
        visitor.key("batch", &mut self.batch, count(1..=1000));
        visitor.key("min_idle", &mut self.min_idle, duration(SECOND, HOUR));
        visitor.key("max_deliveries", &mut self.max_deliveries, count(1..=1_000_000));
        visitor.key("event", &mut self.event, or_empty());
        visitor.key("event_field", &mut self.event_field, name());
        visitor.key("data_field", &mut self.data_field, or_empty());
        visitor.key("dead_letter", &mut self.dead_letter, or_empty());
    }
}

impl EventSourceConfig {
    /// Reads the URL from its file. `path` is the path of this table.
    pub(super) fn resolve_file(&mut self, path: &str, diagnostics: &mut Diagnostics) {
        let Some(file) = &self.url_file else { return };
        let key = join(path, "url_file");
        if self.url.is_some() {
            diagnostics.reject(&key, "expected either url or url_file, got both".to_owned());
        }
        match read_url(file) {
            Ok(url) => self.url = Some(url),
            Err(message) => diagnostics.reject(&key, message),
        }
    }

    /// The server of the stream: its own, or that of the store.
    pub fn server<'a>(&'a self, store: &'a StoreUrl) -> &'a StoreUrl {
        self.url.as_ref().unwrap_or(store)
    }
}

/// Checks the sources of events.
pub(super) fn check_sources(config: &Config, diagnostics: &mut Diagnostics) {
    let sources = &config.event_sources;
    if sources.len() > MAX_SOURCES {
        let message = format!("expected at most {MAX_SOURCES} sources, got {}", sources.len());
        diagnostics.reject("event_sources", message);
    }
    for (index, source) in sources.iter().enumerate() {
        let path = format!("event_sources[{index}]");
        let key = |name: &str| join(&path, name);
        if source.redis_stream.is_empty() {
            let message = "expected the key of a stream, got nothing".to_owned();
            diagnostics.reject_in(&path, &key("redis_stream"), message);
        }
        if source.url == Some(StoreUrl::Memory) {
            let message = "expected the URL of a Redis server, got \"memory\"".to_owned();
            diagnostics.reject(&key("url"), message);
        } else if source.server(&config.store.url) == &StoreUrl::Memory && source.url_file.is_none()
        {
            let message = "expected the URL of a Redis server, as store.url is \"memory\"";
            diagnostics.reject_in(&path, &key("url"), message.to_owned());
        }
        if source.server(&config.store.url).is_cluster() {
            let message = "expected the URL of one Redis server, not that of a Redis Cluster";
            diagnostics.reject_in(&path, &key("url"), message.to_owned());
        }
        if !source.event.is_empty()
            && let Err(violation) = check_event_name(&source.event)
        {
            diagnostics.reject(&key("event"), format!("the {violation}"));
        }
        if source.dead_letter == source.redis_stream && !source.dead_letter.is_empty() {
            let message = "expected a stream other than redis_stream".to_owned();
            diagnostics.reject(&key("dead_letter"), message);
        }
        let same = |other: &EventSourceConfig| {
            (&other.redis_stream, &other.group, other.server(&config.store.url))
                == (&source.redis_stream, &source.group, source.server(&config.store.url))
        };
        if let Some(other) = sources[..index].iter().position(same) {
            let message = format!("expected another stream or group than event_sources[{other}]");
            diagnostics.reject_in(&path, &key("redis_stream"), message);
        }
    }
}
