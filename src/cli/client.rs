//! The connection to a running server.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use larder_client::Client;
use tonic::Status;

use super::{
    ConnectArgs, EXIT_OUTPUT,
    connection::{Connection, Lost},
    environment, print_error,
    security::{SecurityArgs, TokenError},
    target::{is_local, target},
};
use crate::tls::TlsError;

const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";

/// Why a command to a running server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{address} is not an address such as {DEFAULT_ADDRESS}")]
    Address { address: String, source: larder_client::Error },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: larder_client::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the connection to {address} ended before the answer{advice}")]
    Disconnected { address: String, advice: &'static str, source: Lost },
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

impl Error {
    /// Whether the command line is wrong, or a file or token that it names.
    pub(super) fn is_usage(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Tls(_) | Self::Token(_) => true,
            Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::Status { .. }
            | Self::Timeout { .. }
            | Self::Unhealthy { .. }
            | Self::NoStatistics { .. }
            | Self::Output(_)
            | Self::Runtime(_) => false,
        }
    }
}

/// A running server, connected.
pub(super) struct RemoteServer {
    pub(super) address: String,
    pub(super) connection: Connection,
    has_tls: bool,
}

impl RemoteServer {
    /// The error of a status, which is of the server or of the connection to it.
    pub(super) fn failed(&self, status: Status) -> Error {
        let address = self.address.clone();
        let Some(source) = Lost::of(&status) else {
            return Error::Status { address, status: Box::new(status) };
        };
        // A server with TLS answers plain text with an alert, which is no frame of HTTP/2.
        let advice =
            if self.has_tls { "" } else { "; if the server has TLS, pass --tls-ca or --tls" };
        Error::Disconnected { address, advice, source }
    }
}

/// Connects and runs `command`, both within the time limit of the command line.
pub(super) fn run<F: Future<Output = Result<(), Error>>>(
    address: Option<&String>,
    args: &ConnectArgs,
    command: impl FnOnce(RemoteServer) -> F,
) -> ExitCode {
    let limit = args.timeout;
    let outcome = block_on(async {
        let address = address.cloned().unwrap_or_else(default_address);
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
    let has_tls = security.has_tls(&address);
    let target = target(&address, has_tls);
    // The command line has variables of its own. Its time limit includes the time to connect.
    let mut options =
        Client::builder(&target).ignore_environment(true).connect_timeout(Duration::MAX);
    if has_tls {
        options = security.secure(options)?;
    }
    let token = security.token()?;
    if let Some(token) = token {
        // The rule for plain text is below.
        options = options.token(token).allow_plaintext_token(true);
    }
    let client = match options.connect_lazy() {
        Ok(client) => client,
        Err(source) => return Err(Error::Address { address, source }),
    };
    if token.is_some() && !has_tls && !is_local(&target) {
        return Err(TokenError::PlainText.into());
    }
    match client.open().await {
        Ok(()) => {
            let connection = Connection::new(client.wire());
            Ok(RemoteServer { address, connection, has_tls })
        }
        Err(source) => Err(Error::Connect { address, source }),
    }
}

/// The address that client libraries use in this environment, or else that on which a server
/// listens.
pub(super) fn default_address() -> String {
    let endpoint = environment().remove("LARDER_ENDPOINT").filter(|endpoint| !endpoint.is_empty());
    endpoint.unwrap_or_else(server_address)
}

/// The address on which a server with this environment listens, with the loopback address if it
/// listens on all of them.
pub(super) fn server_address() -> String {
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
