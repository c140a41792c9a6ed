//! Callers of all namespaces: each has a rate, a choice of keys and a size of values of its own.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use larder_client::{
    Error, FetchError, FetchOptions, IncrementOptions, Loaded, ReadOptions, WriteOptions,
};
use tokio::{task::JoinSet, time::sleep};

use crate::{fleet::Fleet, popularity::Zipf, values};

const SESSION_TTL: Duration = Duration::from_secs(30);
/// Callers that ask for the same report at the same time.
const STAMPEDE: usize = 40;
const THUMBNAIL_BYTES: usize = 2 * 1024;
const ORIGINAL_BYTES: usize = 100 * 1024;

/// Starts the callers. They go on for as long as the program runs.
pub(crate) fn start(fleet: &Arc<Fleet>) {
    read(fleet, "users", Duration::from_millis(12), Zipf::new(2_000, 1.1));
    read(fleet, "prices", Duration::from_millis(16), Zipf::new(100, 0.8));
    // Each product is read every ten seconds, and cached for one.
    read(fleet, "products", Duration::from_millis(33), Zipf::new(300, 0.0));
    // Most searches are asked for once.
    read(fleet, "search", Duration::from_millis(100), Zipf::new(100_000, 0.2));
    sessions(fleet);
    pages(fleet);
    images(fleet);
    counters(fleet);
    stampedes(fleet);
}

/// Reads of a namespace for which the replicas fetch.
fn read(fleet: &Arc<Fleet>, name: &'static str, period: Duration, keys: Zipf) {
    fleet.repeat(period, move |fleet| {
        let key = keys.choose().to_string();
        async move { fleet.namespace(name).fetch(&key).await }
    });
}

/// Sessions live for as long as they are used.
fn sessions(fleet: &Arc<Fleet>) {
    let keys = Zipf::new(500, 0.9);
    fleet.repeat(Duration::from_millis(25), move |fleet| {
        let number = keys.choose();
        async move {
            let key = format!("session:{number}");
            let sessions = fleet.namespace("sessions");
            let read = ReadOptions::default().touch(SESSION_TTL);
            if !sessions.get_with(&key, &read).await?.found() {
                let write = WriteOptions::default().ttl(SESSION_TTL);
                sessions.set_with(&key, &values::session(number), &write).await?;
            }
            Ok::<_, Error>(())
        }
    });
}

/// Large values, which the callers compute under leases.
fn pages(fleet: &Arc<Fleet>) {
    let keys = Zipf::new(200, 1.0);
    fleet.repeat(Duration::from_millis(200), move |fleet| {
        let number = keys.choose();
        async move {
            let options = FetchOptions::default().tags([format!("section:{}", number % 5)]);
            let load = move || async move {
                sleep(Duration::from_millis(50)).await;
                Ok::<_, Infallible>(Loaded::new(values::page(number)))
            };
            let pages = fleet.namespace("pages");
            pages.get_or_fetch_with(format!("page:{number}"), options, load).await
        }
    });
}

/// Thumbnails are read all the time, and the large images that they are made from once.
fn images(fleet: &Arc<Fleet>) {
    let keys = Zipf::new(100, 1.0);
    fleet.repeat(Duration::from_millis(40), move |fleet| {
        let key = format!("thumbnail:{}", keys.choose());
        async move {
            let images = fleet.namespace("images");
            if !images.get(&key).await?.found() {
                images.set(&key, &values::text(THUMBNAIL_BYTES).into()).await?;
            }
            Ok::<_, Error>(())
        }
    });
    let number = AtomicU64::new(0);
    fleet.repeat(Duration::from_secs(1), move |fleet| {
        let key = format!("original:{}", number.fetch_add(1, Relaxed));
        async move {
            let images = fleet.namespace("images");
            images.set(&key, &values::text(ORIGINAL_BYTES).into()).await?;
            images.get(&key).await
        }
    });
}

fn counters(fleet: &Arc<Fleet>) {
    let keys = Zipf::new(20, 1.0);
    fleet.repeat(Duration::from_millis(50), move |fleet| {
        let key = format!("visits:{}", keys.choose());
        async move {
            let options = IncrementOptions::default();
            fleet.namespace("counters").increment(&key, 1, &options).await
        }
    });
}

/// Each five seconds many callers need a new report at once, and one of them computes it.
fn stampedes(fleet: &Arc<Fleet>) {
    let number = AtomicU64::new(0);
    fleet.repeat(Duration::from_secs(5), move |fleet| {
        let key = format!("report:{}", number.fetch_add(1, Relaxed));
        async move {
            let computations = Arc::new(AtomicU64::new(0));
            let mut callers = JoinSet::new();
            for _ in 0..STAMPEDE {
                callers.spawn(report(Arc::clone(&fleet), key.clone(), Arc::clone(&computations)));
            }
            let answers = callers.join_all().await;
            let computed = computations.load(Relaxed);
            fleet.report(&format!("{STAMPEDE} callers of {key}: computed {computed} times"));
            answers.into_iter().collect::<Result<Vec<_>, _>>()
        }
    });
}

async fn report(
    fleet: Arc<Fleet>,
    key: String,
    computations: Arc<AtomicU64>,
) -> Result<(), FetchError<Infallible>> {
    let load = move || async move {
        computations.fetch_add(1, Relaxed);
        sleep(Duration::from_millis(400)).await;
        Ok(Loaded::new(values::page(1)))
    };
    fleet.namespace("reports").get_or_fetch(key, load).await.map(|_| ())
}
