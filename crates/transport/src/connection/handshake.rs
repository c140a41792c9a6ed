//! The TLS handshake of a connection. Until its end the connection is a silent one, which makes
//! room and ends as such.

use std::{future::poll_fn, pin::pin, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    connection_stats::CloseReason,
    connection_table::{OpenConnection, Order},
    peer::Peer,
    socket::Socket,
    tls::{TlsConnection, TlsPort},
};

/// Time at shutdown to finish a handshake: the client may have sent its first requests already.
const FINAL_TIMEOUT: Duration = Duration::from_millis(100);

/// Performs the handshake, unless the server orders the end of the connection before.
///
/// # Errors
/// Why the connection is closed.
pub(super) async fn accept(
    tls: &TlsPort,
    stream: TcpStream,
    peer: Peer,
    connection: &OpenConnection,
) -> Result<(Socket, Peer), CloseReason> {
    let mut accepting = pin!(tls.accept(stream, peer.address));
    let ordered = poll_fn(|cx| connection.state.poll_order(Order::None, cx));
    let accepted = tokio::select! {
        biased;
        accepted = &mut accepting => accepted,
        order = ordered => match order {
            Order::Drain => {
                let finished = timeout(FINAL_TIMEOUT, accepting).await;
                finished.map_err(|_elapsed| CloseReason::Shutdown)?
            }
            Order::None | Order::Abort => return Err(CloseReason::Shutdown),
            Order::MakeRoom | Order::MakeRoomNow => return Err(CloseReason::Displaced),
        },
    };
    match accepted {
        Ok(TlsConnection { stream, certificate }) => {
            Ok((Socket::Tls(Box::new(stream)), Peer { certificate, ..peer }))
        }
        Err(failure) => Err(failure.close_reason()),
    }
}
