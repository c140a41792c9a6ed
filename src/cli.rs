//! The command line.

mod client;
mod healthcheck;
mod serve;
mod stats;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{self, Config, ConfigError, Overrides, Sources},
    error_chain::ErrorChain,
    origin,
};

/// Exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// A gRPC cache service: one namespaced, TTL-governed cache for services in every language.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve(ServeArgs),
    /// Ask a running server for its health; exit 0 if it is serving.
    Healthcheck(HealthcheckArgs),
    /// Check the configuration and print what it amounts to, without secrets.
    CheckConfig(ServeArgs),
    /// Print the figures of the fleet that a running server belongs to.
    Stats(StatsArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address for gRPC; port 0 takes a free one [env: LARDER_LISTEN] [default: 127.0.0.1:50051]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Address for metrics and HTTP probes [env: LARDER_ADMIN_LISTEN] [default: 127.0.0.1:9464]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// `memory`, or the URL of a Redis or Valkey [env: LARDER_STORE] [default: memory]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// TOML file with the configuration
    #[arg(long, value_name = "FILE", env = "LARDER_CONFIG")]
    config: Option<PathBuf>,
}

/// Where a running server is.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Address of the server [default: that of LARDER_LISTEN, or 127.0.0.1:50051]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// How long it may take, such as 500ms
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct HealthcheckArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// What to ask for: empty for readiness, `liveness`, `store`, or `origin/<namespace>`
    #[arg(long, default_value = "")]
    service: String,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON, with durations in seconds
    #[arg(long)]
    json: bool,
    /// Only this namespace; can be repeated
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
}

impl Cli {
    /// Does what the command line says, and reports what went wrong on standard error.
    pub fn run(self) -> ExitCode {
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(args) => match load(args.sources()) {
                Ok(config) => serve::run(config, args.sources()),
                Err(error) => refuse(&error),
            },
            Command::CheckConfig(args) => match load(args.sources()) {
                Ok(config) => check(&config),
                Err(error) => refuse(&error),
            },
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::Stats(args) => stats::run(&args),
        }
    }
}

impl ServeArgs {
    fn sources(&self) -> Sources {
        // An empty variable counts as unset, for the file as for every other key.
        let file = self.config.clone().filter(|path| !path.as_os_str().is_empty());
        let overrides = Overrides {
            listen: self.listen.clone(),
            admin_listen: self.admin_listen.clone(),
            store: self.store.clone(),
        };
        Sources { file, env: environment(), overrides }
    }
}

fn load(sources: Sources) -> Result<Config, ConfigError> {
    config::load(sources)
}

/// The environment, without what is not UTF-8: no variable of ours can be.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Shows the configuration if the server could use it: files that it names are looked at too, but nobody is asked.
fn check(config: &Config) -> ExitCode {
    // Whoever resolves names in the background needs one, although nothing is resolved here.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error),
    };
    if let Err(error) = runtime.block_on(async { origin::registry::check(&config.namespaces) }) {
        return refuse(&error);
    }
    print!("{}", config.render());
    ExitCode::SUCCESS
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    report(error);
    ExitCode::from(EXIT_CONFIG)
}

/// Prints an error and what caused it.
fn report(error: &dyn std::error::Error) {
    eprintln!("larder: {}", ErrorChain(error));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default_and_takes_the_same_flags() {
        for line in
            [&["larder", "--store", "memory"][..], &["larder", "serve", "--store", "memory"]]
        {
            let Ok(cli) = Cli::try_parse_from(line) else { panic!("{line:?}") };
            let Command::Serve(args) = cli.command.unwrap_or(Command::Serve(cli.serve)) else {
                panic!("{line:?}")
            };
            assert_eq!(args.store.as_deref(), Some("memory"));
        }
    }
}
