//! Bodies of answers.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body::{Body, Frame};
use http_body_util::{
    BodyExt as _, BodyStream, Empty, Full, StreamBody, combinators::UnsyncBoxBody,
};

use crate::transport::authorization::TokenError as BoxError;

/// The body of an answer: from the cache, or as the service sends it.
pub type CacheBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body, read as far as it can be cached.
pub(super) enum Collected {
    Whole(Bytes),
    /// It is too large or too slow, breaks or has trailers: it passes through.
    Passing(CacheBody),
}

pub(super) fn boxed<B>(body: B) -> CacheBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

pub(super) fn full(bytes: Bytes) -> CacheBody {
    boxed(Full::new(bytes))
}

pub(super) fn empty() -> CacheBody {
    boxed(Empty::new())
}

/// Reads a body to its end, at most so many bytes and for so long.
pub(super) async fn collect<B>(body: B, limit: usize, within: Duration) -> Collected
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut body = boxed(body);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut size = 0_usize;
    let last = {
        let mut late = pin!(tokio::time::sleep(within));
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = &mut late => break None,
            };
            let data = match frame {
                None => return Collected::Whole(joined(parts, size)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => break Some(Ok(trailers)),
                },
                Some(Err(error)) => break Some(Err(error)),
            };
            size = size.saturating_add(data.len());
            parts.push(data);
            if size > limit {
                break None;
            }
        }
    };
    let begin = stream::iter(parts.into_iter().map(|part| Ok(Frame::data(part))));
    let rest = begin.chain(stream::iter(last)).chain(BodyStream::new(body));
    Collected::Passing(boxed(StreamBody::new(rest)))
}

fn joined(mut parts: Vec<Bytes>, size: usize) -> Bytes {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut whole = BytesMut::with_capacity(size);
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}
