//! `larder watch` prints the changes of namespaces.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tonic::{Code, Status};

use super::{
    arguments::CallArgs,
    display::escape,
    failure::{Ending, Error},
    output::{Output, remark},
    session::{self, Session},
};
use crate::{
    growing_pauses::growing_pauses,
    pb::{
        self,
        v1::{
            KeysChanged, NamespaceInvalidated, PatternInvalidated, TagsInvalidated, WatchRequest,
            WatchResponse, watch_response::Event,
        },
    },
};

/// Longest silence before the server has sent its interval of heartbeats.
const FIRST_SILENCE: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespaces to watch
    #[arg(required = true, value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Also print the keys of entries that are written or removed
    #[arg(long)]
    keys: bool,
    #[command(flatten)]
    call: CallArgs,
}

/// A line of the output.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Line {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    glob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params_digest: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// State that is kept from one stream to the next.
struct Position {
    token: Bytes,
    /// Time without a message after which a stream is given up.
    silence: Duration,
    /// Whether a stream was ready.
    has_watched: bool,
    /// Whether the last one was.
    is_ready: bool,
}

/// Why a stream has ended.
enum StreamEnd {
    /// It can be opened again.
    Lost(Error),
    /// Every stream would end like this.
    Failed(Error),
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let mut output = Output::stdout(self.call.json);
        let mut position = Position::default();
        let mut pauses = growing_pauses(MIN_PAUSE, MAX_PAUSE);
        loop {
            let ended = session::run(&self.call, async |session| {
                match self.follow(&session, &mut output, &mut position).await {
                    StreamEnd::Lost(error) => {
                        remark(&format!("larder: {error}; the stream is opened again"));
                        Ok(Ending::Done)
                    }
                    StreamEnd::Failed(error) => Err(error),
                }
            });
            match ended {
                Ok(_) => {}
                // Only a server that has answered once is waited for.
                Err(Error::Client(error)) if position.has_watched => {
                    remark(&format!("larder: {error}; the stream is opened again"));
                }
                Err(error) => return Err(error),
            }
            if std::mem::take(&mut position.is_ready) {
                pauses = growing_pauses(MIN_PAUSE, MAX_PAUSE);
            }
            session::pause(pauses.next().unwrap_or(MAX_PAUSE))?;
        }
    }

    /// Prints one stream.
    async fn follow(
        &self,
        session: &Session,
        output: &mut Output,
        position: &mut Position,
    ) -> StreamEnd {
        let request = WatchRequest {
            namespaces: self.namespaces.clone(),
            keys: self.keys,
            resume_token: position.token.clone(),
        };
        // Without a deadline: it has no end.
        let mut stream = match session.answer(session.cache().watch(request)).await {
            Ok(stream) => stream,
            Err(error) => return StreamEnd::of(error, position.has_watched),
        };
        loop {
            let message = tokio::time::timeout(position.silence, stream.message()).await;
            let event = match message {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => {
                    let status = Status::new(Code::Unavailable, "the stream has ended");
                    return StreamEnd::Lost(session.refused(status));
                }
                Ok(Err(status)) => return StreamEnd::of(session.refused(status), true),
                Err(_elapsed) => return StreamEnd::Lost(session.silent(position.silence)),
            };
            position.follow(&event);
            if let Err(error) = self.print(event, output) {
                return StreamEnd::Failed(error);
            }
        }
    }

    fn print(&self, event: WatchResponse, output: &mut Output) -> Result<(), Error> {
        let is_terminal = output.is_terminal();
        for line in lines(event)? {
            output.line(&line, || line.text(is_terminal))?;
        }
        Ok(())
    }
}

// === impl StreamEnd ===

impl StreamEnd {
    /// Whether a stream can be opened again after this error. `has_watched`: one was open before.
    fn of(error: Error, has_watched: bool) -> Self {
        let is_final = match &error {
            Error::Refused { status, .. } => matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::Unimplemented
                    | Code::PermissionDenied
                    | Code::Unauthenticated
            ),
            Error::Client(_) => false,
            Error::Usage(_)
            | Error::Input { .. }
            | Error::Output(_)
            | Error::Pages { .. }
            | Error::Latencies(_)
            | Error::Degraded(_)
            | Error::Config(_)
            | Error::Journal(_) => true,
        };
        if is_final || !has_watched { Self::Failed(error) } else { Self::Lost(error) }
    }
}

