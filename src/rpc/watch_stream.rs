//! Watch: the stream of changes.

use std::sync::Arc;

use futures_util::stream;
use tonic::Status;

use super::{
    batch_stream::ResponseStream,
    convert::{self, WatchCommand},
};
use crate::{
    cache::{Error, WatchSession, Watches},
    pb::v1 as pb,
};

enum State {
    Open(Box<WatchSession>),
    Ended,
}

/// Serves one stream, for as long as its client reads it.
///
/// It needs no task: a stream that is not read is not polled, and holds nothing but its position.
pub(super) fn serve(
    watches: Arc<Watches>,
    command: WatchCommand,
) -> Result<ResponseStream<pb::WatchResponse>, Error> {
    let WatchCommand { namespaces, has_keys, token } = command;
    let session = watches.open(namespaces, has_keys, &token)?;
    let events = stream::unfold(State::Open(Box::new(session)), move |state| {
        let watches = watches.clone();
        async move {
            let State::Open(mut session) = state else { return None };
            match session.next().await {
                Some(signal) => {
                    let event = convert::watch_event(signal, watches.options());
                    Some((Ok(event), State::Open(session)))
                }
                None => Some((Err(Status::from(Error::ShuttingDown)), State::Ended)),
            }
        }
    });
    Ok(Box::pin(events))
}
