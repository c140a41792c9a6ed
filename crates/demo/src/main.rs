//! The origin and the callers of the demo. `scripts/demo.sh` starts them beside a fleet.

mod callers;
mod changes;
mod fleet;
mod origin;
mod popularity;
mod values;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};

use self::fleet::Fleet;

/// The origin and the callers of the demo.
#[derive(Parser)]
#[command(name = "larder-demo")]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serve the API from which the replicas fetch, on a free port
    Origin {
        /// File for the address of the API
        #[arg(long, value_name = "PATH")]
        port_file: PathBuf,
    },
    /// Call the replicas
    Callers {
        /// Addresses of all replicas, separated by commas
        #[arg(long, value_name = "HOST:PORT,...")]
        address: String,
        /// Time after which the callers end; without it they go on
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
}

/// Why a part of the demo ends.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the API cannot serve: {0}")]
    Serve(std::io::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("--address: {0}")]
    Address(larder_client::Error),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let done = match Arguments::parse().part {
        Part::Origin { port_file } => origin::serve(port_file).await,
        Part::Callers { address, seconds } => call(&address, seconds).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("larder-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn call(address: &str, seconds: Option<u64>) -> Result<(), Error> {
    let fleet = Arc::new(Fleet::new(address)?);
    callers::start(&fleet);
    changes::start(&fleet);
    // A year is longer than any demo.
    let time = seconds.map_or(Duration::from_secs(365 * 86_400), Duration::from_secs);
    tokio::time::sleep(time).await;
    println!("{}", fleet.summary());
    Ok(())
}
