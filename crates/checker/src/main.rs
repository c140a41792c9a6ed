//! A test that tries to prove Larder wrong.
//!
//! It starts replicas on a store, makes concurrent calls, injects faults, and checks every answer
//! against the promises of the documentation. `docs/checker.md` has the whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    // They are short forms of identifiers, for people.
    clippy::cast_possible_truncation
)]

mod checks;
mod clock;
mod convert;
mod faults;
mod fleet;
mod history;
mod names;
mod nemesis;
mod planted;
mod print;
mod recorder;
mod report;
mod run;
mod slots;
mod support;
mod watcher;
mod weakening;
mod workload;

use std::{path::PathBuf, process::ExitCode, sync::OnceLock, time::Duration};

use clap::Parser as _;

use crate::fleet::Topology;

/// Tries to prove Larder wrong.
#[derive(Debug, clap::Parser)]
pub(crate) struct Options {
    /// Where the replicas keep their entries; without it one topology after the other.
    #[arg(long)]
    pub(crate) topology: Option<Topology>,
    /// How long each topology is checked, in seconds.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Operations after which a topology is done; without it the time alone counts.
    #[arg(long)]
    pub(crate) operations: Option<u64>,
    /// Decides the calls and the faults.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Number of concurrent clients.
    #[arg(long, default_value_t = 32)]
    pub(crate) clients: u16,
    /// Checks a server with a planted fault, until it is found; `all`: one after the other.
    #[arg(long)]
    pub(crate) planted: Option<String>,
    /// The server to check.
    #[arg(long, default_value = "target/debug/larder")]
    pub(crate) server: PathBuf,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();

/// The options of the command line.
pub(crate) fn options() -> &'static Options {
    OPTIONS.get_or_init(Options::parse)
}

/// Path of the server that is checked.
fn larder_binary() -> PathBuf {
    fleet::binary()
}

fn main() -> ExitCode {
    let options = options();
    let seed = options.seed.unwrap_or_else(rand::random);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(name) = &options.planted {
        return runtime.block_on(planted::find(name, seed, options.clients));
    }
    let topologies = options.topology.map_or(Topology::ALL.to_vec(), |topology| vec![topology]);
    for topology in topologies {
        let plan = run::Plan {
            topology,
            seed,
            time: Duration::from_secs(options.seconds),
            operations: options.operations.unwrap_or(u64::MAX),
            clients: options.clients,
            bug: None,
            faults: None,
        };
        let outcome = runtime.block_on(run::run(&plan));
        println!("{}", outcome.summary);
        if let Some(violation) = outcome.violation {
            println!("{violation}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
