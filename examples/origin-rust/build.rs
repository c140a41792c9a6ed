//! Generates the service from the proto. No protoc is needed. In your own project, copy the proto
//! next to this file.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/larder/origin");
    let protos = protox::compile(["larder/origin/v1/origin_service.proto"], ["../../proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(protos)?;
    Ok(())
}