// === impl Position ===

impl Default for Position {
    fn default() -> Self {
        let (token, silence) = (Bytes::new(), FIRST_SILENCE);
        Self { token, silence, has_watched: false, is_ready: false }
    }
}

impl Position {
    fn follow(&mut self, event: &WatchResponse) {
        match &event.event {
            Some(Event::Ready(ready)) => {
                self.token = ready.resume_token.clone();
                (self.has_watched, self.is_ready) = (true, true);
                let times = [ready.heartbeat, ready.max_delay].into_iter().flatten();
                let silence: Duration = times.filter_map(pb::duration).sum();
                if !silence.is_zero() {
                    self.silence = silence;
                }
            }
            Some(Event::Heartbeat(heartbeat)) => self.token = heartbeat.resume_token.clone(),
            // The next events need not continue the earlier ones.
            Some(Event::Reset(_)) | None => self.token = Bytes::new(),
            Some(
                Event::NamespaceInvalidated(_)
                | Event::TagsInvalidated(_)
                | Event::PatternInvalidated(_)
                | Event::KeysChanged(_),
            ) => {}
        }
    }
}

// === impl Line ===

impl Line {
    fn new(event: &'static str) -> Self {
        Self {
            event,
            namespace: None,
            tags: None,
            glob: None,
            key: None,
            params_digest: None,
            resumed: None,
            reason: None,
        }
    }

    fn text(&self, is_terminal: bool) -> String {
        let shown = |text: &str| if is_terminal { escape(text) } else { text.to_owned() };
        let mut text = self.event.to_owned();
        let mut add = |word: &str| {
            text.push(' ');
            text.push_str(word);
        };
        self.namespace.iter().for_each(|name| add(name));
        self.tags.iter().flatten().for_each(|tag| add(&shown(tag)));
        self.glob.iter().chain(&self.key).for_each(|word| add(&shown(word)));
        if let Some(digest) = self.params_digest.as_ref().and_then(Option::as_ref) {
            add(&format!("params {digest}"));
        }
        if self.resumed == Some(true) {
            add("resumed");
        }
        self.reason.iter().for_each(|reason| add(reason));
        text
    }
}

/// The lines of an event: one for each key, none for a heartbeat.
fn lines(event: WatchResponse) -> Result<Vec<Line>, Error> {
    let of_namespace = |event, namespace| Line { namespace: Some(namespace), ..Line::new(event) };
    let lines = match event.event {
        Some(Event::Ready(ready)) => {
            vec![Line { resumed: Some(ready.resumed), ..Line::new("ready") }]
        }
        Some(Event::Heartbeat(_)) => Vec::new(),
        Some(Event::Reset(reset)) => {
            let name = reset.reason().as_str_name();
            let name = name.strip_prefix("RESET_REASON_").unwrap_or(name).to_lowercase();
            vec![Line { reason: Some(name), ..Line::new("reset") }]
        }
        // An event of a later release may be anything.
        None => vec![Line { reason: Some("unknown_event".to_owned()), ..Line::new("reset") }],
        Some(Event::NamespaceInvalidated(bytes)) => {
            let NamespaceInvalidated { namespace } = decode(bytes)?;
            vec![of_namespace("namespace", namespace)]
        }
        Some(Event::TagsInvalidated(bytes)) => {
            let TagsInvalidated { namespace, tags } = decode(bytes)?;
            vec![Line { tags: Some(tags), ..of_namespace("tags", namespace) }]
        }
        Some(Event::PatternInvalidated(bytes)) => {
            let PatternInvalidated { namespace, glob } = decode(bytes)?;
            vec![Line { glob: Some(glob), ..of_namespace("pattern", namespace) }]
        }
        Some(Event::KeysChanged(bytes)) => {
            let KeysChanged { namespace, keys } = decode(bytes)?;
            let line = |key: pb::v1::ChangedKey| Line {
                key: Some(key.key),
                params_digest: Some((!key.params_digest.is_empty()).then_some(key.params_digest)),
                ..of_namespace("key", namespace.clone())
            };
            keys.into_iter().map(line).collect()
        }
    };
    Ok(lines)
}

