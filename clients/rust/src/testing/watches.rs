//! The streams of Watch of the fake. They cannot be resumed.

use std::{collections::HashSet, time::Duration};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::checks::status;
use crate::{
    pb::{self, watch_response::Event},
    ttl::to_wire,
};

const HEARTBEAT: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_millis(500);
/// Events that a slow reader may have outstanding. Beyond, its stream breaks.
const MAX_EVENTS: usize = 10_000;

type Sent = Result<pb::WatchResponse, Status>;

struct Watcher {
    namespaces: HashSet<String>,
    keys: bool,
    events: mpsc::Sender<Sent>,
}

#[derive(Default)]
pub(crate) struct Watches(Vec<Watcher>);

fn message(event: Event) -> Sent {
    Ok(pb::WatchResponse { event: Some(event) })
}

fn ready() -> Sent {
    message(Event::Ready(pb::Ready {
        heartbeat: Some(to_wire(HEARTBEAT)),
        max_delay: Some(to_wire(MAX_DELAY)),
        ..Default::default()
    }))
}

impl Watches {
    pub(crate) fn announce(&mut self, namespace: &str, event: &Event) {
        let is_key = matches!(event, Event::KeysChanged(_));
        self.0.retain(|watcher| {
            if !watcher.namespaces.contains(namespace) || (is_key && !watcher.keys) {
                return !watcher.events.is_closed();
            }
            watcher.events.try_send(message(event.clone())).is_ok()
        });
    }

    pub(crate) fn break_all(&mut self) {
        for watcher in self.0.drain(..) {
            let broken = status(Code::Unavailable, "SHUTTING_DOWN", "the stream is broken");
            // A full stream ends without the status.
            let _ = watcher.events.try_send(Err(broken));
        }
    }

    pub(crate) fn reset_all(&mut self) {
        let reset = pb::Reset { reason: pb::ResetReason::StoreFlushed.into() };
        self.0.retain(|watcher| {
            watcher.events.try_send(message(Event::Reset(reset))).is_ok()
                && watcher.events.try_send(ready()).is_ok()
        });
    }

    pub(crate) fn open(&mut self, request: pb::WatchRequest) -> impl Stream<Item = Sent> + use<> {
        let (sender, receiver) = mpsc::channel(MAX_EVENTS);
        // The channel is empty.
        let _ = sender.try_send(ready());
        let namespaces = request.namespaces.into_iter().collect();
        self.0.push(Watcher { namespaces, keys: request.keys, events: sender });
        stream::unfold(receiver, |mut receiver| async move {
            let beat = message(Event::Heartbeat(pb::Heartbeat::default()));
            let next = tokio::time::timeout(HEARTBEAT, receiver.recv()).await;
            next.unwrap_or(Some(beat)).map(|event| (event, receiver))
        })
    }
}
