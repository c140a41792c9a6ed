//! Code generated from the protos, and their descriptors.

pub mod codec;

use std::time::Duration;

/// `larder.v1`: the protos are the reference.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("larder.v1");
}

/// What origins implement.
pub mod origin {
    /// `larder.origin.v1`: the protos are the reference.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("larder.origin.v1");
    }
}

/// The encoded `FileDescriptorSet` of the protos that the server serves, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/larder_descriptors.bin"));

/// What a message says of a time span; none if it is negative or malformed.
pub fn duration(duration: prost_types::Duration) -> Option<Duration> {
    // The library's own conversion overflows for the most negative numbers.
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}
