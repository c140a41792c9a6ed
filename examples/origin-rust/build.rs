//! Generates the service from the proto, without a protoc on the machine. In a project of your own, copy the proto beside it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../../proto/larder/origin");
    let protos = protox::compile(["larder/origin/v1/origin_service.proto"], ["../../proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(protos)?;
    Ok(())
}
