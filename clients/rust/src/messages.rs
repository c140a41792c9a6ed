//! How messages are written and read.

use std::{marker::PhantomData, sync::Arc};

use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::rpc::Rpc;

/// Bytes before a message.
const HEADER: usize = 5;
/// A request is one message, which nothing is to be sent before.
const UNTIL_SENT: usize = usize::MAX;

/// Writes a request, which the attempts of a call share, and reads the answers.
pub(crate) struct Messages<Q> {
    buffer: BufferSettings,
    request: PhantomData<fn(Q)>,
}

impl<Q: Rpc> Messages<Q> {
    /// For this request: its buffer has the size of it.
    pub(crate) fn of(request: &Q) -> Self {
        let buffer = BufferSettings::new(HEADER + request.encoded_len(), UNTIL_SENT);
        Self { buffer, request: PhantomData }
    }
}

impl<Q: Rpc> Codec for Messages<Q> {
    type Encode = Arc<Q>;
    type Decode = Q::Response;
    type Encoder = Writer<Q>;
    type Decoder = ProstDecoder<Q::Response>;

    fn encoder(&mut self) -> Writer<Q> {
        Writer { buffer: self.buffer, request: PhantomData }
    }

    fn decoder(&mut self) -> ProstDecoder<Q::Response> {
        ProstCodec::<Q, Q::Response>::raw_decoder(BufferSettings::default())
    }
}

/// Writes requests.
pub(crate) struct Writer<Q> {
    buffer: BufferSettings,
    request: PhantomData<fn(Q)>,
}

impl<Q: Rpc> Encoder for Writer<Q> {
    type Item = Arc<Q>;
    type Error = Status;

    fn encode(&mut self, request: Arc<Q>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        request.encode(to).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.buffer
    }
}
