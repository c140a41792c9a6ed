//! The `larder` binary: see `larder --help`.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // TLS connections to Redis need a default crypto provider, and rustls does not choose one. The
    // call fails only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    larder::cli::Cli::parse().run()
}
