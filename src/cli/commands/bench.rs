//! `larder bench` loads a server with reads and writes, and prints how it answers.

mod latencies;
mod load;
mod report;

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;

use super::{
    arguments::{CallArgs, duration},
    failure::{Ending, Error},
    output::{Output, remark},
    session::{self, Session},
};
use crate::pb::{
    from_duration,
    v1::{
        BatchDeleteRequest, BatchSetRequest, InvalidateNamespaceRequest, KeyRef, ListKeysRequest,
        SetRequest, Value, value::Kind,
    },
};
use load::{Load, Measured};
use report::Report;

/// Entries that are written or deleted with one call, at most, and their largest values together.
const BATCH: u64 = 50;
const BATCH_BYTES: u64 = 1024 * 1024;
/// Time for which entries outlive the load, should the command not delete them.
const REMAINS: Duration = Duration::from_secs(300);
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Time for which the server is loaded
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Connections to the server
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    connections: u16,
    /// Calls that wait for their answers at a time, on each connection
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    in_flight: u16,
    /// Namespace of the entries
    #[arg(long, default_value = "bench")]
    namespace: String,
    /// Number of keys, of which each call takes one at random
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000)
    )]
    keys: u64,
    /// Bytes of each value
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(0..=512 * 1024 * 1024)
    )]
    value_bytes: u32,
    /// Share of the calls that read; the others write
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    reads: f64,
    /// Calls per second, at times that do not depend on the answers [default: as many as possible]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    rate: Option<u32>,
    /// Use a namespace that has entries, and delete only those of the load at the end
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    call: CallArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        if self.duration.is_zero() || self.duration > MAX_DURATION {
            return Err(Error::Usage(
                "--duration must be more than 0s, and at most 24h".to_owned(),
            ));
        }
        session::run_with(&self.call, self.connections, async |sessions| {
            let Some(session) = sessions.first() else { return Ok(Ending::Done) };
            if !self.force && !self.is_empty(session).await? {
                return Err(Error::Usage(format!(
                    "the namespace {} has entries: choose another one, or pass --force",
                    self.namespace
                )));
            }
            let measured = self.load(&sessions).await;
            let cleaned = self.clean(session).await;
            let measured = measured?;
            let report = Report::new(self.setting(), &measured);
            Output::stdout(self.call.json).line(&report, || report.text())?;
            cleaned?;
            Ok(if measured.errors.is_empty() { Ending::Done } else { Ending::Miss })
        })
    }

    fn setting(&self) -> report::Setting<'_> {
        report::Setting {
            namespace: &self.namespace,
            connections: self.connections,
            in_flight: self.in_flight,
            keys: self.keys,
            value_bytes: self.value_bytes,
            rate: self.rate,
        }
    }

    /// Writes all keys, and then loads the server until the time is over or it is interrupted.
    async fn load(&self, sessions: &[Session]) -> Result<Measured, Error> {
        let mut bytes = vec![0; self.value_bytes as usize];
        // A value that cannot be compressed.
        rand::fill(&mut bytes[..]);
        let value = Bytes::from(bytes);
        let mut load = Load::new(self, value)?;
        // Calls in flight come to their end first: a write that is abandoned could be stored after
        // the entries were deleted.
        let stop = load.stop();
        let interrupt = async move |remarked: &str| {
            let interrupted = tokio::signal::ctrl_c().await;
            remark(remarked);
            stop.cancel();
            interrupted
        };
        let filled = self.fill(&sessions[0], &load);
        until_ended(filled, interrupt("interrupted before the load began")).await??;
        load.begin();
        let calls = load.run(sessions, self.in_flight);
        until_ended(calls, interrupt("interrupted: these are the figures so far")).await?;
        Ok(load.ended())
    }

    async fn is_empty(&self, session: &Session) -> Result<bool, Error> {
        let mut request = ListKeysRequest {
            namespace: self.namespace.clone(),
            page_size: 1,
            ..ListKeysRequest::default()
        };
        loop {
            let call = session.request(request.clone());
            let page = session.answer(session.cache().list_keys(call)).await?;
            if !page.keys.is_empty() {
                return Ok(false);
            }
            if page.next_page_token.is_empty() {
                return Ok(true);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Without entries to begin with, reads would be of nothing.
    async fn fill(&self, session: &Session, load: &Load<'_>) -> Result<(), Error> {
        let batch = (BATCH_BYTES / u64::from(self.value_bytes.max(1))).clamp(1, BATCH);
        for first in (0..self.keys).step_by(batch as usize) {
            if load.is_stopped() {
                break;
            }
            let numbers = first..self.keys.min(first + batch);
            let items = numbers.map(|number| load.write(number)).collect();
            let request = session.request(BatchSetRequest { items });
            session.answer(session.cache().batch_set(request)).await?;
        }
        Ok(())
    }

    /// Deletes the entries of the load.
    async fn clean(&self, session: &Session) -> Result<(), Error> {
        if !self.force {
            let request = InvalidateNamespaceRequest {
                namespace: self.namespace.clone(),
                ..InvalidateNamespaceRequest::default()
            };
            session.answer(session.cache().invalidate_namespace(session.request(request))).await?;
            return Ok(());
        }
        for first in (0..self.keys).step_by(BATCH as usize) {
            let numbers = first..self.keys.min(first + BATCH);
            let keys = numbers.map(|number| self.key_ref(number)).collect();
            let request = BatchDeleteRequest { keys, ..BatchDeleteRequest::default() };
            session.answer(session.cache().batch_delete(session.request(request))).await?;
        }
        Ok(())
    }

    fn key_ref(&self, number: u64) -> KeyRef {
        KeyRef { namespace: self.namespace.clone(), key: key(number), ..KeyRef::default() }
    }

    fn set_request(&self, number: u64, value: &Bytes) -> SetRequest {
        SetRequest {
            namespace: self.namespace.clone(),
            key: key(number),
            value: Some(Value { kind: Some(Kind::Data(value.clone())) }),
            ttl: Some(from_duration(self.duration.saturating_add(REMAINS))),
            ..SetRequest::default()
        }
    }
}

/// Waits for the end of `work`, also after an interrupt.
async fn until_ended<T>(
    work: impl Future<Output = T>,
    interrupt: impl Future<Output = io::Result<()>>,
) -> io::Result<T> {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        interrupted = interrupt => interrupted?,
    }
    Ok(work.await)
}

fn key(number: u64) -> String {
    format!("bench:{number}")
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn numbers_have_bounds() {
        for wrong in ["--reads=1.1", "--reads=NaN", "--rate=0", "--connections=0", "--keys=0"] {
            assert!(CommandLine::try_parse_from(["bench", wrong]).is_err(), "{wrong}");
        }
        for duration in ["0s", "25h"] {
            let line = CommandLine::try_parse_from(["bench", "--duration", duration]);
            let Ok(line) = line else { panic!("{line:?}") };
            assert!(matches!(line.args.run(), Err(Error::Usage(_))), "{duration}");
        }
    }
}
