//! Keeps the descriptors of the services, by which recorded requests become JSON.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let files = ["larder/v1/cache_service.proto", "larder/v1/admin_service.proto"];
    let descriptors = protox::compile(files, ["../../proto"])?;
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
