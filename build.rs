//! Compiles the protos without a protoc on the machine, and keeps their descriptors for reflection.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(["larder/v1/cache_service.proto"], ["proto"])?;
    fs::write(out_dir.join("larder_descriptors.bin"), descriptors.encode_to_vec())?;
    // Sorted maps, because params are hashed in the order of their names.
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
