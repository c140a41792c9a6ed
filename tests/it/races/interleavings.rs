//! Every order of a few steps, against a model.
//!
//! Two callers ask for a key and fill it, somebody writes it, somebody deletes it or invalidates its namespace. A key is
//! one place in the store that takes one step after the other, so that the orders of whole calls are all that can be
//! seen, as long as each call is one step there. That each is one, the crowds show.

use larder::pb::v1::{
    DeleteRequest, GetOrFetchRequest, GetRequest, Lease, SetRequest, SetResult,
    get_or_fetch_response::Outcome as Answer,
};

use super::Fleet;
use crate::support::client::{Cache, as_text, delete, fetch, fill, get, invalidate, set, text};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The caller asks.
    Ask(usize),
    /// The caller fills, if it was given a lease.
    Fill(usize),
    Write,
    Invalidate,
}

#[derive(Clone, Copy, Debug)]
enum Means {
    Delete,
    InvalidateNamespace,
}

/// What the contract says that the cache holds.
#[derive(Default)]
struct Model {
    value: Option<String>,
    holder: Option<usize>,
    /// What happened to the key since a caller was granted its lease. More than one thing may have, and then its fill may
    /// be told any of them.
    since: [Vec<SetResult>; 2],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_on_two_replicas() {
    let fleet = Fleet::start(&[("LARDER_STORE__SHARDS", "2")]).await;
    every_order([&fleet.caches[0], &fleet.caches[1]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_on_the_embedded_store() {
    let env = crate::support::env::Env::memory(&[], "").await;
    every_order([&env.cache, &env.cache]).await;
}

async fn every_order(caches: [&Cache; 2]) {
    let threads = [
        vec![Step::Ask(0), Step::Fill(0)],
        vec![Step::Ask(1), Step::Fill(1)],
        vec![Step::Write],
        vec![Step::Invalidate],
    ];
    let mut orders = Vec::new();
    merge(&threads, &mut Vec::new(), &mut orders);
    assert_eq!(orders.len(), 180);
    for means in [Means::Delete, Means::InvalidateNamespace] {
        for (number, order) in orders.iter().enumerate() {
            // The steps of nobody in particular come through either replica.
            let namespace = format!("{means:?}-{number}").to_lowercase();
            run(caches, number % 2, &namespace, means, order).await;
        }
    }
}

/// All ways to merge sequences that keep the order of each.
fn merge(rest: &[Vec<Step>], merged: &mut Vec<Step>, orders: &mut Vec<Vec<Step>>) {
    if rest.iter().all(Vec::is_empty) {
        orders.push(merged.clone());
    }
    for (index, sequence) in rest.iter().enumerate() {
        if let Some((first, tail)) = sequence.split_first() {
            let mut rest = rest.to_vec();
            rest[index] = tail.to_vec();
            merged.push(*first);
            merge(&rest, merged, orders);
            merged.pop();
        }
    }
}

async fn run(
    caches: [&Cache; 2],
    third_party: usize,
    namespace: &str,
    means: Means,
    order: &[Step],
) {
    let mut model = Model::default();
    let mut leases: [Option<Lease>; 2] = [None, None];
    let within = || namespace.to_owned();
    for step in order {
        let context = format!("{step:?} in {order:?} with {means:?}");
        match *step {
            Step::Ask(caller) => {
                let request = GetOrFetchRequest { namespace: within(), ..fetch("k", 0) };
                let answer = caches[caller].get_or_fetch(request).await.unwrap();
                match (answer.outcome.unwrap(), &model.value, model.holder) {
                    (Answer::Found(found), Some(value), _) => {
                        assert_eq!(as_text(found.value).as_ref(), Some(value))
                    }
                    (Answer::Lease(lease), None, None) => {
                        model.happened(SetResult::LeaseLost);
                        model.holder = Some(caller);
                        model.since[caller].clear();
                        leases[caller] = Some(lease);
                    }
                    (Answer::Contended(_), None, Some(_)) => {}
                    (other, value, holder) => {
                        panic!("{other:?} with {value:?} and {holder:?} at {context}")
                    }
                }
            }
            Step::Fill(caller) => {
                let Some(lease) = &leases[caller] else { continue };
                let value = format!("fill of {caller}");
                let request = SetRequest { namespace: within(), ..fill("k", text(&value), lease) };
                let result = caches[caller].set(request).await.unwrap().result();
                if model.holder == Some(caller) {
                    assert_eq!(result, SetResult::Stored, "{context}");
                    model.happened(SetResult::Superseded);
                    model.value = Some(value);
                } else {
                    let since = &model.since[caller];
                    assert!(
                        since.contains(&result),
                        "{result:?} instead of one of {since:?} at {context}"
                    );
                }
            }
            Step::Write => {
                let request = SetRequest { namespace: within(), ..set("k", text("written")) };
                caches[third_party].set(request).await.unwrap();
                model.happened(SetResult::Superseded);
                model.value = Some("written".to_owned());
            }
            Step::Invalidate => {
                match means {
                    Means::Delete => {
                        let request = DeleteRequest { namespace: within(), ..delete("k") };
                        let existed = caches[third_party].delete(request).await.unwrap().existed;
                        assert_eq!(existed, model.value.is_some(), "{context}");
                    }
                    Means::InvalidateNamespace => {
                        caches[third_party]
                            .invalidate_namespace(invalidate(namespace))
                            .await
                            .unwrap();
                    }
                }
                model.happened(SetResult::Invalidated);
                model.value = None;
            }
        }
        for cache in caches {
            let request = GetRequest { namespace: within(), ..get("k") };
            assert_eq!(as_text(cache.get(request).await.unwrap().value), model.value, "{context}");
        }
    }
}

impl Model {
    /// Something that ends every lease.
    fn happened(&mut self, event: SetResult) {
        self.holder = None;
        for since in &mut self.since {
            since.push(event);
        }
    }
}
