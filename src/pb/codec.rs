//! A codec with buffers of the size of their message.
//!
//! tonic's own codec starts with a buffer of 8 KiB for each request and each response. Most
//! messages are smaller, and larger ones are copied while their buffer grows. A small value that is
//! kept would also keep the whole buffer alive.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Initial size of the read buffer, in bytes. Most requests without a value fit, so that they are
/// read into one allocation. A longer message gets a buffer of its exact size.
const READ_BUFFER: usize = 128;
/// Initial size of the write buffer, in bytes: the frame header. The message gets its exact size.
const WRITE_BUFFER: usize = 8;
/// Size up to which the messages of a stream are written together, in bytes.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Encodes `T` and decodes `U` with buffers of exact size.
#[derive(Debug, Clone)]
pub struct ExactCodec<T, U>(PhantomData<(T, U)>);

/// Reserves the exact size of a message before it encodes the message.
#[derive(Debug, Clone)]
pub struct ExactEncoder<T>(ProstEncoder<T>);

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
        ExactEncoder(ProstEncoder::new(BufferSettings::new(WRITE_BUFFER, YIELD_THRESHOLD)))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(READ_BUFFER, YIELD_THRESHOLD))
    }
}

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = <ProstEncoder<T> as Encoder>::Error;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Self::Error> {
        buffer.reserve(message.encoded_len());
        self.0.encode(message, buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
