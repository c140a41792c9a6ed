//! The connection to a running server.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{
    ConnectArgs, EXIT_OUTPUT, environment, print_error,
    security::{Credentials, HTTPS, SecurityArgs, TokenError},
};
use crate::tls::TlsError;

const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

/// Why a command to a running server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{address} is not an address such as {DEFAULT_ADDRESS}")]
    Address { address: String, source: tonic::transport::Error },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: tonic::transport::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the connection to {address} ended before the answer{advice}")]
    Disconnected { address: String, advice: &'static str, source: Box<Status> },
    #[error("{address} answered {:?}: {}", status.code(), status.message())]
    Status { address: String, status: Box<Status> },
    #[error("{address} did not answer within {}", humantime::format_duration(*limit))]
    Timeout { address: String, limit: Duration },
    #[error("{address} is {status}")]
    Unhealthy { address: String, status: &'static str },
    #[error("there are no statistics of the namespace {namespace}: check its name")]
    NoStatistics { namespace: String },
    #[error("cannot write the output")]
    Output(#[source] std::io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[from] std::io::Error),
}

/// The address without a scheme, which many tools add.
fn host_of(address: &str) -> &str {
    let schemes = ["http://", HTTPS];
    let host = schemes.iter().find_map(|scheme| address.strip_prefix(scheme));
    host.unwrap_or(address).trim_end_matches('/')
}

/// A running server, connected.
pub(super) struct RemoteServer {
    pub(super) address: String,
    pub(super) channel: Connection,
    has_tls: bool,
}

impl RemoteServer {
    /// The error of a status, which is of the server or of the connection to it.
    pub(super) fn failed(&self, status: Status) -> Error {
        let (address, source) = (self.address.clone(), Box::new(status));
        if !is_local::<tonic::transport::Error>(&source) {
            return Error::Status { address, status: source };
        }
        // A server with TLS answers plain text with an alert, which is no frame of HTTP/2.
        let advice =
            if self.has_tls { "" } else { "; if the server has TLS, pass --tls-ca or --tls" };
        Error::Disconnected { address, advice, source }
    }
}

/// Whether an error of this kind, instead of the server, caused a status.
pub(super) fn is_local<E: std::error::Error + 'static>(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source()).any(|error| error.is::<E>())
}

/// A connection that sends the token with each call.
pub(super) type Connection = InterceptedService<Channel, Credentials>;

/// Connects and runs `command`, both within the time limit of the command line.
pub(super) fn run<F: Future<Output = Result<(), Error>>>(
    args: &ConnectArgs,
    command: impl FnOnce(RemoteServer) -> F,
) -> ExitCode {
    let limit = args.timeout;
    let outcome = block_on(async {
        let address = args.address.clone().unwrap_or_else(default_address);
        let work = async { command(connect(address.clone(), &args.security).await?).await };
        within(limit, &address, work).await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            let is_output = matches!(error, Error::Output(_));
            if is_output { ExitCode::from(EXIT_OUTPUT) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T, E: From<std::io::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Waits for `work`, at most for `limit`.
pub(super) async fn within<T, E: From<Error>>(
    limit: Duration,
    address: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timeout = || Error::Timeout { address: address.to_owned(), limit };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(timeout().into()))
}

pub(super) async fn connect(
    address: String,
    security: &SecurityArgs,
) -> Result<RemoteServer, Error> {
    let tls = security.tls(&address)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let invalid = |source| Error::Address { address: address.clone(), source };
    let mut endpoint =
        Endpoint::from_shared(format!("{scheme}://{}", host_of(&address))).map_err(invalid)?;
    let has_tls = tls.is_some();
    let credentials = security.credentials(endpoint.uri(), has_tls)?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(invalid)?;
    }
    match endpoint.connect().await {
        Ok(channel) => {
            let channel = InterceptedService::new(channel, credentials);
            Ok(RemoteServer { address, channel, has_tls })
        }
        Err(source) => Err(Error::Connect { address, source }),
    }
}

/// The address on which a server with this environment listens, with the loopback address if it
/// listens on all of them.
pub(super) fn default_address() -> String {
    let configured =
        environment().remove("LARDER_LISTEN").and_then(|listen| listen.parse::<SocketAddr>().ok());
    match configured {
        Some(mut address) if address.ip().is_unspecified() => {
            let loopback: IpAddr = match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
            address.to_string()
        }
        Some(address) => address.to_string(),
        None => DEFAULT_ADDRESS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_an_address_is_optional() {
        for scheme in ["", "http://", "https://"] {
            for end in ["", "/"] {
                let address = format!("{scheme}localhost:50051{end}");
                assert_eq!(host_of(&address), "localhost:50051");
            }
        }
    }
}
