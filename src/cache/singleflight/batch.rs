//! Flights of one batch that fetch together: their values are fetched in as few requests as the
//! origin allows.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::{join_all, select_all};
use tracing::Instrument as _;

use super::{
    fill::FillPermit,
    flight::{Flight, NextStep, aborted},
    group::FlightGroup,
};

/// Starts the flights of a batch, those of one origin together if it accepts batches.
pub(in crate::cache) fn run_together(group: &Arc<FlightGroup>, flights: Vec<Flight>) {
    let mut by_namespace: BTreeMap<_, Vec<Flight>> = BTreeMap::new();
    for flight in flights {
        by_namespace.entry(flight.job().key.namespace().clone()).or_default().push(flight);
    }
    for flights in by_namespace.into_values() {
        let origin = flights.first().and_then(|flight| flight.job().origin());
        let limit = origin.map_or(1, |origin| origin.client.batch_limit());
        if limit > 1 && flights.len() > 1 {
            group.spawn(fetch_together(group.clone(), flights, limit));
        } else {
            flights.into_iter().for_each(|flight| group.spawn(flight.run()));
        }
    }
}

/// Polls all flights, and fetches for those that may fetch.
async fn fetch_together(group: Arc<FlightGroup>, flights: Vec<Flight>, limit: usize) {
    let polls = flights.into_iter().map(|mut flight| async move {
        // All its waiters may have left.
        if !flight.admit_waiters() {
            return None;
        }
        let step = flight.poll().await;
        Some((flight, step))
    });
    let mut fetches = Vec::new();
    for (flight, step) in join_all(polls).await.into_iter().flatten() {
        match step {
            NextStep::Fetch(permit) => fetches.push((flight, permit)),
            NextStep::Continue | NextStep::Wait(_) | NextStep::CoolDown(_) => {
                group.spawn(flight.run_from(step));
            }
        }
    }
    while !fetches.is_empty() {
        let request: Vec<_> = fetches.drain(..limit.min(fetches.len())).collect();
        group.spawn(fetch_in_one_request(group.clone(), request));
    }
}

async fn fetch_in_one_request(group: Arc<FlightGroup>, mut fetches: Vec<(Flight, FillPermit)>) {
    let Some((first, _)) = fetches.first_mut() else { return };
    let (job, span) = (first.job().clone(), first.span());
    let Some(origin) = job.origin() else { return };
    let requests: Vec<_> = fetches
        .iter()
        .map(|(flight, permit)| flight.job().request(origin, permit.validators()))
        .collect();
    let results = {
        let leases = fetches.iter().map(|(flight, permit)| Box::pin(flight.keep_lease(permit)));
        tokio::select! {
            results = origin.client.fetch_batch(&requests).instrument(span) => results,
            _ = select_all(leases) => vec![Err(aborted()); requests.len()],
            () = group.aborted() => vec![Err(aborted()); requests.len()],
        }
    };
    let completions = fetches.into_iter().zip(results).map(|((mut flight, permit), fetched)| {
        let group = group.clone();
        async move {
            flight.complete(permit, fetched).await;
            group.spawn(flight.run());
        }
    });
    join_all(completions).await;
}
