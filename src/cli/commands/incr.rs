//! `larder incr` adds to a counter.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs, duration},
    display::{EntryName, seconds},
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::{from_duration, v1::IncrementRequest};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    /// Amount to add; may be negative
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    delta: i64,
    /// Value of a missing counter before the amount is added
    #[arg(long, default_value_t = 0, value_name = "NUMBER", allow_negative_numbers = true)]
    initial: i64,
    /// Leave a missing counter as it is
    #[arg(long, conflicts_with_all = ["initial", "ttl"])]
    if_present: bool,
    /// TTL of a counter that this call creates, such as 5m [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    value: Option<i64>,
    version: Option<&'a str>,
    ttl_remaining: Option<f64>,
    missing: bool,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        session::run(&self.call, async |session| {
            let request = IncrementRequest {
                namespace: key.namespace.clone(),
                key: key.key.clone(),
                params: key.params.clone(),
                delta: Some(self.delta),
                initial: self.initial,
                ttl: self.ttl.map(from_duration),
                if_present: self.if_present,
            };
            let response =
                session.answer(session.cache().increment(session.request(request))).await?;
            let line = Line {
                name: EntryName::new(&key),
                value: (!response.missing).then_some(response.value),
                version: (!response.missing).then_some(&response.version),
                ttl_remaining: seconds(response.ttl_remaining),
                missing: response.missing,
            };
            Output::stdout(self.call.json).line(&line, || match response.missing {
                true => "miss".to_owned(),
                false => response.value.to_string(),
            })?;
            Ok(if response.missing { Ending::Miss } else { Ending::Done })
        })
    }
}
