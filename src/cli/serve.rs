//! `larder serve`: runs the server and handles signals.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use transport::{
    Admission,
    runtime::{self, BusyPollStats, Threads, Unsupported},
};

use super::{
    config_error,
    config_reader::{ConfigReader, ReadError},
    open_files,
    port_file::{self, PortFile},
    print_error,
};
use crate::{
    config::{Config, Sources},
    error_chain::ErrorChain,
    server::{self, Reload, Server, runtime_metrics},
    telemetry::{self, Telemetry},
};

/// Time limit for exporting the last spans and metrics.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    PortFile(#[from] port_file::Error),
}

/// How the start ends before the server runs.
enum Start {
    Serve(Box<Config>),
    Stopped,
}

/// Runs until a signal stops the server.
pub(super) fn run(sources: Sources, port_file: Option<PathBuf>) -> ExitCode {
    // Handles signals while the configuration is read, which decides on the main runtime. The
    // handlers outlive this runtime.
    let early = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error.into()),
    };
    let started = early.block_on(async {
        let mut signals = Signals::install()?;
        let started = start(&mut signals, &sources).await;
        Ok::<_, std::io::Error>((started, signals))
    });
    early.shutdown_background();
    match started {
        Ok((Ok(Start::Serve(config)), signals)) => {
            let start = StartOptions { sources, port_file };
            run_server(*config, start, signals)
        }
        Ok((Ok(Start::Stopped), _)) => ExitCode::SUCCESS,
        Ok((Err(ReadError::Config(error)), _)) => config_error(&error),
        Ok((Err(error), _)) => config_error(&error),
        Err(error) => failure(&Error::Runtime(error)),
    }
}

/// Reads the configuration until a signal to stop. After a signal to reload, it is read again.
async fn start(signals: &mut Signals, sources: &Sources) -> Result<Start, ReadError> {
    let mut reader = ConfigReader::default();
    let mut read = Box::pin(reader.read(sources.clone(), None));
    let mut reload = false;
    loop {
        tokio::select! {
            biased;
            action = signals.next() => match action {
                SignalAction::Stop => return Ok(Start::Stopped),
                SignalAction::Reload => reload = true,
            },
            config = &mut read => {
                let config = config?;
                signals.is_reload_due = reload;
                return Ok(Start::Serve(Box::new(config)));
            }
        }
    }
}

fn failure(error: &Error) -> ExitCode {
    print_error(error);
    ExitCode::FAILURE
}

/// Options of the command line besides the configuration.
struct StartOptions {
    sources: Sources,
    /// File to write the addresses in use to.
    port_file: Option<PathBuf>,
}

fn run_server(config: Config, start: StartOptions, signals: Signals) -> ExitCode {
    let admission = Admission::new(config.limits.max_concurrent_requests);
    let served = runtime::build(config.busy_poll, &admission).map_err(Error::from).and_then(
        |Threads { runtime, busy_poll }| {
            runtime.block_on(serve(config, start, admission, busy_poll, signals))
        },
    );
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(
            error @ Error::Server(server::Error::Shards { .. } | server::Error::Certificate(_)),
        ) => config_error(&error),
        Err(error) => failure(&error),
    }
}

async fn serve(
    config: Config,
    StartOptions { sources, port_file }: StartOptions,
    admission: Arc<Admission>,
    busy_poll: Result<Arc<BusyPollStats>, Unsupported>,
    mut signals: Signals,
) -> Result<(), Error> {
    let telemetry = Telemetry::start(&config.log, &config.telemetry)?;
    log_panics();
    match busy_poll {
        Ok(busy_poll) => runtime_metrics::register_busy_poll(&telemetry.meter(), &busy_poll),
        Err(error) => tracing::warn!(error = %ErrorChain(&error), "busy_poll has no effect"),
    }
    warn_of_visible_password(&sources);
    let mut bound = config.clone();
    bound.limits.max_connections = open_files::raise_limit(&config.limits);
    let server = Server::bind(bound, &telemetry, admission).await?;
    let stop = CancellationToken::new();
    let reload = server.reload();
    let addresses = server.addresses()?;
    let port_file = port_file.map(|path| PortFile::write(path, addresses)).transpose()?;
    let config_file =
        sources.file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let running = server.run(telemetry.registry().clone(), config_file, stop.clone());
    let signal_loop = async {
        let (mut current, mut reader) = (config, ConfigReader::default());
        loop {
            match signals.next().await {
                SignalAction::Stop => stop.cancel(),
                SignalAction::Reload => {
                    reload.reopen_audit_log();
                    let read = reader.read(sources.clone(), Some(current.clone()));
                    tokio::select! {
                        biased;
                        new = read => apply(new, &mut current, &reload, &telemetry).await,
                        () = signals.stopped() => stop.cancel(),
                    }
                }
            }
        }
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = signal_loop => Ok(()),
    };
    drop(port_file);
    telemetry.shutdown(EXPORT_TIMEOUT).await;
    Ok(outcome?)
}

/// Warns of a password that other users of the machine can read.
fn warn_of_visible_password(sources: &Sources) {
    if sources.overrides.shows_password() {
        tracing::warn!(
            "the list of processes shows the password in --store; write the URL to a file and \
             pass its path as --store-url-file, or pass the password as REDIS_PASSWORD"
        );
    }
}

/// Applies a configuration that was read again. An unusable one changes nothing.
async fn apply(
    new: Result<Config, ReadError>,
    current: &mut Config,
    reload: &Reload,
    telemetry: &Telemetry,
) {
    let new = match new {
        Ok(new) => new,
        Err(error) => {
            reload.record_refused(&ErrorChain(&error).to_string());
            tracing::error!(error = %ErrorChain(&error), "the configuration stays as it was");
            return;
        }
    };
    if let Err(error) = reload.apply(&new).await {
        reload.record_refused(&ErrorChain(&error).to_string());
        tracing::error!(error = %ErrorChain(&error), "the configuration stays as it was");
        return;
    }
    if let Err(error) = telemetry.set_log_level(&new.log.level) {
        tracing::error!(error = %ErrorChain(&error), "the log level stays as it was");
    }
    let ignored = current.needs_restart(&new);
    let changed = current.changed_keys(&new);
    let applied: Vec<String> = changed.into_iter().filter(|key| !ignored.contains(key)).collect();
    reload.record_applied(&applied, &ignored);
    let changed = if applied.is_empty() { "nothing".to_owned() } else { short_list(&applied) };
    if ignored.is_empty() {
        tracing::info!(changed, "the configuration was read again");
    } else {
        tracing::warn!(
            changed,
            keys = short_list(&ignored),
            "the configuration was read again, but these keys need a restart"
        );
    }
    *current = new;
}

/// Names of keys for a log line, of which a large configuration has too many.
fn short_list(keys: &[String]) -> String {
    const MAX_NAMES: usize = 20;
    let named = keys.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match keys.len().checked_sub(MAX_NAMES) {
        Some(more @ 1..) => format!("{named} and {more} more"),
        _ => named,
    }
}

/// Sends panics to the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(target: "larder::panic", %panic, %backtrace, "panic");
    }));
}

enum SignalAction {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether a signal to reload came before the server could.
    is_reload_due: bool,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            is_reload_due: false,
        })
    }

    /// Waits for a signal to stop.
    async fn stopped(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self) -> SignalAction {
        if std::mem::take(&mut self.is_reload_due) {
            return SignalAction::Reload;
        }
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }
}
