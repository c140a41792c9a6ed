//! `larder touch` gives entries a new TTL.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs, duration},
    display::{EntryName, seconds, show},
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::{from_duration, v1::TouchRequest};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    /// How long the value is fresh from now, such as 5m [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    found: bool,
    ttl: Option<f64>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        session::run(&self.call, async |session| {
            let request = TouchRequest {
                namespace: key.namespace.clone(),
                key: key.key.clone(),
                params: key.params.clone(),
                ttl: self.ttl.map(from_duration),
            };
            let response = session.answer(session.cache().touch(session.request(request))).await?;
            if response.degraded {
                return Err(Error::Degraded("the TTL is unchanged".into()));
            }
            let line = Line {
                name: EntryName::new(&key),
                found: response.found,
                ttl: seconds(response.ttl),
            };
            Output::stdout(self.call.json).line(&line, || {
                if response.found {
                    format!("touched  ttl {}", show(response.ttl))
                } else {
                    "miss".to_owned()
                }
            })?;
            Ok(if response.found { Ending::Done } else { Ending::Miss })
        })
    }
}
