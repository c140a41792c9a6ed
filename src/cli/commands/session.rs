//! The connection of a command, with its time limit.

use std::{future::Future, time::Duration};

use tonic::{Request, Response, Status, metadata::AsciiMetadataValue};

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
};
use crate::{
    cli::{
        client::{self, RemoteServer},
        connection::Connection,
    },
    pb::v1::{admin_service_client::AdminServiceClient, cache_service_client::CacheServiceClient},
};

/// Extra time for the server's own answer to a call whose deadline has passed.
const GRACE: Duration = Duration::from_secs(1);

/// A connected server.
pub(super) struct Session {
    server: RemoteServer,
    limit: Duration,
    schema_version: Option<AsciiMetadataValue>,
}

/// Connects and runs a command.
pub(super) fn run<F: Future<Output = Result<Ending, Error>>>(
    args: &CallArgs,
    command: impl FnOnce(Session) -> F,
) -> Result<Ending, Error> {
    client::block_on(async { command(Session::open(args).await?).await })
}

/// Connects several times and runs a command.
pub(super) fn run_with<F: Future<Output = Result<Ending, Error>>>(
    args: &CallArgs,
    connections: u16,
    command: impl FnOnce(Vec<Session>) -> F,
) -> Result<Ending, Error> {
    client::block_on(async {
        let mut sessions = Vec::new();
        for _ in 0..connections {
            sessions.push(Session::open(args).await?);
        }
        command(sessions).await
    })
}

/// Waits before the next session.
pub(super) fn pause(time: Duration) -> Result<(), Error> {
    client::block_on(async {
        tokio::time::sleep(time).await;
        Ok(())
    })
}

impl Session {
    async fn open(args: &CallArgs) -> Result<Self, Error> {
        let address = args.server.address.clone().unwrap_or_else(client::default_address);
        let limit = args.timeout;
        let connecting = client::connect(address.clone(), &args.security);
        let server = client::within(limit, &address, connecting).await?;
        Ok(Self { server, limit, schema_version: args.schema_version.clone() })
    }

    /// The same session with more time for each answer.
    #[must_use]
    pub(super) fn extended_by(mut self, wait: Duration) -> Self {
        self.limit = self.limit.saturating_add(wait);
        self
    }

    /// Client of the cache. The server limits the size of values.
    pub(super) fn cache(&self) -> CacheServiceClient<Connection> {
        CacheServiceClient::new(self.server.connection.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    /// Client of the operator's calls.
    pub(super) fn admin(&self) -> AdminServiceClient<Connection> {
        AdminServiceClient::new(self.server.connection.clone())
            .max_decoding_message_size(usize::MAX)
    }

    /// A request with the time limit as its deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.request_without_deadline(message);
        request.set_timeout(self.limit);
        request
    }

    /// A request that may take long.
    pub(super) fn request_without_deadline<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(version) = &self.schema_version {
            request.metadata_mut().insert("larder-schema-version", version.clone());
        }
        request
    }

    /// Waits for an answer.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.within(self.limit, async { call.await.map(Response::into_inner) }).await
    }

    /// The error of a status, which is of the server or of the connection to it.
    pub(super) fn refused(&self, status: Status) -> Error {
        let failed = self.server.failed(status);
        if let client::Error::Status { address, status } = failed {
            return Error::Refused { address, status };
        }
        failed.into()
    }

    /// The error of a stream on which nothing comes for a while.
    pub(super) fn silent(&self, limit: Duration) -> Error {
        client::Error::Timeout { address: self.server.address.clone(), limit }.into()
    }

    /// Waits for a part of an answer, such as the next message of a stream.
    pub(super) async fn part<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        self.within(self.limit.saturating_add(GRACE), work).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        let work = async { work.await.map_err(|status| self.refused(status)) };
        client::within(limit, &self.server.address, work).await
    }
}
