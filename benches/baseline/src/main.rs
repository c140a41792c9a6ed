//! Bare tonic server for comparison, and a small client for the benchmarks.
//!
//! ```text
//! baseline serve                         serves a Get that returns a constant; prints the address
//! baseline load ADDRESS                  stores the values that the benchmarks read
//! baseline check ADDRESS                 fails unless Get returns the value
//! baseline frame FILE RPC                writes the request of an RPC as h2load sends it; RPC is
//!                                        Get, GetOrFetch, ReadThrough, BatchGet or Set
//! baseline fill ADDRESS KEYS             stores KEYS small values
//! baseline spread ADDRESS KEYS SECONDS   reads random ones of them; prints the number of reads
//! baseline writes ADDRESS KEYS SECONDS   stores random ones of them; prints the number of writes
//! baseline tagged ADDRESS                stores the value of Get with 4 tags, which are not banned
//! baseline ban ADDRESS TAGS              bans tags, one after the other
//! baseline p50 ADDRESS RPC SECONDS       calls an RPC one by one, and prints the median time in
//!                                        microseconds; RPC is Set, or Invalidate of one tag
//! baseline watch ADDRESS STREAMS         opens streams of changes, each on a connection of its own,
//!                                        prints `ready`, and reads them until standard input ends
//! baseline idle ADDRESS CONNECTIONS      opens connections, prints `open`, and keeps them until
//!                                        standard input ends
//! ```

use std::{
    env,
    error::Error,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::{Request, Response, Status, transport::Server};

#[allow(clippy::all)]
mod pb {
    tonic::include_proto!("larder.v1");
}
use pb::{
    cache_service_client::CacheServiceClient,
    cache_service_server::{CacheService, CacheServiceServer},
};

const VALUE_BYTES: usize = 1024;
const FILL_BATCH: usize = 1000;
const BATCH: usize = 100;
const BATCH_VALUE_BYTES: usize = 100;

type Answered<T> = Result<Response<T>, Status>;

struct Constant(pb::Value);

fn value() -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::Data(Bytes::from(vec![b'v'; VALUE_BYTES]))) }
}

fn get_request() -> pb::GetRequest {
    pb::GetRequest {
        namespace: "bench".to_owned(),
        key: "key-0001".to_owned(),
        ..Default::default()
    }
}

fn set_request() -> pb::SetRequest {
    let ttl = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let get = get_request();
    pb::SetRequest {
        namespace: get.namespace,
        key: get.key,
        value: Some(value()),
        ttl,
        ..Default::default()
    }
}

fn batch_key(number: usize) -> String {
    format!("batch-{number:04}")
}

fn batch_request() -> pb::BatchGetRequest {
    let namespace = || get_request().namespace;
    let keys = (0..BATCH).map(|number| pb::KeyRef {
        namespace: namespace(),
        key: batch_key(number),
        ..Default::default()
    });
    pb::BatchGetRequest { keys: keys.collect(), ..Default::default() }
}

