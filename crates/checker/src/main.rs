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
mod shared;
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
    /// How long to check, such as 2m; several topologies share it.
    #[arg(long, default_value = "2m", value_parser = parse_time)]
    pub(crate) time: Duration,
    /// Calls after which a topology is done; without it the time alone counts.
    #[arg(long)]
    pub(crate) operations: Option<u64>,
    /// The only faults to inject, separated by commas; without it all that the topology has.
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Option<Vec<nemesis::Kind>>,
    /// Faults that are not injected, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(crate) without: Vec<nemesis::Kind>,
    /// Whether the replicas have journals; without it the seed decides.
    #[arg(long)]
    pub(crate) journal: Option<bool>,
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

fn parse_time(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| "no number")?;
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("unknown unit {unit}: s, m or h")),
    };
    Ok(Duration::from_secs(number * seconds))
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
    let count = u32::try_from(topologies.len()).unwrap();
    for topology in topologies {
        let plan = run::Plan {
            topology,
            seed,
            time: options.time / count,
            operations: options.operations.unwrap_or(u64::MAX),
            clients: options.clients,
            // Without a journal, invalidations fail in outages.
            has_journals: options.journal.unwrap_or(!seed.is_multiple_of(3)),
            bug: None,
            faults: options.faults.clone(),
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
