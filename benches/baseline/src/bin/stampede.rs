//! Load on an origin when many callers request one cold key, or many cold keys, at the same moment.
//!
//! ```text
//! stampede origin MILLIS
//!     serves an HTTP origin with this latency; prints the address
//! stampede crowd CALLERS ROUNDS ORIGIN MILLIS ADDRESS...
//!     sends all callers to one cold key, spread over the servers; prints the maximum number of
//!     origin requests per round, and p50, p99 and maximum of the callers' latency in addition to
//!     the origin's, in milliseconds
//! stampede cold KEYS ORIGIN ADDRESS
//!     requests this many cold keys at once; prints the number of values found, the number of
//!     rejected calls, the total seconds and the maximum number of concurrent origin requests
//! ```

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};
use tonic::{Code, transport::Channel};

#[allow(clippy::all)]
mod pb {
    tonic::include_proto!("larder.v1");
}
use pb::{cache_service_client::CacheServiceClient, get_or_fetch_response::Outcome};

type Outcomes<T> = Result<T, Box<dyn Error + Send + Sync>>;
type Client = CacheServiceClient<Channel>;

const NAMESPACE: &str = "stampede";
const VALUE_BYTES: usize = 1024;

#[tokio::main]
async fn main() -> Outcomes<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["origin", millis] => origin(Duration::from_millis(millis.parse()?)).await,
        ["crowd", callers, rounds, origin, millis, servers @ ..] if !servers.is_empty() => {
            crowd(
                callers.parse()?,
                rounds.parse()?,
                origin,
                Duration::from_millis(millis.parse()?),
                servers,
            )
            .await
        }
        ["cold", keys, origin, server] => cold(keys.parse()?, origin, server).await,
        _ => Err("usage: see the top of stampede.rs".into()),
    }
}

// === origin ===

#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

async fn origin(takes: Duration) -> Outcomes<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let counts = Arc::new(Counts::default());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, takes, counts.clone()));
    }
}

/// Responds with 1 KiB. `/-/counts` responds with the counts since the last such request.
async fn answer(mut stream: TcpStream, takes: Duration, counts: Arc<Counts>) -> Outcomes<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let body = if head.starts_with(b"GET /-/counts ") {
            format!("{} {}", counts.calls.swap(0, SeqCst), counts.most_at_once.swap(0, SeqCst))
                .into_bytes()
        } else {
            counts.calls.fetch_add(1, SeqCst);
            counts.most_at_once.fetch_max(counts.at_once.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(takes).await;
            counts.at_once.fetch_sub(1, SeqCst);
            vec![b'v'; VALUE_BYTES]
        };
        let mut response =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        response.extend_from_slice(&body);
        stream.write_all(&response).await?;
    }
}

/// Returns the number of requests and the maximum concurrency since the last call.
async fn counts(origin: &str) -> Outcomes<(usize, usize)> {
    let mut stream = TcpStream::connect(origin).await?;
    stream.write_all(b"GET /-/counts HTTP/1.1\r\nhost: o\r\n\r\n").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let counts = answer.lines().last().and_then(|line| line.split_once(' ')).ok_or("no counts")?;
    Ok((counts.0.parse()?, counts.1.parse()?))
}

// === callers ===

async fn connect(server: &str) -> Outcomes<Client> {
    Ok(CacheServiceClient::connect(format!("http://{server}")).await?)
}

fn request(key: String) -> pb::GetOrFetchRequest {
    let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    pb::GetOrFetchRequest { namespace: NAMESPACE.to_owned(), key, wait, ..Default::default() }
}

/// Returns whether the value was found; false if the server rejected the call under load.
async fn get(client: &mut Client, key: String) -> Outcomes<bool> {
    match client.get_or_fetch(request(key)).await {
        Ok(answer) => Ok(matches!(answer.into_inner().outcome, Some(Outcome::Found(_)))),
        Err(status) if matches!(status.code(), Code::ResourceExhausted | Code::Unavailable) => {
            Ok(false)
        }
        Err(status) => Err(status.into()),
    }
}

async fn crowd(
    callers: usize,
    rounds: usize,
    origin: &str,
    takes: Duration,
    servers: &[&str],
) -> Outcomes<()> {
    // Several connections to each server, as several clients would have.
    let mut clients = Vec::new();
    for _ in 0..4 {
        for server in servers {
            clients.push(connect(server).await?);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        get(client, format!("warm-up-{number}")).await?;
    }
    counts(origin).await?;
    let (mut over, mut most) = (Vec::with_capacity(callers * rounds), 0);
    for round in 0..rounds {
        let start = Arc::new(Barrier::new(callers));
        let tasks: Vec<_> = (0..callers)
            .map(|number| {
                let (mut client, start) = (clients[number % clients.len()].clone(), start.clone());
                tokio::spawn(async move {
                    start.wait().await;
                    let began = Instant::now();
                    let found = get(&mut client, format!("key-{round}")).await?;
                    if found {
                        Ok::<_, Box<dyn Error + Send + Sync>>(began.elapsed())
                    } else {
                        Err("not found".into())
                    }
                })
            })
            .collect();
        for task in tasks {
            over.push(task.await??.saturating_sub(takes));
        }
        most = most.max(counts(origin).await?.0);
    }
    over.sort_unstable();
    let at = |share: usize| over[(over.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("{most} {:.1} {:.1} {:.1}", at(50), at(99), at(100));
    Ok(())
}

async fn cold(keys: usize, origin: &str, server: &str) -> Outcomes<()> {
    let mut clients = Vec::new();
    for _ in 0..64 {
        clients.push(connect(server).await?);
    }
    counts(origin).await?;
    let start = Arc::new(Barrier::new(keys));
    let tasks: Vec<_> = (0..keys)
        .map(|number| {
            let (mut client, start) = (clients[number % clients.len()].clone(), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                get(&mut client, format!("cold-{number}")).await
            })
        })
        .collect();
    let began = Instant::now();
    let mut found = 0;
    for task in tasks {
        found += usize::from(task.await??);
    }
    let (_, most) = counts(origin).await?;
    println!("{found} {} {:.2} {most}", keys - found, began.elapsed().as_secs_f64());
    Ok(())
}
