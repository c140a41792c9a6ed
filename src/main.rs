//! The `larder` binary: see `larder --help`.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Connections to Redis by TLS need one, and the library refuses to choose. It is only refused if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    larder::cli::Cli::parse().run()
}
