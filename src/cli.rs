//! The command line.

mod certs;
mod client;
mod commands;
mod config_reader;
mod connection;
mod figures;
mod healthcheck;
mod open_files;
mod port_file;
mod security;
mod serve;
mod stats;
mod target;
mod top;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use self::{commands::CacheCommand, security::SecurityArgs};
use crate::{
    config::{self, Config, ConfigError, Overrides, Sources},
    error_chain::ErrorChain,
    origin,
    tls::TlsError,
    visible_text::visible_lines,
};

/// Exit code for an unusable configuration (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// Exit code for output that cannot be written.
const EXIT_OUTPUT: u8 = 5;

/// A gRPC cache service: one namespaced, TTL-governed cache for services in every language.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve(RunArgs),
    /// Check the health of a running server; exits with 0 if it is serving.
    Healthcheck(HealthcheckArgs),
    /// Check the configuration and print the effective values, without secrets.
    CheckConfig(ServeArgs),
    /// Print the statistics of the fleet, as a running server reports them.
    Stats(StatsArgs),
    /// Make certificates for development: an authority, and what it signs for servers and clients.
    Certs(certs::CertsArgs),
    #[command(flatten)]
    Cache(Box<CacheCommand>),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Address for gRPC; port 0 takes a free port [env: LARDER_LISTEN] [default: 127.0.0.1:50051]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Address for metrics and HTTP probes [env: LARDER_ADMIN_LISTEN] [default: 127.0.0.1:9464]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// `memory`, or the URL of a Redis or Valkey server [env: LARDER_STORE] [default: memory]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// File with the URL of the server, which hides its password [env: LARDER_STORE__URL_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    store_url_file: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "LARDER_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ServeArgs,
    /// File to write the addresses in use to when the server serves, for listeners on port 0
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

/// How to call a running server.
#[derive(Debug, Args)]
struct ConnectArgs {
    /// Time limit for connecting and the answer, such as 500ms
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "2s",
        value_parser = duration,
    )]
    timeout: Duration,
    #[command(flatten)]
    security: SecurityArgs,
}

#[derive(Debug, Args)]
struct HealthcheckArgs {
    /// Address of the server, or several with commas [default: LARDER_LISTEN, or 127.0.0.1:50051]
    // Not LARDER_ADDRESS: in a container, this is the probe of the server there.
    #[arg(long, visible_alias = "endpoint", value_name = "HOST:PORT")]
    address: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Service to check: empty for readiness, `liveness`, `store` or `origin/<namespace>`
    #[arg(long, default_value = "")]
    service: String,
}

/// Where the server is.
#[derive(Debug, Args)]
struct AddressArgs {
    /// Address of the server, or several with commas [default: LARDER_ENDPOINT, LARDER_LISTEN, or
    /// 127.0.0.1:50051]
    #[arg(
        long,
        visible_alias = "endpoint",
        value_name = "HOST:PORT",
        env = "LARDER_ADDRESS",
        hide_env_values = true
    )]
    address: Option<String>,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[command(flatten)]
    server: AddressArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print JSON, with durations in seconds
    #[arg(long)]
    json: bool,
    /// Only this namespace; can be given several times
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
}

impl Cli {
    /// Runs the command and prints errors to standard error.
    pub fn run(self) -> ExitCode {
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(args) => serve::run(args.config.sources(), args.port_file),
            Command::CheckConfig(args) => match config::load(args.sources()) {
                Ok(config) => check_config(&config),
                Err(error) => config_error(&error),
            },
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::Stats(args) => stats::run(&args),
            Command::Certs(args) => certs::run(&args),
            Command::Cache(command) => command.run(),
        }
    }
}

impl ServeArgs {
    fn sources(&self) -> Sources {
        // An empty LARDER_CONFIG counts as unset, like every other variable.
        let file = self.config.clone().filter(|path| !path.as_os_str().is_empty());
        let overrides = Overrides {
            listen: self.listen.clone(),
            admin_listen: self.admin_listen.clone(),
            store: self.store.clone(),
            store_url_file: self.store_url_file.clone(),
        };
        Sources { file, env: environment(), overrides }
    }
}

/// The environment without values that are not UTF-8, which no variable of Larder's can have.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Checks the certificates of the ports and of the store.
fn check_certificates(config: &Config) -> Result<(), TlsError> {
    for options in [config.grpc_tls(), config.admin_tls()].into_iter().flatten() {
        options.load()?;
    }
    let store = config.store.tls();
    store.build(&store.read()?).map(drop)
}

/// Prints the configuration if the server could use it. Reads the files that it names, but sends
/// no requests.
fn check_config(config: &Config) -> ExitCode {
    // The resolver of a gRPC origin is a task of a runtime, although it resolves nothing here.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return config_error(&error),
    };
    if let Err(error) = runtime.block_on(async { origin::registry::check(&config.namespaces) }) {
        return config_error(&error);
    }
    if let Err(error) = check_certificates(config) {
        return config_error(&error);
    }
    if let Err(error) = print(&config.render()) {
        print_error(&client::Error::Output(error));
        return ExitCode::from(EXIT_OUTPUT);
    }
    ExitCode::SUCCESS
}

/// Parses a duration of the command line, such as `1h 30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = |error| format!("expected a duration such as 500ms, 2s or 1h 30m: {error}");
    humantime::parse_duration(text).map_err(expected)
}

fn config_error(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    print_error(error);
    ExitCode::from(EXIT_CONFIG)
}

/// Prints to standard output. A reader that has read enough closes the pipe, which is no error;
/// the macros of the standard library would panic.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints an error with its causes. Each of several mistakes in a configuration has a line.
fn print_error(error: &(dyn std::error::Error + 'static)) {
    let _ = io::stderr().write_all(visible_lines(&error_lines(error)).as_bytes());
}

fn error_lines(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::Invalid { problems }) => {
            problems.iter().map(|problem| format!("larder: {problem}\n")).collect()
        }
        Some(_) | None => format!("larder: {}\n", ErrorChain(error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_mistake_of_a_configuration_has_a_line_with_the_name_of_the_program() {
        let problem = |key: &str| config::Problem {
            key: key.to_owned(),
            message: "unknown key".to_owned(),
            origin: None,
        };
        let error = ConfigError::Invalid { problems: vec![problem("a"), problem("b")] };
        assert_eq!(error_lines(&error), "larder: a: unknown key\nlarder: b: unknown key\n");
        let other = io::Error::other("no space");
        assert_eq!(error_lines(&other), "larder: no space\n");
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_answered_with_an_example() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["abc", "5", ""] {
            let error = duration(text).err().unwrap_or_default();
            assert!(error.starts_with("expected a duration such as 500ms, 2s or"), "{error}");
        }
    }

    #[test]
    fn serve_is_the_default_and_takes_the_same_flags() {
        for line in
            [&["larder", "--store", "memory"][..], &["larder", "serve", "--store", "memory"]]
        {
            let Ok(cli) = Cli::try_parse_from(line) else { panic!("{line:?}") };
            let Command::Serve(args) = cli.command.unwrap_or(Command::Serve(cli.serve)) else {
                panic!("{line:?}")
            };
            assert_eq!(args.config.store.as_deref(), Some("memory"));
        }
    }
}
