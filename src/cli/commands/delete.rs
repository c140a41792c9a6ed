//! `larder delete` deletes entries.

use std::{iter, time::Duration};

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntriesArgs, duration},
    display::{EntryJson, EntryName, ReadEntry, durability_name, is_queued},
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
    durability: &'static str,
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
            let mut deletes = Vec::with_capacity(keys.len());
            for batch in keys.chunks(BATCH) {
                let request = BatchDeleteRequest {
                    keys: batch.to_vec(),
                    hold_off: self.hold_off.map(from_duration),
                    ..BatchDeleteRequest::default()
                };
                let mut cache = session.cache();
                let response = session.answer(cache.batch_delete(session.request(request))).await?;
                // Older servers have no such field.
                let durabilities = response.durabilities.into_iter().chain(iter::repeat(0));
                deletes.extend(response.existed.into_iter().zip(durabilities));
            }
            self.print(&keys, &deletes)?;
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
            ..DeleteRequest::default()
        };
        let response = session.answer(session.cache().delete(session.request(request))).await?;
        let DeleteResponse { existed, deleted, removed, durability } = &response;
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
                    durability: durability_name(*durability),
                    removed: removed.as_ref().map(ReadEntry::json),
                };
                output.line(&line, || match (existed, deleted) {
                    (true, false) => "condition not met".to_owned(),
                    _ => result(*existed, *durability).to_owned(),
                })?;
            }
        }
        let is_done = if self.return_value { removed.is_some() } else { *deleted };
        Ok(if is_done { Ending::Done } else { Ending::Miss })
    }

    /// Prints whether each entry existed, and the durability of its deletion.
    fn print(&self, keys: &[KeyRef], deletes: &[(bool, i32)]) -> Result<(), Error> {
        let mut output = Output::stdout(self.call.json);
        let results = keys.iter().zip(deletes);
        match (output.is_json(), deletes) {
            (true, _) => {
                for (key, (existed, durability)) in results {
                    let (name, existed) = (EntryName::new(key), *existed);
                    let durability = durability_name(*durability);
                    let line = Line { name, existed, deleted: existed, durability, removed: None };
                    output.line(&line, String::new)?;
                }
                Ok(())
            }
            (false, [(existed, durability)]) => {
                output.line(&(), || result(*existed, *durability).to_owned())
            }
            (false, _) => output.line(&(), || {
                let row = |(key, (existed, durability)): (&KeyRef, &(bool, i32))| {
                    vec![key.key.clone(), result(*existed, *durability).to_owned()]
                };
                table(&["key", "result"], results.map(row))
            }),
        }
    }
}

fn result(existed: bool, durability: i32) -> &'static str {
    match (is_queued(durability), existed) {
        (true, _) => "queued",
        (false, true) => "deleted",
        (false, false) => "did not exist",
    }
}
