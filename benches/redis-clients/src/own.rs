//! Minimal client that shows the possible gain of a purpose-built one: one task per connection, one
//! write for all queued requests, replies without copies.
//!
//! It does not reconnect, authenticate, speak TLS, accept pushes or time out.

use std::{collections::VecDeque, io};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot},
};

use crate::Address;

/// Queued requests per connection, before senders wait.
const QUEUE: usize = 1024;
/// Size of a new read buffer, allocated when less than `LEAST_READ` of the last one is free.
const READ_BUFFER: usize = 64 * 1024;
const LEAST_READ: usize = 8 * 1024;

#[derive(Debug)]
pub enum Reply {
    Bulk(Bytes),
    Array(Vec<Reply>),
    Nil,
    /// Status, integer or error, with its type byte.
    Line(#[expect(dead_code, reason = "only part of the Debug output")] Bytes),
}

struct Request {
    packed: Vec<u8>,
    reply: oneshot::Sender<Reply>,
}

#[derive(Clone)]
pub struct Connection {
    requests: mpsc::Sender<Request>,
}

/// Encodes a command.
pub fn pack(words: &[&[u8]]) -> Vec<u8> {
    use io::Write as _;
    let mut packed =
        Vec::with_capacity(16 + words.iter().map(|word| word.len() + 16).sum::<usize>());
    // Writing to a vector does not fail.
    let _ = write!(packed, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(packed, "${}\r\n", word.len());
        packed.extend_from_slice(word);
        packed.extend_from_slice(b"\r\n");
    }
    packed
}

// === impl Connection ===

impl Connection {
    pub async fn open(address: &Address) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        match address {
            Address::Unix(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                tokio::spawn(drive(reader, writer, queue));
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (reader, writer) = stream.into_split();
                tokio::spawn(drive(reader, writer, queue));
            }
        }
        Ok(Self { requests })
    }

    /// Returns `None` if the connection is closed.
    pub async fn send(&self, packed: Vec<u8>) -> Option<Reply> {
        let (reply, answered) = oneshot::channel();
        self.requests.send(Request { packed, reply }).await.ok()?;
        answered.await.ok()
    }
}

/// Drives one connection until it fails or all handles are dropped. Pending requests then see their
/// reply sender dropped.
async fn drive(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Request>,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(QUEUE);
    let mut waiting = VecDeque::with_capacity(QUEUE);
    let mut output = BytesMut::with_capacity(READ_BUFFER);
    let mut input = BytesMut::with_capacity(READ_BUFFER);
    loop {
        if input.capacity() - input.len() < LEAST_READ {
            input.reserve(READ_BUFFER);
        }
        tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, QUEUE), if output.is_empty() => {
                if taken == 0 {
                    return Ok(());
                }
                for Request { packed, reply } in batch.drain(..) {
                    output.extend_from_slice(&packed);
                    waiting.push_back(reply);
                }
            }
            // Reading continues while the peer does not read.
            written = writer.write_buf(&mut output), if !output.is_empty() => {
                written?;
            }
            read = reader.read_buf(&mut input) => {
                if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                while let Some(end) = reply_end(&input, 0)? {
                    let frame = input.split_to(end).freeze();
                    let sender: oneshot::Sender<Reply> = waiting.pop_front().ok_or_else(malformed)?;
                    // The receiver may be dropped.
                    let _ = sender.send(reply(&frame, &mut 0)?);
                }
            }
        }
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Parses the line that begins at `start`: its type byte, its length field if it has one, and the
/// position of the next line.
fn header(input: &[u8], start: usize) -> io::Result<Option<(u8, i64, usize)>> {
    let Some(length) = input[start..].iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let line = &input[start..=start + length];
    let [kind, text @ .., b'\r', b'\n'] = line else { return Err(malformed()) };
    let number = match kind {
        b'$' | b'*' => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(malformed)?,
        _ => 0,
    };
    Ok(Some((*kind, number, start + length + 1)))
}

/// Returns the end of the reply that begins at `start`, or `None` if it is incomplete.
fn reply_end(input: &[u8], start: usize) -> io::Result<Option<usize>> {
    let Some((kind, number, mut end)) = header(input, start)? else { return Ok(None) };
    match kind {
        b'$' if number >= 0 => end += number as usize + 2,
        b'*' => {
            for _ in 0..number {
                let Some(next) = reply_end(input, end)? else { return Ok(None) };
                end = next;
            }
        }
        b'$' | b'+' | b'-' | b':' => {}
        _ => return Err(malformed()),
    }
    Ok((end <= input.len()).then_some(end))
}

/// Parses the reply at `position` of a complete frame, and advances `position`.
fn reply(frame: &Bytes, position: &mut usize) -> io::Result<Reply> {
    let start = *position;
    let (kind, number, end) = header(frame, start)?.ok_or_else(malformed)?;
    *position = end;
    match kind {
        b'$' | b'*' if number < 0 => Ok(Reply::Nil),
        b'$' => {
            *position = end + number as usize + 2;
            Ok(Reply::Bulk(frame.slice(end..end + number as usize)))
        }
        b'*' => Ok(Reply::Array(
            (0..number).map(|_| reply(frame, position)).collect::<io::Result<_>>()?,
        )),
        _ => Ok(Reply::Line(frame.slice(start..end - 2))),
    }
}
