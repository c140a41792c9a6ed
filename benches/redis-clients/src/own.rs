//! What an own client could gain: one task per connection, one write for all that is queued, replies that are not copied.
//!
//! It has none of what a client needs beside: no reconnecting, no authentication, no TLS, no pushes, no timeouts.

use std::{collections::VecDeque, io};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot},
};

use crate::Address;

/// Requests that wait to be written before further ones wait for room.
const QUEUE: usize = 1024;
/// A read buffer of this size is made when the rest of the last one is smaller than `LEAST_READ`.
const READ_BUFFER: usize = 64 * 1024;
const LEAST_READ: usize = 8 * 1024;

#[derive(Debug)]
pub enum Reply {
    Bulk(Bytes),
    Array(Vec<Reply>),
    Nil,
    /// A status, an integer or an error, with the byte that tells which.
    Line(#[expect(dead_code, reason = "it is only shown")] Bytes),
}

struct Request {
    packed: Vec<u8>,
    reply: oneshot::Sender<Reply>,
}

#[derive(Clone)]
pub struct Connection {
    requests: mpsc::Sender<Request>,
}

/// A command as it goes over the wire.
pub fn pack(words: &[&[u8]]) -> Vec<u8> {
    use io::Write as _;
    let mut packed = Vec::with_capacity(16 + words.iter().map(|word| word.len() + 16).sum::<usize>());
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

    /// `None` if the connection is gone.
    pub async fn send(&self, packed: Vec<u8>) -> Option<Reply> {
        let (reply, answered) = oneshot::channel();
        self.requests.send(Request { packed, reply }).await.ok()?;
        answered.await.ok()
    }
}

/// Serves one connection until its handles are gone or it fails, which those who wait see by their sender being dropped.
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
            // Reading goes on while the peer takes nothing.
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
                    // Whoever asked may have gone.
                    let _ = sender.send(reply(&frame, &mut 0)?);
                }
            }
        }
    }
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The first byte of the line that begins at `start`, the number after it if it tells a length, and where it ends.
fn header(input: &[u8], start: usize) -> io::Result<Option<(u8, i64, usize)>> {
    let Some(length) = input[start..].iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let line = &input[start..=start + length];
    let [kind, text @ .., b'\r', b'\n'] = line else { return Err(malformed()) };
    let number = match kind {
        b'$' | b'*' => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)?,
        _ => 0,
    };
    Ok(Some((*kind, number, start + length + 1)))
}

/// Where the reply that begins at `start` ends, if all of it is there.
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

/// The reply at `position` of a frame that is complete; moves it to the next.
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
        b'*' => Ok(Reply::Array((0..number).map(|_| reply(frame, position)).collect::<io::Result<_>>()?)),
        _ => Ok(Reply::Line(frame.slice(start..end - 2))),
    }
}