fn decode<T: prost::Message + Default>(bytes: Bytes) -> Result<T, Error> {
    T::decode(bytes).map_err(|error| {
        let status = Status::internal(format!("an event cannot be read: {error}"));
        Error::Refused { address: "the server".to_owned(), status: Box::new(status) }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;
    use prost::Message as _;

    use super::*;
    use crate::pb::v1::{ChangedKey, Heartbeat, Ready, Reset};

    fn printed(event: Event) -> Vec<(String, String)> {
        let lines = lines(WatchResponse { event: Some(event) }).unwrap();
        lines.iter().map(|line| (line.text(true), serde_json::to_string(line).unwrap())).collect()
    }

    fn pair(text: &str, json: &str) -> (String, String) {
        (text.to_owned(), json.to_owned())
    }

    #[test]
    fn each_event_is_a_line_and_each_key_too() {
        let namespace = || "ns".to_owned();
        let ready = Ready { resumed: true, ..Ready::default() };
        let json = r#"{"event":"ready","resumed":true}"#;
        assert_eq!(printed(Event::Ready(ready)), [pair("ready resumed", json)]);
        assert_eq!(printed(Event::Heartbeat(Heartbeat::default())), []);
        let json = r#"{"event":"reset","reason":"slow_reader"}"#;
        assert_eq!(printed(Event::Reset(Reset { reason: 4 })), [pair("reset slow_reader", json)]);
        let tags = TagsInvalidated { namespace: namespace(), tags: vec!["a".into(), "b\n".into()] };
        let json = r#"{"event":"tags","namespace":"ns","tags":["a","b\n"]}"#;
        let expected = [pair("tags ns a b\\n", json)];
        assert_eq!(printed(Event::TagsInvalidated(tags.encode_to_vec().into())), expected);
        let keys =
            ["x", ""].map(|digest| ChangedKey { key: "k".into(), params_digest: digest.into() });
        let keys = KeysChanged { namespace: namespace(), keys: keys.into() };
        let expected = [
            pair(
                "key ns k params x",
                r#"{"event":"key","namespace":"ns","key":"k","params_digest":"x"}"#,
            ),
            pair("key ns k", r#"{"event":"key","namespace":"ns","key":"k","params_digest":null}"#),
        ];
        assert_eq!(printed(Event::KeysChanged(keys.encode_to_vec().into())), expected);
    }

    #[test]
    fn the_token_is_kept_until_a_reset() {
        let mut position = Position::default();
        let ready = Ready {
            resume_token: Bytes::from_static(b"1"),
            heartbeat: Some(pb::from_duration(Duration::from_secs(5))),
            max_delay: Some(pb::from_duration(Duration::from_secs(1))),
            resumed: false,
        };
        position.follow(&WatchResponse { event: Some(Event::Ready(ready)) });
        assert_eq!((&*position.token, position.silence), (&b"1"[..], Duration::from_secs(6)));
        let heartbeat = Heartbeat { resume_token: Bytes::from_static(b"2") };
        position.follow(&WatchResponse { event: Some(Event::Heartbeat(heartbeat)) });
        assert_eq!(&*position.token, b"2");
        position.follow(&WatchResponse { event: Some(Event::Reset(Reset { reason: 1 })) });
        assert!(position.token.is_empty());
    }

    #[test]
    fn a_namespace_is_required() {
        #[derive(Debug, clap::Parser)]
        struct CommandLine {
            #[command(flatten)]
            args: Args,
        }
        assert!(CommandLine::try_parse_from(["watch"]).is_err());
        let line = CommandLine::try_parse_from(["watch", "a", "b", "--keys"]).unwrap();
        assert_eq!((line.args.namespaces.len(), line.args.keys), (2, true));
    }
}
