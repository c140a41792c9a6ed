//! Watch: its request, and its events.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;

use super::{Checked, check_batch_size};
use crate::{
    cache::{
        ChangeBatch, MAX_TOKEN_BYTES, PublishedChange, ResetReason, WatchOptions, WatchSignal,
    },
    model::{Namespace, Violation},
    pb::{
        from_duration,
        v1::{self as pb, watch_response::Event},
    },
};

/// Most namespaces of one watch.
const MAX_NAMESPACES: usize = 64;

/// A checked Watch request.
#[derive(Debug)]
pub(in crate::rpc) struct WatchCommand {
    pub(in crate::rpc) namespaces: Vec<Namespace>,
    pub(in crate::rpc) has_keys: bool,
    pub(in crate::rpc) token: Bytes,
}

/// Checks a request.
pub(in crate::rpc) fn watch_command(request: pb::WatchRequest) -> Checked<WatchCommand> {
    check_batch_size("namespaces", request.namespaces.len(), MAX_NAMESPACES, None)?;
    let checked = |(index, name): (usize, &String)| {
        Namespace::new(name).map_err(|violation| violation.renamed(format!("namespaces[{index}]")))
    };
    let namespaces = request.namespaces.iter().enumerate().map(checked);
    let token = request.resume_token;
    if token.len() > MAX_TOKEN_BYTES {
        let description = format!("is {} bytes long, the limit is {MAX_TOKEN_BYTES}", token.len());
        return Err(Violation::over_limit("resume_token", description, MAX_TOKEN_BYTES));
    }
    Ok(WatchCommand {
        namespaces: namespaces.collect::<Result<_, _>>()?,
        has_keys: request.keys,
        token,
    })
}

/// The event for a signal.
pub(in crate::rpc) fn watch_event(
    signal: WatchSignal,
    options: &WatchOptions,
) -> pb::WatchResponse {
    let event = match signal {
        WatchSignal::Ready { token, is_resumed } => Event::Ready(pb::Ready {
            resume_token: token.into(),
            resumed: is_resumed,
            max_delay: Some(from_duration(options.max_delay)),
            heartbeat: Some(from_duration(options.heartbeat)),
        }),
        WatchSignal::Heartbeat { token } => {
            Event::Heartbeat(pb::Heartbeat { resume_token: token.into() })
        }
        WatchSignal::Reset(reason) => {
            Event::Reset(pb::Reset { reason: reset_reason(reason).into() })
        }
        WatchSignal::Changed(batch) => {
            let encoded = batch.encoded(encode);
            match batch.change() {
                PublishedChange::Keys(_) => Event::KeysChanged(encoded),
                PublishedChange::Namespace => Event::NamespaceInvalidated(encoded),
                PublishedChange::Tags(_) => Event::TagsInvalidated(encoded),
                PublishedChange::Pattern(_) => Event::PatternInvalidated(encoded),
            }
        }
    };
    pb::WatchResponse { event: Some(event) }
}

/// Encodes the message of a change.
fn encode(batch: &ChangeBatch) -> Bytes {
    let namespace = batch.namespace().to_string();
    let message = match batch.change() {
        PublishedChange::Keys(keys) => {
            let keys = keys.iter().map(|name| pb::ChangedKey {
                key: name.key.to_owned(),
                params_digest: name
                    .digest
                    .map_or_else(String::new, |digest| BASE64URL_NOPAD.encode(digest)),
            });
            pb::KeysChanged { namespace, keys: keys.collect() }.encode_to_vec()
        }
        PublishedChange::Namespace => pb::NamespaceInvalidated { namespace }.encode_to_vec(),
        PublishedChange::Tags(tags) => {
            pb::TagsInvalidated { namespace, tags: tags.clone() }.encode_to_vec()
        }
        PublishedChange::Pattern(glob) => {
            pb::PatternInvalidated { namespace, glob: glob.clone() }.encode_to_vec()
        }
    };
    message.into()
}

fn reset_reason(reason: ResetReason) -> pb::ResetReason {
    match reason {
        ResetReason::FeedLost => pb::ResetReason::FeedLost,
        ResetReason::StoreUnavailable => pb::ResetReason::StoreUnavailable,
        ResetReason::StoreFlushed => pb::ResetReason::StoreFlushed,
        ResetReason::SlowReader => pb::ResetReason::SlowReader,
        ResetReason::NotResumable => pb::ResetReason::NotResumable,
        ResetReason::ShuttingDown => pb::ResetReason::ShuttingDown,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(namespaces: &[&str], token: usize) -> pb::WatchRequest {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        pb::WatchRequest { namespaces, keys: true, resume_token: vec![1; token].into() }
    }

    #[test]
    fn namespaces_and_token_are_bounded() {
        let command = watch_command(request(&["a", "b", "a"], MAX_TOKEN_BYTES)).unwrap();
        assert_eq!((command.namespaces.len(), command.has_keys), (3, true));
        let error = |request| watch_command(request).unwrap_err();
        assert_eq!(error(request(&[], 0)).to_string(), "namespaces must not be empty");
        assert_eq!(error(request(&["a"; MAX_NAMESPACES + 1], 0)).limit(), Some(64));
        assert_eq!(error(request(&["a", "B"], 0)).field(), "namespaces[1]");
        let long = error(request(&["a"], MAX_TOKEN_BYTES + 1));
        assert_eq!((long.field(), long.limit()), ("resume_token", Some(16 * 1024)));
    }

    #[test]
    fn reasons_have_the_names_of_the_proto() {
        for reason in ResetReason::ALL {
            let name = reset_reason(reason).as_str_name();
            let expected = name.strip_prefix("RESET_REASON_").unwrap().to_lowercase();
            assert_eq!(reason.name(), expected);
        }
    }
}