macro_rules! unimplemented_rpcs {
    ($($name:ident($request:ident) -> $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl CacheService for Constant {
            async fn get(&self, _: Request<pb::GetRequest>) -> Answered<pb::GetResponse> {
                Ok(Response::new(pb::GetResponse {
                    outcome: pb::Outcome::Hit.into(),
                    value: Some(self.0.clone()),
                    ..Default::default()
                }))
            }

            type BatchGetStream = tonic::codegen::BoxStream<pb::BatchGetResponse>;

            async fn batch_get(
                &self,
                _: Request<pb::BatchGetRequest>,
            ) -> Answered<Self::BatchGetStream> {
                Err(Status::unimplemented(""))
            }

            type FetchStreamStream = tonic::codegen::BoxStream<pb::FetchStreamResponse>;

            async fn fetch_stream(
                &self,
                _: Request<tonic::Streaming<pb::FetchStreamRequest>>,
            ) -> Answered<Self::FetchStreamStream> {
                Err(Status::unimplemented(""))
            }

            type WatchStream = tonic::codegen::BoxStream<pb::WatchResponse>;

            async fn watch(
                &self,
                _: Request<pb::WatchRequest>,
            ) -> Answered<Self::WatchStream> {
                Err(Status::unimplemented(""))
            }

            type BatchGetOrFetchStream = tonic::codegen::BoxStream<pb::BatchGetOrFetchResponse>;

            async fn batch_get_or_fetch(
                &self,
                _: Request<pb::BatchGetOrFetchRequest>,
            ) -> Answered<Self::BatchGetOrFetchStream> {
                Err(Status::unimplemented(""))
            }

            $(async fn $name(&self, _: Request<pb::$request>) -> Answered<pb::$response> {
                Err(Status::unimplemented(""))
            })*
        }
    };
}

unimplemented_rpcs! {
    set(SetRequest) -> SetResponse,
    delete(DeleteRequest) -> DeleteResponse,
    invalidate_namespace(InvalidateNamespaceRequest) -> InvalidateNamespaceResponse,
    invalidate(InvalidateRequest) -> InvalidateResponse,
    stats(StatsRequest) -> StatsResponse,
    get_or_fetch(GetOrFetchRequest) -> GetOrFetchResponse,
    abandon(AbandonRequest) -> AbandonResponse,
    renew(RenewRequest) -> RenewResponse,
    batch_set(BatchSetRequest) -> BatchSetResponse,
    batch_delete(BatchDeleteRequest) -> BatchDeleteResponse,
    touch(TouchRequest) -> TouchResponse,
    increment(IncrementRequest) -> IncrementResponse,
    patch(PatchRequest) -> PatchResponse,
    list_keys(ListKeysRequest) -> ListKeysResponse,
    count_keys(CountKeysRequest) -> CountKeysResponse,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve"] => serve().await,
        ["load", address] => load(address).await,
        ["check", address] => check(address).await,
        ["frame", file, rpc] => Ok(fs::write(file, frame(rpc)?)?),
        ["fill", address, keys] => fill(address, keys.parse()?).await,
        ["spread", address, keys, seconds] => {
            spread(address, keys.parse()?, seconds.parse()?).await
        }
        ["writes", address, keys, seconds] => {
            writes(address, keys.parse()?, seconds.parse()?).await
        }
        ["tagged", address] => tagged(address).await,
        ["ban", address, tags] => ban(address, tags.parse()?).await,
        ["p50", address, rpc, seconds] => p50(address, rpc, seconds.parse()?).await,
        ["watch", address, streams] => watch(address, streams.parse()?).await,
        ["idle", address, connections] => idle(address, connections.parse()?).await,
        _ => Err("usage: see the top of main.rs".into()),
    }
}

async fn connect(
    address: &str,
) -> Result<CacheServiceClient<tonic::transport::Channel>, Box<dyn Error>> {
    Ok(CacheServiceClient::connect(format!("http://{address}")).await?)
}

async fn load(address: &str) -> Result<(), Box<dyn Error>> {
    let mut client = connect(address).await?;
    let stored = client.set(set_request()).await?.into_inner();
    let item = |number| pb::SetRequest {
        key: batch_key(number),
        value: Some(small_value()),
        ..set_request()
    };
    let batch = pb::BatchSetRequest { items: (0..BATCH).map(item).collect() };
    let results = client.batch_set(batch).await?.into_inner().results;
    let is_stored = |result: &pb::SetResponse| result.result() == pb::SetResult::Stored;
    if results.iter().chain([&stored]).all(is_stored) {
        Ok(())
    } else {
        Err(format!("{stored:?}").into())
    }
}

async fn check(address: &str) -> Result<(), Box<dyn Error>> {
    let read = connect(address).await?.get(get_request()).await?.into_inner();
    if read.value == Some(value()) { Ok(()) } else { Err(format!("{:?}", read.outcome()).into()) }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    // A short backlog would drop connections of a burst, and the load would wait for them.
    let listener = socket.listen(4096)?;
    println!("{}", listener.local_addr()?);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = CacheServiceServer::new(Constant(value()));
    Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
}

/// Encodes one request as a gRPC message: the uncompressed flag, the length, the protobuf.
fn frame(rpc: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let get = get_request();
    let message = match rpc {
        "Get" => get.encode_to_vec(),
        "GetOrFetch" => {
            pb::GetOrFetchRequest { namespace: get.namespace, key: get.key, ..Default::default() }
                .encode_to_vec()
        }
        // The namespace has an origin.
        "ReadThrough" => {
            let namespace = "through".to_owned();
            pb::GetOrFetchRequest { namespace, key: get.key, ..Default::default() }.encode_to_vec()
        }
        "BatchGet" => batch_request().encode_to_vec(),
        "Set" => set_request().encode_to_vec(),
        _ => return Err("unknown RPC".into()),
    };
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    frame.extend_from_slice(&message);
    Ok(frame)
}

fn small_value() -> pb::Value {
    pb::Value { kind: Some(pb::value::Kind::Data(Bytes::from_static(&[b'v'; BATCH_VALUE_BYTES]))) }
}

async fn fill(address: &str, keys: u64) -> Result<(), Box<dyn Error>> {
    let client = connect(address).await?;
    let batches = (0..keys).step_by(FILL_BATCH);
    futures_util::stream::iter(batches)
        .map(Ok::<_, Box<dyn Error>>)
        .try_for_each_concurrent(8, |first| {
            let mut client = client.clone();
            async move {
                let numbers = first..keys.min(first + FILL_BATCH as u64);
                let item = |number: u64| pb::SetRequest {
                    key: number.to_string(),
                    value: Some(small_value()),
                    ..set_request()
                };
                let results = client
                    .batch_set(pb::BatchSetRequest { items: numbers.map(item).collect() })
                    .await?;
                let stored = results
                    .into_inner()
                    .results
                    .iter()
                    .all(|result| result.result() == pb::SetResult::Stored);
                if stored { Ok(()) } else { Err("not stored".into()) }
            }
        })
        .await
}

