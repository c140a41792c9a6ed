//! Frames of HTTP/2, by the bytes of an input.

#![allow(clippy::unwrap_used)]

use prost::Message as _;

use crate::{
    fuzzing::Input,
    pb::v1::{SetRequest, Value, value},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Most bytes of a connection. A short input can ask for many frames.
const MAX_BYTES: usize = 1 << 20;

const PATHS: [&str; 16] = [
    "/larder.v1.CacheService/Get",
    "/larder.v1.CacheService/Set",
    "/larder.v1.CacheService/GetOrFetch",
    "/larder.v1.CacheService/BatchGet",
    "/larder.v1.CacheService/BatchSet",
    "/larder.v1.CacheService/FetchStream",
    "/larder.v1.CacheService/BatchGetOrFetch",
    "/larder.v1.CacheService/Increment",
    "/larder.v1.CacheService/Patch",
    "/larder.v1.CacheService/Invalidate",
    "/larder.v1.CacheService/Watch",
    "/larder.v1.AdminService/ListKeys",
    "/larder.v1.AdminService/PublishEvent",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/unknown",
];

/// The bytes of a connection, in parts that are sent one after another.
#[derive(Default)]
struct Connection {
    parts: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    stream: u32,
}

/// The parts that an input describes. The first byte decides whether it is the connection itself.
pub(super) fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut input = Input::new(bytes);
    if input.byte() & 1 == 1 {
        let mut parts = Vec::new();
        while !input.is_empty() {
            parts.push(input.short().to_vec());
        }
        return parts;
    }
    let mut connection = Connection::default();
    connection.bytes.extend(PREFACE);
    connection.frame(SETTINGS, 0, 0, &[]);
    while !input.is_empty() && connection.bytes.len() < MAX_BYTES {
        connection.step(&mut input);
    }
    connection.flush();
    connection.parts
}

impl Connection {
    fn step(&mut self, input: &mut Input<'_>) {
        let own = self.stream;
        match input.byte() % 16 {
            0 => self.bytes.extend(input.short()),
            1 => self.frame(SETTINGS, 0, 0, input.short()),
            2 => self.frame(SETTINGS, END_STREAM, 0, &[]),
            3 => self.request(input),
            4 => {
                let flags = input.byte() & END_STREAM;
                let message = message(0, input.short());
                self.frame(DATA, flags, own, &message);
            }
            5 => {
                let (flags, payload) = (input.byte(), input.short());
                self.frame(DATA, flags, own, payload);
            }
            6 => self.frame(RST_STREAM, 0, own, input.bytes(4)),
            7 => {
                let stream = if input.byte() & 1 == 0 { 0 } else { own };
                self.frame(WINDOW_UPDATE, 0, stream, input.bytes(4));
            }
            8 => self.frame(PING, input.byte(), 0, input.bytes(8)),
            9 => {
                self.stream += 2;
                self.frame(HEADERS, 0, own + 2, input.short());
                let (count, payload) = (u32::from(input.byte()) * 16, input.short());
                for _ in 0..count {
                    self.frame(CONTINUATION, 0, own + 2, payload);
                }
                self.frame(CONTINUATION, END_HEADERS, own + 2, &[]);
            }
            10 => self.frame(GOAWAY, 0, 0, input.short()),
            11 => {
                let (kind, flags, stream) = (input.byte(), input.byte(), input.byte());
                self.frame(kind, flags, stream.into(), input.short());
            }
            12 => self.flush(),
            13 => self.set(input),
            14 => self.frame(HEADERS, END_STREAM | END_HEADERS, own, input.short()),
            // A stream that is not the last one.
            _ => self.stream = self.stream.saturating_sub(u32::from(input.byte()) * 2),
        }
    }

    /// The head of a call, with the header `grpc-timeout`, another one, or encoded fields.
    fn request(&mut self, input: &mut Input<'_>) {
        let (path, options) = (input.byte(), input.byte());
        let mut block = head(PATHS[usize::from(path) % PATHS.len()]);
        if options & 2 != 0 {
            field(&mut block, b"grpc-timeout", input.short());
        }
        if options & 4 != 0 {
            field(&mut block, b"grpc-encoding", if options & 8 != 0 { b"gzip" } else { b"zstd" });
        }
        if options & 16 != 0 {
            field(&mut block, input.short(), input.short());
        }
        if options & 32 != 0 {
            block.extend(input.short());
        }
        self.stream += if self.stream == 0 { 1 } else { 2 };
        self.frame(HEADERS, END_HEADERS | (options & END_STREAM), self.stream, &block);
    }

    /// A call that is well formed.
    fn set(&mut self, input: &mut Input<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let request = SetRequest {
            namespace: "ns".to_owned(),
            key: text(input.short()),
            value: Some(Value { kind: Some(value::Kind::Json(text(input.short()).into())) }),
            ..SetRequest::default()
        };
        self.stream += if self.stream == 0 { 1 } else { 2 };
        self.frame(HEADERS, END_HEADERS, self.stream, &head(PATHS[1]));
        let message = message(0, &request.encode_to_vec());
        self.frame(DATA, END_STREAM, self.stream, &message);
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        self.bytes.extend(&length.to_be_bytes()[1..]);
        self.bytes.extend([kind, flags]);
        self.bytes.extend(stream.to_be_bytes());
        self.bytes.extend(payload);
    }

    fn flush(&mut self) {
        self.parts.push(std::mem::take(&mut self.bytes));
    }
}

/// The fields that each call has.
fn head(path: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http`.
    let mut block = vec![0x83, 0x86];
    for (name, text) in [(":path", path), (":authority", "h"), ("te", "trailers")] {
        field(&mut block, name.as_bytes(), text.as_bytes());
    }
    field(&mut block, b"content-type", b"application/grpc");
    block
}

/// A field that is not indexed (RFC 7541, 6.2.2).
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        let text = &text[..text.len().min(126)];
        block.push(u8::try_from(text.len()).unwrap());
        block.extend(text);
    }
}

/// A message of gRPC.
fn message(compressed: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[compressed][..], &length, content].concat()
}
