//! Messages in buffers of their size.
//!
//! The library's own codec begins a buffer of 8 KiB for each request and each answer. Most are smaller, and those that are not would be
//! copied as their buffer grows; and a small value that is kept would keep the whole buffer.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

/// Most requests without a value fit, so that they are read into one allocation. A longer one gets its exact size.
const READ_BUFFER: usize = 128;
/// Room for the frame's header. The message gets its exact size.
const WRITE_BUFFER: usize = 8;
/// Size of the messages of a stream that are written together.
const TOGETHER: usize = 32 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub struct ExactCodec<T, U>(PhantomData<(T, U)>);

/// Encodes into a buffer of the message's size.
#[derive(Debug, Clone)]
pub struct ExactEncoder<T>(PhantomData<T>);

impl<T, U> Default for ExactCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for ExactCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(READ_BUFFER, TOGETHER))
    }
}

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        // The buffer also grows if it must.
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(WRITE_BUFFER, TOGETHER)
    }
}