/// Sends load like h2load with 8 connections of 32 streams, but each call reads another key.
async fn spread(address: &str, keys: u64, seconds: u64) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = connect(address).await?;
        for _ in 0..32 {
            let mut client = client.clone();
            callers.spawn(async move {
                let mut found = 0u64;
                while Instant::now() < end {
                    let key = (rand::random::<u64>() % keys).to_string();
                    let read =
                        client.get(pb::GetRequest { key, ..get_request() }).await?.into_inner();
                    if read.value != Some(small_value()) {
                        return Err(Status::data_loss(format!("{:?}", read.outcome())));
                    }
                    found += 1;
                }
                Ok(found)
            });
        }
    }
    let mut sum = 0;
    while let Some(found) = callers.join_next().await {
        sum += found??;
    }
    println!("{sum}");
    Ok(())
}

/// As [`spread`], but each call stores a value.
async fn writes(address: &str, keys: u64, seconds: u64) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = connect(address).await?;
        for _ in 0..32 {
            let mut client = client.clone();
            callers.spawn(async move {
                let mut stored = 0u64;
                while Instant::now() < end {
                    let key = (rand::random::<u64>() % keys).to_string();
                    let value = Some(small_value());
                    let set = pb::SetRequest { key, value, ..set_request() };
                    let answer = client.set(set).await?.into_inner();
                    if answer.result() != pb::SetResult::Stored {
                        return Err(Status::data_loss(format!("{:?}", answer.result())));
                    }
                    stored += 1;
                }
                Ok(stored)
            });
        }
    }
    let mut sum = 0;
    while let Some(stored) = callers.join_next().await {
        sum += stored??;
    }
    println!("{sum}");
    Ok(())
}

async fn tagged(address: &str) -> Result<(), Box<dyn Error>> {
    let tags = (0..4).map(|number| format!("kept-{number}")).collect();
    let answer = connect(address).await?.set(pb::SetRequest { tags, ..set_request() }).await?;
    let result = answer.into_inner().result();
    if result == pb::SetResult::Stored { Ok(()) } else { Err(format!("{result:?}").into()) }
}

fn ban_request(number: u64) -> pb::InvalidateRequest {
    let tags = vec![format!("banned-{number}")];
    let target = pb::TagTarget { namespace: get_request().namespace, tags };
    let target = pb::Target { target: Some(pb::target::Target::Tags(target)) };
    pb::InvalidateRequest { targets: vec![target], ..Default::default() }
}

async fn ban(address: &str, tags: u64) -> Result<(), Box<dyn Error>> {
    let mut client = connect(address).await?;
    for number in 0..tags {
        let results = client.invalidate(ban_request(number)).await?.into_inner().results;
        if results.iter().any(|result| result.namespace_invalidated) {
            return Err("the namespace was invalidated".into());
        }
    }
    Ok(())
}

async fn p50(address: &str, rpc: &str, seconds: u64) -> Result<(), Box<dyn Error>> {
    let mut client = connect(address).await?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut times = Vec::new();
    while Instant::now() < end {
        let began_at = Instant::now();
        match rpc {
            "Set" => drop(client.set(set_request()).await?),
            "Invalidate" => drop(client.invalidate(ban_request(times.len() as u64 % 1000)).await?),
            _ => return Err("unknown RPC".into()),
        }
        times.push(began_at.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).ok_or("no call ended")?;
    println!("{:.1}", median.as_secs_f64() * 1e6);
    Ok(())
}

/// Reads streams of all changed keys.
async fn watch(address: &str, streams: usize) -> Result<(), Box<dyn Error>> {
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let namespaces = vec![get_request().namespace];
        let request = pb::WatchRequest { namespaces, keys: true, ..Default::default() };
        let mut stream = connect(address).await?.watch(request).await?.into_inner();
        let ready = stream.message().await?.and_then(|message| message.event);
        if !matches!(ready, Some(pb::watch_response::Event::Ready(_))) {
            return Err(format!("{ready:?}").into());
        }
        readers.spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
    }
    println!("ready");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Holds connections that are idle after the HTTP/2 handshake.
async fn idle(address: &str, connections: usize) -> Result<(), Box<dyn Error>> {
    // The preface and an empty SETTINGS frame (RFC 9113, 3.4).
    const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(HELLO).await?;
        let mut settings = [0; 9];
        stream.read_exact(&mut settings).await?;
        open.push(stream);
    }
    println!("open");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
