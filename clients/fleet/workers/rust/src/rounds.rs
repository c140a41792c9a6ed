//! Callers that need one key at once, and changes that near caches have to see.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use larder_client::{FetchOptions, Namespace, Targets, Tier, WriteOptions};
use serde_json::{Value, json};
use tokio::{
    sync::Barrier,
    time::{Instant, sleep},
};

use crate::{Failure, answer};

/// How long the near cache has to keep a value and to see its change.
const LIMIT: Duration = Duration::from_secs(20);

pub async fn stampede(
    entries: &Namespace<Value>,
    key: &str,
    callers: usize,
    seconds: f64,
    lead: bool,
) -> Result<Value, Failure> {
    let loads = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(callers));
    let mut running = Vec::new();
    for _ in 0..callers {
        let (entries, key) = (entries.clone(), key.to_owned());
        let (loads, start) = (Arc::clone(&loads), Arc::clone(&start));
        running.push(tokio::spawn(async move {
            let value = json!(format!("{key} by rust"));
            let load = move || async move {
                if loads.fetch_add(1, Ordering::SeqCst) == 0 && lead {
                    answer(&json!("loading")).map_err(|error| error.to_string())?;
                }
                sleep(Duration::from_secs_f64(seconds)).await;
                Ok::<_, String>(value)
            };
            start.wait().await;
            let began = Instant::now();
            let options = FetchOptions::default().timeout(Duration::from_secs(30));
            let result = entries.get_or_fetch_with(key, options, load).await;
            (result, began.elapsed().as_secs_f64())
        }));
    }
    let (mut answers, mut slowest) = (0, 0.0_f64);
    let (mut values, mut wrong) = (BTreeSet::new(), Vec::new());
    for call in running {
        let (result, took) = call.await?;
        slowest = slowest.max(took);
        match result {
            Ok(read) if read.error.is_none() && read.found() && !read.degraded => {
                answers += 1;
                values.extend(read.value().and_then(Value::as_str).map(str::to_owned));
            }
            other if wrong.len() < 3 => wrong.push(format!("{other:?}")),
            _ => {}
        }
    }
    let loads = loads.load(Ordering::SeqCst);
    Ok(json!({
        "loads": loads, "answers": answers, "values": values, "slowest": slowest, "wrong": wrong,
    }))
}

fn now() -> Result<f64, Failure> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// Changes an entry, and reads it.
pub async fn change(
    near: &Namespace<String>,
    kind: &str,
    key: &str,
    tag: &str,
    value: Option<String>,
) -> Result<Value, Failure> {
    let done = match (kind, value) {
        ("set", Some(value)) => {
            let options = WriteOptions::default().tags([tag]).ttl(Duration::from_secs(60));
            near.set_with(key, &value, &options).await?.is_stored()
        }
        ("delete", _) => near.delete(key).await?.deleted,
        _ => !near.invalidate(&Targets::new().tags([tag])).await?.queued,
    };
    let at = now()?;
    let read = near.get(key).await?;
    Ok(json!({"done": done, "at": at, "found": read.found(), "value": read.value()}))
}

/// Reads by the near cache until it has seen the change.
pub async fn follow(
    near: &Namespace<String>,
    key: &str,
    old: &str,
    new: Option<&str>,
    gone: usize,
) -> Result<Value, Failure> {
    let deadline = Instant::now() + LIMIT;
    let (mut kept, mut others, mut outdated_at) = (0, 0, 0.0);
    let mut wrong = Vec::new();
    loop {
        if Instant::now() > deadline {
            wrong.push(format!("no end within {LIMIT:?}: {kept} reads of the near cache"));
            break;
        }
        let began = now()?;
        let read = near.get(key).await?;
        let is_near = read.tier == Some(Tier::Client);
        let value = read.value().map(String::as_str);
        if value == Some(old) {
            others = 0;
            outdated_at = began;
            if is_near {
                kept += 1;
                if kept == 1 {
                    answer(&json!("following"))?;
                }
            }
        } else if value.is_some() && value != new {
            wrong.push(format!("{read:?}"));
            break;
        } else {
            others += 1;
            if others >= gone && (new.is_none() || is_near) {
                break;
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(json!({"kept": kept, "outdated_at": outdated_at, "wrong": wrong}))
}
