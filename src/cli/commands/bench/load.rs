//! The load: calls on several connections, in a closed loop or by a schedule.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use hdrhistogram::CreationError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{Args, key, latencies::Latencies};
use crate::{
    cli::{commands::session::Session, connection::Lost},
    pb::{
        code_name,
        v1::{GetRequest, Outcome, SetRequest, SetResult},
    },
};

/// Pause after an error, so that a server that refuses calls is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Measurements of the calls.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) reads: Latencies,
    pub(super) writes: Latencies,
    /// Reads that found their entry.
    pub(super) hits: u64,
    /// Calls that failed, by the code of their status.
    pub(super) errors: BTreeMap<&'static str, u64>,
}

impl Measured {
    pub(super) fn new() -> Result<Self, CreationError> {
        let (reads, writes) = (Latencies::new()?, Latencies::new()?);
        Ok(Self { took: Duration::ZERO, reads, writes, hits: 0, errors: BTreeMap::new() })
    }
}

/// The load of one run. All of it is on one thread.
pub(super) struct Load<'a> {
    args: &'a Args,
    value: Bytes,
    began: Instant,
    /// Number of the next call of the schedule.
    next: Cell<u64>,
    stop: CancellationToken,
    measured: RefCell<Measured>,
}

/// An answer.
enum Answer {
    Read { is_hit: bool },
    Written,
}

impl<'a> Load<'a> {
    pub(super) fn new(args: &'a Args, value: Bytes) -> Result<Self, CreationError> {
        let (began, measured) = (Instant::now(), RefCell::new(Measured::new()?));
        let stop = CancellationToken::new();
        Ok(Self { args, value, began, next: Cell::new(0), stop, measured })
    }

    /// No call begins after it is cancelled.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Time is measured from now.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Calls the server until the time is over.
    pub(super) async fn run(&self, sessions: &[Session], in_flight: u16) {
        let callers = sessions
            .iter()
            .flat_map(|session| (0..in_flight).map(move |_| self.call_repeatedly(session)));
        join_all(callers).await;
    }

    /// The measurements up to now.
    pub(super) fn ended(self) -> Measured {
        let took = self.began.elapsed();
        Measured { took, ..self.measured.into_inner() }
    }

    pub(super) fn write(&self, number: u64) -> SetRequest {
        self.args.set_request(number, &self.value)
    }

    async fn call_repeatedly(&self, session: &Session) {
        while let Some(began) = self.next_call().await {
            let answer = self.call(session).await;
            let is_error = answer.is_err();
            self.count(answer, began.elapsed());
            if is_error {
                sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Waits for the next call. Returns the time from which its latency counts; none if the load
    /// is over. A call that comes late by the schedule, because all callers waited for answers, is
    /// late for its caller: its time counts from the schedule.
    async fn next_call(&self) -> Option<Instant> {
        if self.is_stopped() {
            return None;
        }
        let (now, end) = (Instant::now(), self.began + self.args.duration);
        let Some(rate) = self.args.rate else { return (now < end).then_some(now) };
        let number = self.next.replace(self.next.get() + 1);
        let intended = self.began + Duration::from_secs_f64(number as f64 / f64::from(rate));
        if intended >= end {
            return None;
        }
        if intended <= now {
            return Some(intended);
        }
        self.stop.run_until_cancelled(sleep_until(intended)).await?;
        // The timer can be a millisecond late, which is no time of the server.
        Some(Instant::now())
    }

    async fn call(&self, session: &Session) -> Result<Answer, Status> {
        let number = rand::random_range(0..self.args.keys);
        if rand::random::<f64>() < self.args.reads {
            let request = GetRequest {
                namespace: self.args.namespace.clone(),
                key: key(number),
                ..GetRequest::default()
            };
            let response = session.cache().get(session.request(request)).await?.into_inner();
            if response.degraded {
                return Err(Status::unavailable("the store is unavailable"));
            }
            return Ok(Answer::Read { is_hit: response.outcome() != Outcome::Miss });
        }
        let request = session.request(self.write(number));
        let response = session.cache().set(request).await?.into_inner();
        if response.result() != SetResult::Stored {
            return Err(Status::unavailable("the value is not stored"));
        }
        Ok(Answer::Written)
    }

    fn count(&self, answer: Result<Answer, Status>, took: Duration) {
        let mut measured = self.measured.borrow_mut();
        match answer {
            Ok(Answer::Read { is_hit }) => {
                measured.reads.add(took);
                measured.hits += u64::from(is_hit);
            }
            Ok(Answer::Written) => measured.writes.add(took),
            Err(status) => *measured.errors.entry(code(&status)).or_default() += 1,
        }
    }
}

/// The code of a status; of the connection, if that ended.
fn code(status: &Status) -> &'static str {
    match (Lost::of(status), status.code()) {
        (Some(_), Code::Unavailable | Code::Unknown | Code::Internal) => "DISCONNECTED",
        (_, code) => code_name(code),
    }
}
