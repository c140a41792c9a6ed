//! `larder serve`: runs the server and follows signals.

use std::{process::ExitCode, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use transport::{
    Admission,
    runtime::{self, BusyPollStats, Threads, Unsupported},
};

use super::report;
use crate::{
    config::{self, Config, Sources},
    error_chain::ErrorChain,
    server::{self, Reload, Server},
    telemetry::{self, Telemetry, runtime_metrics},
};

/// Time for the last spans and metrics to be exported.
const EXPORT_LIMIT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// Runs until a signal says to stop.
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
            report(&error);
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
        Ok(busy_poll) => runtime_metrics::register(&telemetry.meter(), &busy_poll),
        Err(error) => tracing::warn!(error = %ErrorChain(&error), "busy_poll has no effect"),
    }
    let mut signals = Signals::install()?;
    let server = Server::bind(config.clone(), &telemetry, admission).await?;
    let stop = CancellationToken::new();
    let reload = server.reload();
    let running = server.run(telemetry.registry().clone(), stop.clone());
    let following = async {
        let mut current = config;
        loop {
            match signals.next().await {
                Asked::Stop => stop.cancel(),
                Asked::Reload => reload_config(&mut current, &sources, &reload, &telemetry),
            }
        }
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = following => Ok(()),
    };
    telemetry.shutdown(EXPORT_LIMIT).await;
    Ok(outcome?)
}

/// Reads the configuration again. One that cannot be used changes nothing.
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

/// Panics go to the log, like everything else that goes wrong.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}

enum Asked {
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

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}
