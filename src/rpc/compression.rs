//! Compression of responses that may be long.

use http::HeaderName;
use prost::Message;
use tonic::{Request, Response};

const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Length from which a message is compressed, if its client asks for that. Shorter ones hardly
/// shrink, or grow.
const MIN_COMPRESSED: usize = 1024;

/// Whether the client of a call, whose response may be long, asks for a compressed one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compression(bool);

impl Compression {
    #[inline]
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let headers = request.metadata().as_ref();
        // The pipeline keeps this header only next to another one, and few others.
        Self(headers.len() > 1 && headers.contains_key(ACCEPT_ENCODING))
    }

    /// Turns the compression of a short response off.
    #[inline]
    pub(super) fn fit<T: Message>(self, response: &mut Response<T>) {
        if self.0 && response.get_ref().encoded_len() < MIN_COMPRESSED {
            response.disable_compression();
        }
    }
}
