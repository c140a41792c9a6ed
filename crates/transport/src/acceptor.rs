//! Admits new connections, and logs when that fails.

use std::{io, net::SocketAddr, sync::Arc};

use repeated_events::{RepeatedEvent, Summary};
use tokio::net::TcpStream;

use crate::{
    accept_errors::{AcceptError, AcceptErrors},
    connection_limiter::{Admitted, ConnectionLimiter},
    connection_table::{ConnectionTable, OpenConnection},
};

/// The state of the accept loop.
pub(crate) struct Acceptor {
    table: Arc<ConnectionTable>,
    limiter: ConnectionLimiter,
    errors: AcceptErrors,
    displaced: RepeatedEvent,
    refused: RepeatedEvent,
}

impl Acceptor {
    pub(crate) fn new(table: Arc<ConnectionTable>) -> Self {
        Self {
            limiter: ConnectionLimiter::new(table.clone()),
            table,
            errors: AcceptErrors::new("grpc"),
            displaced: RepeatedEvent::default(),
            refused: RepeatedEvent::default(),
        }
    }

    /// Admits a connection that was accepted.
    pub(crate) async fn admit(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
    ) -> Option<(TcpStream, SocketAddr, OpenConnection)> {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.failed(&error).await;
                return None;
            }
        };
        match self.limiter.admit(peer).await {
            Admitted::Yes(connection) => Some((stream, peer, connection)),
            Admitted::Displacing(connection) => {
                if let Some(summary) = self.displaced.occurred() {
                    self.log_displaced(summary);
                }
                Some((stream, peer, connection))
            }
            Admitted::Refused => {
                if let Some(summary) = self.refused.occurred() {
                    self.log_refused(summary, peer);
                }
                None
            }
        }
    }

    /// To be called at intervals.
    pub(crate) fn tick(&mut self) {
        self.table.tick();
        self.limiter.tick();
        self.errors.tick();
        if let Some(Summary { count, seconds }) = self.displaced.ended() {
            tracing::info!(count, seconds, "no more connections are closed to make room");
        }
        if let Some(Summary { count, seconds }) = self.refused.ended() {
            tracing::info!(count, seconds, "connections are no longer refused");
        }
    }

    #[cold]
    async fn failed(&mut self, error: &io::Error) {
        let kind = self.errors.handle(error).await;
        if kind != AcceptError::PeerGone {
            self.table.stats().add_accept_error();
        }
        if kind == AcceptError::TooManyFiles {
            self.limiter.make_room().await;
        }
    }

    #[cold]
    fn log_displaced(&self, Summary { count, seconds }: Summary) {
        let stats = self.table.stats();
        tracing::warn!(
            open = stats.open(),
            max_connections = stats.limit(),
            count,
            seconds,
            "limits.max_connections is reached: idle connections are closed to make room"
        );
    }

    #[cold]
    fn log_refused(&self, Summary { count, seconds }: Summary, peer: SocketAddr) {
        let stats = self.table.stats();
        tracing::warn!(
            %peer,
            open = stats.open(),
            max_connections = stats.limit(),
            count,
            seconds,
            "connections are refused: limits.max_connections is reached, and none is idle"
        );
    }
}
