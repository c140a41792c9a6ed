//! Responses that a client does not read, as the client sees them.

use std::sync::OnceLock;

use super::*;

const SIZE: usize = 1 << 20;

/// A client whose streams have `window`, and whose connection has as much as HTTP/2 allows.
async fn connect(server: &Server, window: u32) -> Client {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size((1 << 31) - 1);
    let (requests, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    Client { address: server.address, requests }
}

/// A server whose responses have `size` bytes, and are counted if `is_held`.
async fn server_of(size: usize, is_held: bool) -> Server {
    let limit = Arc::new(OnceLock::<Arc<FairLimit>>::new());
    let set = limit.clone();
    let handler = move |request: Request<RequestBody>| {
        let limit = limit.clone();
        let held = is_held.then(|| {
            let bytes = limit.get().unwrap().try_take(request.body().connection(), size);
            Held { bytes: Some(bytes.unwrap()), permit: None }
        });
        let reply = async move {
            let response = Response::new(Full::new(Bytes::from(vec![7; size])));
            Reply { response, unread: None, held }
        };
        Dispatched { may_spawn: false, is_queued: false, reply }
    };
    let server = Server::start(handler).await;
    assert!(set.set(server.buffered.clone()).is_ok());
    server
}

/// The bytes of a response, or the error that ends it.
async fn read(body: &mut h2::RecvStream) -> Result<usize, h2::Error> {
    let mut bytes = 0;
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes += data.len();
    }
    Ok(bytes)
}

async fn eventually(is: impl Fn() -> bool) {
    let poll = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, poll).await.unwrap();
}

#[tokio::test]
async fn a_large_response_is_counted_and_guarded_until_it_is_written_whatever_the_window() {
    for (is_held, window) in [(true, 0), (true, 1), (true, 1000), (true, 65_535), (false, 1000)] {
        let server = server_of(SIZE, is_held).await;
        let mut client = connect(&server, window).await;
        let mut unread = Vec::new();
        for _ in 0..4 {
            unread.push(client.get("/").await.unwrap().into_body());
        }
        eventually(|| server.buffered.used() >= 3 * SIZE).await;
        // Nothing is released, so no window opens.
        for body in &mut unread {
            let end = async { while body.data().await.is_some_and(|data| data.is_ok()) {} };
            timeout(SOON, end).await.unwrap();
        }
        eventually(|| server.buffered.used() == 0).await;
        // The connection goes on.
        assert!(client.get("/").await.is_ok());
        drop((client, unread));
        server.drain().await;
    }
}

#[tokio::test]
async fn a_response_is_guarded_while_the_socket_is_not_read() {
    let server = server_of(SIZE, true).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Otherwise the system takes all of the responses.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size((1 << 31) - 1).initial_connection_window_size((1 << 31) - 1);
    let (requests, mut connection) = builder.handshake(stream).await.unwrap();
    let mut client = Client { address: server.address, requests };
    let unread: Vec<_> = (0..7).map(|_| client.begin("/", true).0).collect();
    // Sends the requests, and reads nothing afterwards.
    let _ = poll!(&mut connection);
    eventually(|| server.buffered.used() >= 2 * SIZE).await;
    // The socket is open, and its peer sends nothing.
    eventually(|| server.buffered.used() == 0).await;
    drop((unread, client, connection));
    server.drain().await;
}

#[tokio::test]
async fn small_responses_that_are_stuck_are_counted_and_end_their_connection() {
    const SMALL: usize = 8 * 1024;
    let server = server_of(SMALL, false).await;
    let mut client = connect(&server, 1000).await;
    let unread: Vec<_> = (0..40).map(|_| client.begin("/", true).0).collect();
    eventually(|| server.buffered.used() >= 39 * (SMALL - 1000)).await;
    for response in unread {
        let mut body = timeout(SOON, response).await.unwrap().unwrap().into_body();
        let end = async { while body.data().await.is_some_and(|data| data.is_ok()) {} };
        timeout(SOON, end).await.unwrap();
    }
    eventually(|| server.buffered.used() == 0).await;
    // A client that reads gets them, although they do not fit into its windows.
    let mut other = connect(&server, 1000).await;
    let begun: Vec<_> = (0..40).map(|_| other.begin("/", true).0).collect();
    for response in begun {
        let mut response = timeout(SOON, response).await.unwrap().unwrap();
        assert_eq!(read(response.body_mut()).await.unwrap(), SMALL);
    }
    eventually(|| server.buffered.used() == 0).await;
    drop((client, other));
    server.drain().await;
}
