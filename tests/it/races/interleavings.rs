//! Every order of a few calls, checked against a model.
//!
//! Two callers request and fill a key; others write it, and delete it or invalidate its namespace.
//! The store executes the calls for one key one after the other. As long as each call is atomic,
//! the orders of whole calls are therefore all that can be observed. The stress tests check that
//! each call is atomic.

use larder::pb::v1::{
    DeleteRequest, GetOrFetchRequest, GetRequest, Lease, SetRequest, SetResult,
    get_or_fetch_response::Outcome as Answer,
};

use super::Fleet;
use crate::support::client::{Cache, as_text, delete, fetch, fill, get, invalidate, set, text};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The caller calls GetOrFetch.
    Fetch(usize),
    /// The caller fills, if it was granted a lease.
    Fill(usize),
    Write,
    Invalidate,
}

#[derive(Clone, Copy, Debug)]
enum Invalidation {
    Delete,
    InvalidateNamespace,
}

/// The cache's state according to the contract.
#[derive(Default)]
struct Model {
    value: Option<String>,
    holder: Option<usize>,
    /// For each caller, the events that voided its lease. A late fill may be answered with any of
    /// them.
    lease_losses: [Vec<SetResult>; 2],
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_matches_the_model_on_two_replicas() {
    let fleet = Fleet::start(&[("LARDER_STORE__SHARDS", "2")]).await;
    check_every_order([&fleet.caches[0], &fleet.caches[1]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_matches_the_model_on_the_embedded_store() {
    let env = crate::support::env::Env::memory(&[], "").await;
    check_every_order([&env.cache, &env.cache]).await;
}

async fn check_every_order(caches: [&Cache; 2]) {
    let sequences = [
        vec![Step::Fetch(0), Step::Fill(0)],
        vec![Step::Fetch(1), Step::Fill(1)],
        vec![Step::Write],
        vec![Step::Invalidate],
    ];
    let mut orders = Vec::new();
    interleave(&sequences, &mut Vec::new(), &mut orders);
    assert_eq!(orders.len(), 180);
    for invalidation in [Invalidation::Delete, Invalidation::InvalidateNamespace] {
        for (number, order) in orders.iter().enumerate() {
            // Writes and invalidations alternate between the replicas.
            let namespace = format!("{invalidation:?}-{number}").to_lowercase();
            run(caches, number % 2, &namespace, invalidation, order).await;
        }
    }
}

/// Collects all interleavings that keep the order within each sequence.
fn interleave(rest: &[Vec<Step>], merged: &mut Vec<Step>, orders: &mut Vec<Vec<Step>>) {
    if rest.iter().all(Vec::is_empty) {
        orders.push(merged.clone());
    }
    for (index, sequence) in rest.iter().enumerate() {
        if let Some((first, tail)) = sequence.split_first() {
            let mut rest = rest.to_vec();
            rest[index] = tail.to_vec();
            merged.push(*first);
            interleave(&rest, merged, orders);
            merged.pop();
        }
    }
}

async fn run(
    caches: [&Cache; 2],
    writer: usize,
    namespace: &str,
    invalidation: Invalidation,
    order: &[Step],
) {
    let mut model = Model::default();
    let mut leases: [Option<Lease>; 2] = [None, None];
    let namespace_name = || namespace.to_owned();
    for step in order {
        let context = format!("{step:?} in {order:?} with {invalidation:?}");
        match *step {
            Step::Fetch(caller) => {
                let request = GetOrFetchRequest { namespace: namespace_name(), ..fetch("k", 0) };
                let answer = caches[caller].get_or_fetch(request).await.unwrap();
                match (answer.outcome.unwrap(), &model.value, model.holder) {
                    (Answer::Found(found), Some(value), _) => {
                        assert_eq!(as_text(found.value).as_ref(), Some(value))
                    }
                    (Answer::Lease(lease), None, None) => {
                        model.void_leases(SetResult::LeaseLost);
                        model.holder = Some(caller);
                        model.lease_losses[caller].clear();
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
                let request =
                    SetRequest { namespace: namespace_name(), ..fill("k", text(&value), lease) };
                let result = caches[caller].set(request).await.unwrap().result();
                if model.holder == Some(caller) {
                    assert_eq!(result, SetResult::Stored, "{context}");
                    model.void_leases(SetResult::Superseded);
                    model.value = Some(value);
                } else {
                    let losses = &model.lease_losses[caller];
                    assert!(
                        losses.contains(&result),
                        "{result:?} instead of one of {losses:?} at {context}"
                    );
                }
            }
            Step::Write => {
                let request =
                    SetRequest { namespace: namespace_name(), ..set("k", text("written")) };
                caches[writer].set(request).await.unwrap();
                model.void_leases(SetResult::Superseded);
                model.value = Some("written".to_owned());
            }
            Step::Invalidate => {
                match invalidation {
                    Invalidation::Delete => {
                        let request = DeleteRequest { namespace: namespace_name(), ..delete("k") };
                        let existed = caches[writer].delete(request).await.unwrap().existed;
                        assert_eq!(existed, model.value.is_some(), "{context}");
                    }
                    Invalidation::InvalidateNamespace => {
                        caches[writer].invalidate_namespace(invalidate(namespace)).await.unwrap();
                    }
                }
                model.void_leases(SetResult::Invalidated);
                model.value = None;
            }
        }
        for cache in caches {
            let request = GetRequest { namespace: namespace_name(), ..get("k") };
            assert_eq!(as_text(cache.get(request).await.unwrap().value), model.value, "{context}");
        }
    }
}

impl Model {
    /// Records an event that voids every lease.
    fn void_leases(&mut self, event: SetResult) {
        self.holder = None;
        for losses in &mut self.lease_losses {
            losses.push(event);
        }
    }
}
