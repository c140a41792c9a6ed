//! A watch of each replica, whose events are recorded.

use std::{sync::Arc, time::Duration};

use crate::{
    checks::watches::{Arrived, WatchEvent},
    clock,
    history::{Namespace, Target},
    names::{NAMESPACES, WATCHED, parse_glob, parse_tag},
    shared::Shared,
    slots::Slots,
    support::watch::{Watch, WatchEvent as Received, watch_request},
};

/// Time without a message after which a caller drops all: `heartbeat` and `max_delay`.
const SILENCE: Duration = Duration::from_secs(2);
/// Pause before another stream is opened.
const REOPEN: Duration = Duration::from_millis(50);

/// Follows one replica until the run is over.
pub(crate) async fn follow(shared: Arc<Shared>, slots: Arc<Slots>, replica: u8) {
    let namespaces = WATCHED.map(|namespace| NAMESPACES[usize::from(namespace)]);
    let add = |what| {
        let event = WatchEvent { replica, at: clock::now(), what };
        shared.events.lock().unwrap().push(event);
    };
    while !shared.is_over() {
        let cache = slots.cache(replica);
        let opened = Watch::open(&cache, watch_request(&namespaces, false, b""));
        if let Ok(Ok(mut watch)) = tokio::time::timeout(SILENCE, opened).await {
            while !shared.is_over() {
                let next = tokio::time::timeout(SILENCE, watch.stream.message()).await;
                let Ok(Ok(Some(message))) = next else { break };
                match arrived(Received::of(message)) {
                    Some(Ok(all)) => all.into_iter().for_each(&add),
                    Some(Err(other)) => {
                        shared.fail(format!("BROKEN: a watch has an unknown target: {other}"));
                    }
                    None => {}
                }
            }
        }
        add(Arrived::Reset);
        tokio::time::sleep(REOPEN).await;
    }
}

/// The events of a message; none for a heartbeat.
fn arrived(event: Received) -> Option<Result<Vec<Arrived>, String>> {
    let number = |name: &str| {
        let position = NAMESPACES.iter().position(|other| *other == name);
        Namespace::try_from(position.unwrap()).unwrap()
    };
    let all = match event {
        Received::Ready { .. } => vec![Arrived::Ready],
        Received::Heartbeat { .. } => return None,
        Received::Reset(_) => vec![Arrived::Reset],
        Received::Namespace(name) => vec![Arrived::Invalidated(Target::Namespace(number(&name)))],
        Received::Tags(name, names) => {
            let namespace = number(&name);
            let targets = names.iter().map(|tag| {
                let (round, tags) = parse_tag(tag).ok_or_else(|| tag.clone())?;
                Ok(Arrived::Invalidated(Target::Tags { namespace, round, tags }))
            });
            return Some(targets.collect());
        }
        Received::Pattern(name, glob) => match parse_glob(&glob) {
            Some((round, group)) => {
                let namespace = number(&name);
                vec![Arrived::Invalidated(Target::Group { namespace, round, group })]
            }
            None => return Some(Err(glob)),
        },
        Received::Keys(..) => Vec::new(),
    };
    Some(Ok(all))
}
