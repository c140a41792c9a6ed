//! Stores the values of a loader for several keys.

use crate::{
    Error, FetchOptions, Key, Loaded, Write,
    core::{BATCH_KEYS, Scope},
    feed::changing,
    lease::{Fill, Lease, expired, filled, unfilled},
    pb,
    typed::{Typed, value_bytes},
    writes::parts,
};

type Done<V> = (Key<'static>, Loaded<V>, Write);

/// Sends one fill.
pub(crate) async fn fill_one(scope: &Scope, fill: Fill) -> Result<Write, Error> {
    match fill {
        Fill::Done(write) => Ok(write),
        Fill::Request(request, lease) => {
            let key = request.key.clone();
            let call = scope.call(*request, scope.spec(None, false)?);
            let answer = changing(scope, |feed| feed.key_changed(&key), call).await?;
            lease.settle();
            Ok(filled(scope, answer))
        }
        Fill::Delete(lease) => {
            let pb::KeyRef { namespace, key, params } = lease.key_ref();
            let name = key.clone();
            let request = pb::DeleteRequest { namespace, key, params, ..Default::default() };
            let call = scope.call(request, scope.spec(None, true)?);
            changing(scope, |feed| feed.key_changed(&name), call).await?;
            lease.settle();
            Ok(expired(scope))
        }
    }
}

/// Fills leases, and returns the values with what their fills have come to.
pub(crate) async fn fill_all<V: Send + Sync + 'static>(
    typed: &Typed<V>,
    fills: Vec<(Key<'static>, Lease, Loaded<V>)>,
    options: &FetchOptions,
) -> Vec<Done<V>> {
    let mut done = Vec::with_capacity(fills.len());
    let (mut items, mut leases, mut values, mut sizes) = (vec![], vec![], vec![], vec![]);
    let (mut ended, mut without) = (vec![], vec![]);
    for (key, lease, loaded) in fills {
        match lease.fill(&loaded, &*typed.codec, options.ttl, &options.tags) {
            Fill::Done(write) => {
                typed.scope.count.fills_refused.add();
                done.push((key, loaded, write));
            }
            Fill::Request(request, lease) => {
                sizes.push(value_bytes(request.value.as_ref()));
                items.push(*request);
                leases.push(lease);
                values.push((key, loaded));
            }
            Fill::Delete(lease) => {
                ended.push(lease);
                without.push((key, loaded));
            }
        }
    }
    values.extend(without);
    let scope = typed.scope.clone();
    let tracked = scope.core.background.track();
    // The work is done, so that the values are stored although the caller may leave.
    let filling = tokio::spawn(crate::telemetry::in_trace(async move {
        let _tracked = tracked;
        let (mut items, mut leases) = (items.into_iter(), leases.into_iter());
        let mut writes = Vec::new();
        for part in parts(&sizes) {
            let count = part.len();
            let requests: Vec<_> = items.by_ref().take(count).collect();
            let held: Vec<_> = leases.by_ref().take(count).collect();
            writes.extend(fill_part(&scope, requests, held).await);
        }
        while !ended.is_empty() {
            let rest = ended.split_off(ended.len().min(BATCH_KEYS));
            writes.extend(delete_part(&scope, std::mem::replace(&mut ended, rest)).await);
        }
        writes
    }));
    // The runtime of the call can end before it.
    let mut writes = filling.await.unwrap_or_default().into_iter();
    done.extend(values.into_iter().map(|(key, loaded)| {
        let write = writes.next().unwrap_or_else(|| unfilled(&typed.scope, Error::closed()));
        (key, loaded, write)
    }));
    done
}

async fn fill_part(scope: &Scope, requests: Vec<pb::SetRequest>, leases: Vec<Lease>) -> Vec<Write> {
    match send(scope, requests.clone()).await {
        Ok(answer) => {
            leases.into_iter().for_each(Lease::settle);
            answer.results.into_iter().map(|answer| filled(scope, answer)).collect()
        }
        Err(error) if requests.len() > 1 && !error.is_outage() => {
            // One item that is wrong fails a batch, so that each is tried alone.
            let mut writes = Vec::new();
            for (request, lease) in requests.into_iter().zip(leases) {
                writes.push(match send(scope, vec![request]).await {
                    Ok(mut answer) => {
                        lease.settle();
                        let answer = answer.results.pop().unwrap_or_default();
                        filled(scope, answer)
                    }
                    Err(error) => unfilled(scope, error),
                });
            }
            writes
        }
        Err(error) => requests.iter().map(|_| unfilled(scope, error.clone())).collect(),
    }
}

/// Deletes the entries of values with a TTL of zero.
async fn delete_part(scope: &Scope, leases: Vec<Lease>) -> Vec<Write> {
    let keys: Vec<_> = leases.iter().map(Lease::key_ref).collect();
    let sent = async {
        let request = pb::BatchDeleteRequest { keys: keys.clone(), ..Default::default() };
        let call = scope.call(request, scope.spec(None, true)?);
        changing(scope, |feed| keys.iter().for_each(|it| feed.key_changed(&it.key)), call).await
    };
    match sent.await {
        Ok(_) => {
            let ended = leases.into_iter().map(Lease::settle);
            ended.map(|()| expired(scope)).collect()
        }
        Err(error) => leases.iter().map(|_| unfilled(scope, error.clone())).collect(),
    }
}

async fn send(scope: &Scope, items: Vec<pb::SetRequest>) -> Result<pb::BatchSetResponse, Error> {
    let keys: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
    let call = scope.call(pb::BatchSetRequest { items }, scope.spec(None, false)?);
    changing(scope, |feed| keys.iter().for_each(|key| feed.key_changed(key)), call).await
}
