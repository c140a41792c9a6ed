//! Load with TLS, client certificates and tokens. DIR is one that `larder certs` has made, with a
//! client `bench`; `-` is for plain text. TOKEN may be `-` as well.
//!
//! ```text
//! secure store ADDRESS DIR TOKEN
//!     stores the value that the others read
//! secure reads SECONDS CONNECTIONS STREAMS ADDRESS DIR TOKEN
//!     reads it; prints the number of answers
//! secure burst SECONDS CONNECTIONS STREAMS ADDRESS DIR TOKEN
//!     as reads, but answers may be RESOURCE_EXHAUSTED; prints the values and the refusals
//! secure latency SECONDS PER_SECOND ADDRESS DIR TOKEN
//!     reads it at a constant rate; prints p50 and p99 in microseconds, from the time at which each
//!     call was due
//! secure handshakes COUNT ADDRESS DIR
//!     opens connections one after the other, each with a full handshake; prints their number
//! ```

use std::{
    env,
    error::Error,
    fs,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tonic::{
    Code, Request,
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

#[allow(clippy::all)]
mod pb {
    tonic::include_proto!("larder.v1");
}
use pb::{cache_service_client::CacheServiceClient, value::Kind};

type Failure = Box<dyn Error + Send + Sync>;

/// A server, and how to call it.
#[derive(Clone)]
struct Target {
    address: String,
    dir: String,
    token: Option<MetadataValue<tonic::metadata::Ascii>>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seconds = |text: &str| Ok::<_, Failure>(Duration::from_secs_f64(text.parse()?));
    match &arguments[..] {
        ["store", address, dir, token] => {
            let target = Target::new(address, dir, token)?;
            let value = Some(pb::Value { kind: Some(Kind::Data(vec![b'v'; 1024].into())) });
            let get = get();
            let (namespace, key) = (get.namespace, get.key);
            let set = pb::SetRequest { namespace, key, value, ..Default::default() };
            target.connect().await?.set(target.request(set)).await?;
            Ok(())
        }
        [command @ ("reads" | "burst"), time, connections, streams, address, dir, token] => {
            let target = Target::new(address, dir, token)?;
            let shape = (connections.parse()?, streams.parse()?);
            let (values, refused) = read(&target, seconds(time)?, shape).await?;
            match *command {
                "burst" => println!("{values} {refused}"),
                _ if refused > 0 => return Err(format!("{refused} calls refused").into()),
                _ => println!("{values}"),
            }
            Ok(())
        }
        ["latency", time, per_second, address, dir, token] => {
            let target = Target::new(address, dir, token)?;
            latency(&target, seconds(time)?, per_second.parse()?).await
        }
        ["handshakes", count, address, dir] => {
            let target = Target::new(address, dir, "-")?;
            let count: usize = count.parse()?;
            for _ in 0..count {
                target.connect().await?;
            }
            println!("{count}");
            Ok(())
        }
        _ => Err("see the comment at the top of secure.rs".into()),
    }
}

fn get() -> pb::GetRequest {
    pb::GetRequest { namespace: "bench".into(), key: "key-0001".into(), ..Default::default() }
}

impl Target {
    fn new(address: &str, dir: &str, token: &str) -> Result<Self, Failure> {
        let token = (token != "-").then(|| format!("Bearer {token}").parse()).transpose()?;
        Ok(Self { address: address.to_owned(), dir: dir.to_owned(), token })
    }

    async fn connect(&self) -> Result<CacheServiceClient<Channel>, Failure> {
        let Self { address, dir, .. } = self;
        if dir == "-" {
            return Ok(CacheServiceClient::connect(format!("http://{address}")).await?);
        }
        let file = |name: &str| fs::read(format!("{dir}/{name}"));
        let identity = Identity::from_pem(file("client-bench.crt")?, file("client-bench.key")?);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(file("ca.crt")?))
            .identity(identity)
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
        Ok(CacheServiceClient::new(endpoint.connect().await?))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

/// Reads on so many connections and streams of each, and returns the numbers of values and of
/// refused calls.
async fn read(
    target: &Target,
    time: Duration,
    (connections, streams): (usize, usize),
) -> Result<(u64, u64), Failure> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(target.connect().await?);
    }
    let end = Instant::now() + time;
    let mut readers = JoinSet::new();
    for client in clients {
        for _ in 0..streams {
            let (mut client, target) = (client.clone(), target.clone());
            readers.spawn(async move {
                let (mut values, mut refused) = (0, 0);
                while Instant::now() < end {
                    match client.get(target.request(get())).await {
                        Ok(answer) if answer.get_ref().value.is_some() => values += 1,
                        Ok(answer) => return Err(format!("{answer:?}").into()),
                        Err(status) if status.code() == Code::ResourceExhausted => refused += 1,
                        Err(status) => return Err(status.into()),
                    }
                }
                Ok::<(u64, u64), Failure>((values, refused))
            });
        }
    }
    let mut sums = (0, 0);
    while let Some(ended) = readers.join_next().await {
        let (values, refused) = ended??;
        sums = (sums.0 + values, sums.1 + refused);
    }
    Ok(sums)
}

async fn latency(target: &Target, time: Duration, per_second: u32) -> Result<(), Failure> {
    let client = target.connect().await?;
    let interval = Duration::from_secs(1) / per_second;
    let (began_at, mut calls) = (Instant::now(), JoinSet::new());
    let mut due = began_at;
    while due - began_at < time {
        tokio::time::sleep_until(due.into()).await;
        let (mut client, request, due_at) = (client.clone(), target.request(get()), due);
        calls.spawn(async move { client.get(request).await.map(|_| due_at.elapsed()) });
        due += interval;
    }
    let mut times = Vec::new();
    while let Some(ended) = calls.join_next().await {
        times.push(ended??);
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{:.0} {:.0}", at(50).as_secs_f64() * 1e6, at(99).as_secs_f64() * 1e6);
    Ok(())
}
