//! A codec with buffers of the size of their message.
//!
//! tonic's own codec starts with a buffer of 8 KiB for each request and each response. Most
//! messages are smaller, and larger ones are copied while their buffer grows. A small value that is
//! kept would also keep the whole buffer alive.

use std::{any::type_name, marker::PhantomData};

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

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
pub struct ExactEncoder<T>(PhantomData<T>);

/// Decodes messages. A request is one message, unless its method has a stream of them.
#[derive(Debug, Clone)]
pub struct ExactDecoder<U> {
    decoder: ProstDecoder<U>,
    has_message: bool,
}

impl<T, U> Default for ExactCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for ExactCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ExactEncoder<T>;
    type Decoder = ExactDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        let decoder = ProstDecoder::new(BufferSettings::new(READ_BUFFER, YIELD_THRESHOLD));
        ExactDecoder { decoder, has_message: false }
    }
}

impl<T: Message> Encoder for ExactEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        // `Message::encode` would compute the length of each nested message once more.
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(WRITE_BUFFER, YIELD_THRESHOLD)
    }
}

impl<U: Message + Default> Decoder for ExactDecoder<U> {
    type Item = U;
    type Error = Status;

    #[inline]
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if std::mem::replace(&mut self.has_message, true) {
            check_second::<U>()?;
        }
        self.decoder.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.decoder.buffer_settings()
    }
}

/// Refuses a second message of a request, which tonic would ignore: by the list of status codes of
/// gRPC it is `UNIMPLEMENTED`.
fn check_second<U>() -> Result<(), Status> {
    if is_single_request(type_name::<U>()) {
        return Err(Status::unimplemented("the request has more than one message"));
    }
    Ok(())
}

/// Whether a message is the only one of its request. The names of all requests, and of no other
/// messages, end like this.
fn is_single_request(name: &str) -> bool {
    name.ends_with("Request") && !name.ends_with("::FetchStreamRequest")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn requests_of_streams_and_responses_may_have_many_messages() {
        let set = FileDescriptorSet::decode(crate::pb::FILE_DESCRIPTOR_SET).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        let mut methods = 0;
        for method in services.flat_map(|service| &service.method) {
            let in_rust = |name: &str| name.replace('.', "::");
            let is_single = is_single_request(&in_rust(method.input_type()));
            assert_eq!(is_single, !method.client_streaming(), "{}", method.name());
            assert!(!is_single_request(&in_rust(method.output_type())), "{}", method.name());
            methods += 1;
        }
        assert!(methods > 15, "{methods}");
    }
}
