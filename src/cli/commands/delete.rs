//! `larder delete` deletes entries.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntriesArgs, duration},
    display::{EntryName, escape},
    failure::{Ending, Error},
    output::{Output, table},
    session,
};
use crate::pb::{
    from_duration,
    v1::{BatchDeleteRequest, KeyRef},
};

/// Keys per call: the default limit of a server.
const BATCH: usize = 1000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entries: EntriesArgs,
    /// Reject values that were computed before or shortly after, for this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    hold_off: Option<Duration>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    existed: bool,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let keys = self.entries.key_refs()?;
        session::run(&self.call, async |session| {
            let mut existed = Vec::with_capacity(keys.len());
            for batch in keys.chunks(BATCH) {
                let request = BatchDeleteRequest {
                    keys: batch.to_vec(),
                    hold_off: self.hold_off.map(from_duration),
                    ..BatchDeleteRequest::default()
                };
                let mut cache = session.cache();
                let response = session.answer(cache.batch_delete(session.request(request))).await?;
                existed.extend(response.existed);
            }
            self.print(&keys, &existed)?;
            // Entries that did not exist are as gone as the others.
            Ok(Ending::Done)
        })
    }

    fn print(&self, keys: &[KeyRef], existed: &[bool]) -> Result<(), Error> {
        let mut output = Output::stdout(self.call.json);
        let results = keys.iter().zip(existed);
        match (output.is_json(), existed) {
            (true, _) => {
                for (key, existed) in results {
                    let line = Line { name: EntryName::new(key), existed: *existed };
                    output.line(&line, String::new)?;
                }
                Ok(())
            }
            (false, [existed]) => output.line(&(), || result(*existed).to_owned()),
            (false, _) => output.line(&(), || {
                let row = |(key, existed): (&KeyRef, &bool)| {
                    vec![escape(&key.key), result(*existed).to_owned()]
                };
                table(&["key", "result"], results.map(row))
            }),
        }
    }
}

fn result(existed: bool) -> &'static str {
    if existed { "deleted" } else { "did not exist" }
}
