//! An HTTP/2 peer that can send any frames, in any order.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::wait::SOON;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection without any logic of its own, but for the answers to SETTINGS and PING.
pub(crate) struct Http2Peer {
    stream: TcpStream,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Http2Peer {
    /// Connects, and sends the preface with default settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::begin(TcpStream::connect(address).await.unwrap()).await
    }

    /// As [`Http2Peer::connect`], from an address of this machine.
    pub(crate) async fn connect_from(local: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(local, 0)).unwrap();
        Self::begin(socket.connect(address).await.unwrap()).await
    }

    async fn begin(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut peer = Self { stream };
        // A server that refuses the connection may have closed it.
        let _ = peer.stream.write_all(PREFACE).await;
        peer.send(SETTINGS, 0, 0, &[]).await;
        peer
    }

    /// Sends a frame. If the server has closed the connection, reading shows it.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&frame(kind, flags, stream, payload)).await;
    }

    /// Sends bytes. Returns whether the connection takes them.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(stream);
        Some(Frame { kind, flags, stream, payload })
    }

    /// The next frame that is not about the connection's upkeep, for which it answers.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// The next frame of this kind; none at the end of the connection.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        let found = async {
            loop {
                let frame = self.next().await?;
                if frame.kind == kind {
                    return Some(frame);
                }
            }
        };
        timeout(SOON, found).await.expect("a frame or the end of the connection")
    }

    /// Reads until the server ends the connection.
    pub(crate) async fn is_closed_within(&mut self, time: Duration) -> bool {
        timeout(time, async { while self.next().await.is_some() {} }).await.is_ok()
    }

    /// Sends a PING and waits for its answer: all frames before it were read. Returns whether the
    /// connection is still open.
    pub(crate) async fn is_open(&mut self) -> bool {
        self.send(PING, 0, 0, b"is open?").await;
        let answered = async {
            loop {
                let frame = self.read().await?;
                if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == *b"is open?" {
                    return Some(());
                }
            }
        };
        timeout(SOON, answered).await.expect("an answer or the end of the connection").is_some()
    }

    /// Begins a gRPC call.
    pub(crate) async fn call(&mut self, stream: u32, path: &str, end: bool) {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &grpc_headers(path)).await;
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

pub(crate) fn grpc_headers(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "larder"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A header field by HPACK: literal, without an index, not compressed.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            field.push(u8::try_from(length).unwrap());
        } else {
            field.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                field.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            field.push(u8::try_from(rest).unwrap());
        }
        field.extend_from_slice(text.as_bytes());
    }
    field
}
