//! Commands that use the cache of a running server, or its journal: one file each.
//!
//! A command reads its arguments before it connects, calls the server through a [`session`], and
//! writes to an [`output`]. `docs/cli.md` has the exit codes.

mod analyze;
mod arguments;
mod audit;
mod bench;
mod completions;
mod config;
mod delete;
mod display;
mod distributions;
mod events;
mod failure;
mod fetch;
mod flush_near_cache;
mod get;
mod history;
mod hot_keys;
mod incr;
mod inspect;
mod invalidate;
mod journal;
mod keys;
mod man;
mod namespaces;
mod output;
mod patch;
mod replicas;
mod session;
mod set;
mod token;
mod top;
mod touch;
mod value;
mod warm;
mod watch;

use std::process::ExitCode;

use clap::Subcommand;

/// Commands on entries and namespaces. Each variant names the file with the arguments.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Print the value of an entry, or a table of several entries.
    Get(get::Args),
    /// Store a value, from the command line, a file or standard input.
    Set(set::Args),
    /// Delete entries; afterwards no read returns an older value.
    Delete(delete::Args),
    /// Print a value that is computed if it is missing, or get the lease to compute it.
    Fetch(fetch::Args),
    /// Give a fresh entry a new TTL.
    Touch(touch::Args),
    /// Add to a counter and print the sum.
    Incr(incr::Args),
    /// Change a part of a JSON value.
    Patch(patch::Args),
    /// Invalidate entries of a namespace; afterwards no read returns an older value.
    Invalidate(invalidate::Args),
    /// Fetch entries from the origin of a namespace before they are requested.
    Warm(warm::Args),
    /// List the keys of a namespace.
    Keys(keys::Args),
    /// Print what the store holds for one key, whether or not a read returns it.
    Inspect(inspect::Args),
    /// List the namespaces in use, with their policies and figures.
    Namespaces(namespaces::Args),
    /// Print the counters of the fleet over the last hour, day or week.
    History(history::Args),
    /// List the replicas on the same store, with their load and the state of their origins.
    Replicas(replicas::Args),
    /// Print the keys of a namespace that are read most, by all replicas together.
    HotKeys(hot_keys::Args),
    /// Print how well namespaces are cached, and what to change.
    Analyze(analyze::Args),
    /// Show what a fleet does, on a full screen, or once as text or JSON.
    Top(top::Args),
    /// Print how the entries of a namespace are spread over sizes and ages.
    Distributions(distributions::Args),
    /// Load a server with reads and writes of a namespace of its own, and print how it answers.
    Bench(bench::Args),
    /// Remove the copies of entries in the near cache of a replica.
    FlushNearCache(flush_near_cache::Args),
    /// Print the configuration of a running server, without secrets.
    Config(config::Args),
    /// Publish an event of the business, or list the events with rules.
    Events(events::Args),
    /// Print what changes in namespaces, until it is interrupted.
    Watch(watch::Args),
    /// Print or drop the invalidations in the journal of a server that does not run.
    Journal(journal::Args),
    /// Print the audit log of a server: which caller changed what.
    Audit(audit::Args),
    /// Make tokens for callers.
    Token(token::Args),
    /// Print the completions of a shell.
    Completions(completions::Args),
    /// Write the manual pages of all commands.
    Man(man::Args),
}

impl CacheCommand {
    /// Runs the command and prints errors to standard error.
    pub(super) fn run(self) -> ExitCode {
        let ending = match self {
            Self::Get(args) => args.run(),
            Self::Set(args) => args.run(),
            Self::Delete(args) => args.run(),
            Self::Fetch(args) => args.run(),
            Self::Touch(args) => args.run(),
            Self::Incr(args) => args.run(),
            Self::Invalidate(args) => args.run(),
            Self::Warm(args) => args.run(),
            Self::Keys(args) => args.run(),
            Self::Inspect(args) => args.run(),
            Self::Namespaces(args) => args.run(),
            Self::Patch(args) => args.run(),
            Self::History(args) => args.run(),
            Self::Replicas(args) => args.run(),
            Self::HotKeys(args) => args.run(),
            Self::Analyze(args) => args.run(),
            Self::Top(args) => args.run(),
            Self::Distributions(args) => args.run(),
            Self::Bench(args) => args.run(),
            Self::FlushNearCache(args) => args.run(),
            Self::Config(args) => args.run(),
            Self::Events(args) => args.run(),
            Self::Watch(args) => args.run(),
            Self::Journal(args) => args.run(),
            Self::Audit(args) => args.run(),
            Self::Token(args) => args.run(),
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        };
        failure::exit_code(ending)
    }
}
