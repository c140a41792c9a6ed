//! `larder serve`: runs the server and handles signals.

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use transport::{
    Admission,
    runtime::{self, BusyPollStats, Threads, Unsupported},
};

use super::print_error;
use crate::{
    config::{self, Config, Sources},
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
}

/// Runs until a signal stops the server.
pub(super) fn run(config: Config, sources: Sources) -> ExitCode {
    let admission = Admission::new(config.limits.max_concurrent_requests);
    let served = runtime::build(config.busy_poll, &admission).map_err(Error::from).and_then(
        |Threads { runtime, busy_poll }| {
            runtime.block_on(serve(config, sources, admission, busy_poll))
        },
    );
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    config: Config,
    sources: Sources,
    admission: Arc<Admission>,
    busy_poll: Result<Arc<BusyPollStats>, Unsupported>,
) -> Result<(), Error> {
    let telemetry = Telemetry::start(&config.log, &config.telemetry)?;
    log_panics();
    match busy_poll {
        Ok(busy_poll) => runtime_metrics::register_busy_poll(&telemetry.meter(), &busy_poll),
        Err(error) => tracing::warn!(error = %ErrorChain(&error), "busy_poll has no effect"),
    }
    let mut signals = Signals::install()?;
    let server = Server::bind(config.clone(), &telemetry, admission).await?;
    let stop = CancellationToken::new();
    let reload = server.reload();
    let running = server.run(telemetry.registry().clone(), stop.clone());
    let signal_loop = async {
        let mut current = config;
        loop {
            match signals.next().await {
                SignalAction::Stop => stop.cancel(),
                SignalAction::Reload => reload_config(&mut current, &sources, &reload, &telemetry),
            }
        }
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = signal_loop => Ok(()),
    };
    telemetry.shutdown(EXPORT_TIMEOUT).await;
    Ok(outcome?)
}

/// Reloads the configuration. An unusable one changes nothing.
fn reload_config(current: &mut Config, sources: &Sources, reload: &Reload, telemetry: &Telemetry) {
    let new = match config::load(sources.clone()) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "the configuration stays as it was");
            return;
        }
    };
    if let Err(error) = reload.apply(&new) {
        tracing::error!(error = %ErrorChain(&error), "the configuration stays as it was");
        return;
    }
    if let Err(error) = telemetry.set_log_level(&new.log.level) {
        tracing::error!(error = %ErrorChain(&error), "the log level stays as it was");
    }
    let ignored = current.needs_restart(&new);
    if ignored.is_empty() {
        tracing::info!("the configuration was read again");
    } else {
        tracing::warn!(
            keys = ignored.join(", "),
            "the configuration was read again, but these keys need a restart"
        );
    }
    *current = new;
}

/// Sends panics to the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
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
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }
}
