//! Compiles the protos, without a protoc on the machine, and keeps the descriptors of the served
//! services for reflection.

use std::{env, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{DescriptorProto, field_descriptor_proto::Type};

const CACHE: &str = "larder/v1/cache_service.proto";
const ADMIN: &str = "larder/v1/admin_service.proto";
const HEALTH: &str = "grpc/health/v1/health.proto";
const ORIGIN: &str = "larder/origin/v1/origin_service.proto";

/// Makes `Bytes` of the text in a value, so that it is not copied. On the wire both are the same.
/// The conversions check that text is UTF-8.
fn use_bytes_for_text(value: &mut DescriptorProto) {
    let text = value.field.iter_mut().filter(|field| field.r#type() == Type::String);
    text.for_each(|field| field.set_type(Type::Bytes));
}

/// Makes `Bytes` of the changes in a WatchResponse, so that a change is encoded once for all
/// streams. On the wire both are the same.
fn use_bytes_for_changes(event: &mut DescriptorProto) {
    const CHANGES: [&str; 4] =
        ["namespace_invalidated", "tags_invalidated", "pattern_invalidated", "keys_changed"];
    for field in event.field.iter_mut().filter(|field| CHANGES.contains(&field.name())) {
        field.set_type(Type::Bytes);
        field.type_name = None;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection lists every service in its descriptors: the OriginService, which Larder only
    // calls, must not be among them.
    let served = protox::compile([CACHE, ADMIN, HEALTH], ["proto"])?;
    fs::write(out_dir.join("larder_descriptors.bin"), served.encode_to_vec())?;
    let mut all = protox::compile([CACHE, ADMIN, HEALTH, ORIGIN], ["proto"])?;
    for message in all.file.iter_mut().flat_map(|file| &mut file.message_type) {
        match message.name() {
            "Value" => use_bytes_for_text(message),
            "WatchResponse" => use_bytes_for_changes(message),
            _ => {}
        }
    }
    // Sorted maps, because params are hashed sorted by name.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::pb::codec::ExactCodec")
        .compile_fds(all)?;
    Ok(())
}
