//! Recognises that `store.url` and the port disagree about TLS. Then each side waits for the other
//! or does not understand it, and the error of the connection does not show why.

use std::{io, sync::Arc, time::Duration};

use redis::ConnectionAddr;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

/// Time for which a result is used again: all connections of a pool fail at the same time.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The port answers without TLS.
const NO_TLS: &str = "the port does not speak TLS, and store.url begins with rediss://";
/// The port answers with TLS.
const TLS: &str = "the port speaks TLS, and store.url begins with redis://";

/// First bytes of records of TLS: a handshake, and an alert.
const TLS_RECORDS: [u8; 2] = [0x16, 0x15];
/// First bytes of answers of Redis.
const RESP_TYPES: &[u8] = b"+-$*";

/// The check with its last result. Clones share nothing.
#[derive(Debug, Default)]
pub(super) struct TlsCheck(tokio::sync::Mutex<Option<(Instant, Option<&'static str>)>>);

impl TlsCheck {
    /// How the port and the URL, by which `address` is with or without TLS, disagree; none if they
    /// agree, or if the port does not answer within `limit`.
    pub(super) async fn disagreement(
        &self,
        address: &ConnectionAddr,
        limit: Duration,
    ) -> Option<&'static str> {
        let mut last = self.0.lock().await;
        if let Some((checked_at, found)) = *last
            && checked_at.elapsed() < MAX_AGE
        {
            return found;
        }
        let checked = tokio::time::timeout(limit, check(address)).await;
        let found = checked.ok().and_then(io::Result::ok).flatten();
        *last = Some((Instant::now(), found));
        found
    }
}

async fn check(address: &ConnectionAddr) -> io::Result<Option<&'static str>> {
    Ok(match address {
        ConnectionAddr::TcpTls { host, port, .. } => {
            let first = first_byte(host, *port, b"PING\r\n").await?;
            RESP_TYPES.contains(&first).then_some(NO_TLS)
        }
        ConnectionAddr::Tcp(host, port) => {
            let greeting = client_hello()?;
            // Redis does not answer that greeting, and the next connection waits for the check.
            tokio::select! {
                () = speaks_plain_resp(host, *port) => None,
                first = first_byte(host, *port, &greeting) => {
                    TLS_RECORDS.contains(&first?).then_some(TLS)
                }
            }
        }
        _ => None,
    })
}

/// Returns when the port has answered without TLS.
async fn speaks_plain_resp(host: &str, port: u16) {
    let first = first_byte(host, port, b"PING\r\n").await;
    if !first.is_ok_and(|first| RESP_TYPES.contains(&first)) {
        std::future::pending().await
    }
}

/// The first byte of the answer to a greeting.
async fn first_byte(host: &str, port: u16, greeting: &[u8]) -> io::Result<u8> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(greeting).await?;
    stream.read_u8().await
}

/// The first message of a TLS client.
fn client_hello() -> io::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::IntoConnectionInfo as _;
    use tokio::{net::TcpListener, task::JoinHandle};

    use super::*;

    /// A server that answers each connection's first bytes with `answer`.
    async fn server(answer: &'static [u8]) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut greeting = [0; 6];
                let _ = peer.read_exact(&mut greeting).await;
                let _ = peer.write_all(answer).await;
            }
        });
        (port, serving)
    }

    /// The next connection waits for the check.
    #[tokio::test]
    async fn a_server_without_tls_is_recognised_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut peer, _) = listener.accept().await.unwrap();
                let mut greeting = [0; 6];
                peer.read_exact(&mut greeting).await.unwrap();
                if greeting == *b"PING\r\n" {
                    peer.write_all(b"+PONG\r\n").await.unwrap();
                }
                silent.push(peer);
            }
        });
        let url = format!("redis://127.0.0.1:{port}").into_connection_info().unwrap();
        let check = TlsCheck::default();
        let checked = check.disagreement(url.addr(), Duration::from_secs(3600));
        let found = tokio::time::timeout(Duration::from_secs(30), checked).await;
        assert_eq!(found, Ok(None));
        serving.abort();
    }

    #[tokio::test]
    async fn the_first_answer_shows_whether_the_port_speaks_tls() {
        for (scheme, answer, expected) in [
            ("rediss", &b"+PONG\r\n"[..], Some(NO_TLS)),
            ("rediss", b"-NOAUTH Authentication required.\r\n", Some(NO_TLS)),
            ("rediss", &[0x15, 3, 1, 0, 2, 2, 70], None),
            ("redis", &[0x16, 3, 3, 0, 122], Some(TLS)),
            ("redis", b"-ERR unknown command\r\n", None),
            ("redis", b"", None),
        ] {
            let (port, serving) = server(answer).await;
            let url = format!("{scheme}://127.0.0.1:{port}").into_connection_info().unwrap();
            let check = TlsCheck::default();
            let found = check.disagreement(url.addr(), Duration::from_secs(5)).await;
            assert_eq!(found, expected, "{scheme} {answer:?}");
            serving.abort();
        }
    }
}
