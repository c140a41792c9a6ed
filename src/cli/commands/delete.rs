//! `larder delete` deletes entries.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntriesArgs, duration},
    display::{EntryJson, EntryName, ReadEntry, escape},
    failure::{Ending, Error},
    get::print_content,
    output::{Output, table},
    session::{self, Session},
};
use crate::pb::{
    from_duration,
    v1::{BatchDeleteRequest, DeleteRequest, DeleteResponse, KeyRef, Outcome},
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
    /// Delete only the entry with this version; for one key
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
    /// Print the value that is removed; for one key
    #[arg(long)]
    return_value: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    existed: bool,
    deleted: bool,
    /// With `--return-value`, unless nothing was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<EntryJson<'a>>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let keys = self.entries.key_refs()?;
        let is_single = self.if_version.is_some() || self.return_value;
        session::run(&self.call, async |session| {
            match &keys[..] {
                [key] if is_single => return self.one(&session, key).await,
                _ if is_single => {
                    let message = "--if-version and --return-value are for one key";
                    return Err(Error::Usage(message.to_owned()));
                }
                _ => {}
            }
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

    async fn one(&self, session: &Session, key: &KeyRef) -> Result<Ending, Error> {
        let request = DeleteRequest {
            namespace: key.namespace.clone(),
            key: key.key.clone(),
            params: key.params.clone(),
            hold_off: self.hold_off.map(from_duration),
            if_version: self.if_version.clone(),
            return_value: self.return_value,
        };
        let response = session.answer(session.cache().delete(session.request(request))).await?;
        let DeleteResponse { existed, deleted, removed } = &response;
        let removed = removed.as_ref().map(|found| ReadEntry {
            outcome: Outcome::Hit,
            value: found.value.as_ref(),
            entry: found.entry.as_ref(),
            not_modified: false,
            not_json: false,
            parts: &[],
        });
        let mut output = Output::stdout(self.call.json);
        match &removed {
            Some(removed) if !output.is_json() => print_content(removed, &mut output)?,
            _ => {
                let line = Line {
                    name: EntryName::new(key),
                    existed: *existed,
                    deleted: *deleted,
                    removed: removed.as_ref().map(ReadEntry::json),
                };
                output.line(&line, || match (existed, deleted) {
                    (true, false) => "condition not met".to_owned(),
                    _ => result(*existed).to_owned(),
                })?;
            }
        }
        let is_done = if self.return_value { removed.is_some() } else { *deleted };
        Ok(if is_done { Ending::Done } else { Ending::Miss })
    }

    fn print(&self, keys: &[KeyRef], existed: &[bool]) -> Result<(), Error> {
        let mut output = Output::stdout(self.call.json);
        let results = keys.iter().zip(existed);
        match (output.is_json(), existed) {
            (true, _) => {
                for (key, existed) in results {
                    let (name, existed) = (EntryName::new(key), *existed);
                    let line = Line { name, existed, deleted: existed, removed: None };
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
