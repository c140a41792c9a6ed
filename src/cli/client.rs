//! Connects to a running server.

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use tonic::transport::{Channel, Endpoint};

use super::{TargetArgs, environment, report};

const DEFAULT: &str = "127.0.0.1:50051";

/// Why a command for a running server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{address} is not an address such as {DEFAULT}")]
    Address { address: String, source: tonic::transport::Error },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: tonic::transport::Error },
    #[error("{address} answered {}: {}", status.code(), status.message())]
    Status { address: String, status: Box<tonic::Status> },
    #[error("{address} did not answer within {}", humantime::format_duration(*limit))]
    Timeout { address: String, limit: Duration },
    #[error("{address} is {status}")]
    Unhealthy { address: String, status: &'static str },
    #[error("no runtime")]
    Runtime(#[from] std::io::Error),
}

/// A server and the way to it.
pub(super) struct Target {
    pub(super) address: String,
    pub(super) channel: Channel,
}

/// Runs `command` on a connection, within the time that the command line allows.
pub(super) fn run<F: Future<Output = Result<(), Error>>>(
    args: &TargetArgs,
    command: impl FnOnce(Target) -> F,
) -> ExitCode {
    let address = args.address.clone().unwrap_or_else(default_address);
    let limit = args.timeout;
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let work = async { command(connect(address.clone()).await?).await };
                tokio::time::timeout(limit, work)
                    .await
                    .unwrap_or(Err(Error::Timeout { address, limit }))
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn connect(address: String) -> Result<Target, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|source| Error::Address { address: address.clone(), source })?;
    match endpoint.connect().await {
        Ok(channel) => Ok(Target { address, channel }),
        Err(source) => Err(Error::Connect { address, source }),
    }
}

/// Where the server of the same environment listens; from here, if it listens everywhere.
fn default_address() -> String {
    let configured =
        environment().remove("LARDER_LISTEN").and_then(|listen| listen.parse::<SocketAddr>().ok());
    match configured {
        Some(mut address) if address.ip().is_unspecified() => {
            let here = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
            if let Ok(here) = here.parse() {
                address.set_ip(here);
            }
            address.to_string()
        }
        Some(address) => address.to_string(),
        None => DEFAULT.to_owned(),
    }
}
