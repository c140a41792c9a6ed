//! Compares Redis clients by the command of a Larder Get: `MGET` of a 16-byte marker and a
//! 1,085-byte entry.
//!
//! ```text
//! redis-clients load ADDRESS
//!     stores the two values
//! redis-clients LIBRARY ADDRESS CONNECTIONS TASKS SECONDS
//!     reads them; LIBRARY is redis-rs, fred, rustis or own
//! ```
//!
//! ADDRESS is the path of a unix socket, or an IP address with port. Prints operations per second,
//! microseconds of CPU per operation, and p50 and p99 of the latency in microseconds.

mod clients;
mod own;

use std::{
    env,
    error::Error,
    fs, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use clients::{Client, Fred, Own, RedisRs, Rustis};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MARKER_KEY: &str = "larder:{bench}:marker";
const ENTRY_KEY: &str = "larder:{bench}:entry:key-0001";
const MARKER_BYTES: usize = 16;
/// A value of 1 KiB and the header that Larder stores with it.
const ENTRY_BYTES: usize = 1024 + 61;
const WARM_UP: Duration = Duration::from_millis(300);

type Failure = Box<dyn Error + Send + Sync>;

enum Address {
    Unix(String),
    Tcp(SocketAddr),
}

impl Address {
    fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Unix(text.to_owned()), Self::Tcp)
    }
}

/// Reads on all connections in turn for `duration`. Returns the latencies in nanoseconds.
async fn task<C: Client>(
    clients: Vec<C>,
    first: usize,
    duration: Duration,
) -> Result<Vec<u32>, Failure> {
    let mut latencies = Vec::with_capacity(1 << 12);
    let began = Instant::now();
    let mut asked = began;
    for number in first.. {
        let [marker, entry] = clients[number % clients.len()].read().await?;
        if marker.as_ref().len() != MARKER_BYTES || entry.as_ref().len() != ENTRY_BYTES {
            return Err("the answer is not what was stored".into());
        }
        drop((marker, entry));
        let answered = Instant::now();
        latencies.push((answered - asked).as_nanos().try_into().unwrap_or(u32::MAX));
        if answered - began >= duration {
            break;
        }
        asked = answered;
    }
    Ok(latencies)
}

async fn load_all<C: Client>(
    clients: &[C],
    tasks: usize,
    duration: Duration,
) -> Result<Vec<u32>, Failure> {
    let mut running = JoinSet::new();
    for number in 0..tasks {
        running.spawn(task(clients.to_vec(), number, duration));
    }
    let mut latencies = Vec::new();
    while let Some(joined) = running.join_next().await {
        latencies.append(&mut joined??);
    }
    Ok(latencies)
}

/// Returns the CPU time of all threads of this process, in nanoseconds.
fn cpu_ns() -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum +=
            schedstat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(sum)
}

async fn measure<C: Client>(
    address: &Address,
    connections: usize,
    tasks: usize,
    duration: Duration,
) -> Result<(), Failure> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(C::connect(address).await?);
    }
    load_all(&clients, tasks, WARM_UP).await?;
    let (began, cpu_before) = (Instant::now(), cpu_ns()?);
    let mut latencies = load_all(&clients, tasks, duration).await?;
    let (took, cpu) = (began.elapsed(), cpu_ns()? - cpu_before);
    latencies.sort_unstable();
    let done = latencies.len();
    let micros =
        |permille: usize| f64::from(latencies[(done * permille / 1000).min(done - 1)]) / 1000.0;
    let per_second = done as f64 / took.as_secs_f64();
    println!(
        "{per_second:.0} {:.3} {:.1} {:.1}",
        cpu as f64 / done as f64 / 1000.0,
        micros(500),
        micros(990)
    );
    Ok(())
}

async fn load(address: &Address) -> Result<(), Failure> {
    let mut connection = RedisRs::connect(address).await?.0;
    for (key, bytes) in [(MARKER_KEY, MARKER_BYTES), (ENTRY_KEY, ENTRY_BYTES)] {
        // Not valid UTF-8, like a real entry.
        let () = redis::cmd("SET")
            .arg(key)
            .arg(vec![0xff_u8; bytes])
            .query_async(&mut connection)
            .await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["load", address] => load(&Address::of(address)).await,
        [library, address, connections, tasks, seconds] => {
            let (address, connections, tasks) =
                (Address::of(address), connections.parse()?, tasks.parse()?);
            let duration = Duration::from_secs_f64(seconds.parse()?);
            match library {
                "redis-rs" => measure::<RedisRs>(&address, connections, tasks, duration).await,
                "fred" => measure::<Fred>(&address, connections, tasks, duration).await,
                "rustis" => measure::<Rustis>(&address, connections, tasks, duration).await,
                "own" => measure::<Own>(&address, connections, tasks, duration).await,
                other => Err(format!("unknown library '{other}'").into()),
            }
        }
        _ => Err("see the top of main.rs for the arguments".into()),
    }
}
