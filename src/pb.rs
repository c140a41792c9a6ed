//! Code generated from the protos, and their descriptors.

/// `larder.v1`: the protos are the reference.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("larder.v1");
}

/// The encoded `FileDescriptorSet` of all protos, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/larder_descriptors.bin"));
