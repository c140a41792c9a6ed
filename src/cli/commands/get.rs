//! `larder get` reads one or several values.

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntriesArgs, FreshnessArgs, ReadArgs},
    display::{EntryJson, EntryName, ReadEntry, entries_table},
    failure::{Ending, Error},
    output::{Output, remark},
    session::{self, Session},
    value::content,
};
use crate::pb::v1::{BatchGetRequest, BatchGetResult, GetRequest, KeyRef, Outcome};

/// Keys per call: the default limit of a server.
const BATCH: usize = 1000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entries: EntriesArgs,
    #[command(flatten)]
    freshness: FreshnessArgs,
    #[command(flatten)]
    read: ReadArgs,
    /// Print the facts about one entry instead of its value
    #[arg(long, conflicts_with = "json")]
    info: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    #[serde(flatten)]
    entry: EntryJson<'a>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let keys = self.entries.key_refs()?;
        session::run(&self.call, async |session| match &keys[..] {
            [key] => self.one(&session, key).await,
            _ if !self.read.if_version_not.is_empty() => {
                Err(Error::Usage("--if-version-not is for one key".to_owned()))
            }
            keys => self.several(&session, keys).await,
        })
    }

    async fn one(&self, session: &Session, key: &KeyRef) -> Result<Ending, Error> {
        let request = GetRequest {
            namespace: key.namespace.clone(),
            key: key.key.clone(),
            params: key.params.clone(),
            max_stale: self.freshness.max_stale(),
            consistency: self.freshness.consistency(),
            if_version_not: self.read.if_version_not.clone(),
            omit_value: self.read.omit_value,
            json_pointers: self.read.pointers.clone(),
            touch: self.read.touch(),
        };
        let response = session.answer(session.cache().get(session.request(request))).await?;
        if response.degraded {
            return Err(Error::Degraded("nothing was read".into()));
        }
        let entry = ReadEntry {
            outcome: response.outcome(),
            value: response.value.as_ref(),
            entry: response.entry.as_ref(),
            not_modified: response.not_modified,
            not_json: false,
            parts: &response.parts,
        };
        self.print_one(key, &entry)?;
        Ok(ending(&entry))
    }

    fn print_one(&self, key: &KeyRef, entry: &ReadEntry<'_>) -> Result<(), Error> {
        let mut output = Output::stdout(self.call.json);
        let has_facts = self.info || self.read.omit_value;
        if output.is_json() || has_facts && entry.entry.is_some() {
            return output.line(&line(key, entry), || entry.facts());
        }
        print_content(entry, &mut output)
    }

    async fn several(&self, session: &Session, keys: &[KeyRef]) -> Result<Ending, Error> {
        let mut results = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            self.read_batch(session, batch, &mut results).await?;
        }
        let entries = || {
            let entries = results.iter().map(|result| ReadEntry {
                outcome: result.outcome(),
                value: result.value.as_ref(),
                entry: result.entry.as_ref(),
                not_modified: result.not_modified,
                not_json: result.not_json,
                parts: &result.parts,
            });
            keys.iter().zip(entries)
        };
        let mut output = Output::stdout(self.call.json);
        if output.is_json() {
            for (key, entry) in entries() {
                output.line(&line(key, &entry), String::new)?;
            }
        } else {
            output.line(&(), || entries_table(entries()))?;
        }
        let are_found = entries().all(|(_, entry)| ending(&entry) == Ending::Done);
        Ok(if are_found { Ending::Done } else { Ending::Miss })
    }

    async fn read_batch(
        &self,
        session: &Session,
        keys: &[KeyRef],
        results: &mut Vec<BatchGetResult>,
    ) -> Result<(), Error> {
        let request = BatchGetRequest {
            keys: keys.to_vec(),
            max_stale: self.freshness.max_stale(),
            consistency: self.freshness.consistency(),
            if_versions_not: Vec::new(),
            omit_value: self.read.omit_value,
            json_pointers: self.read.pointers.clone(),
            touch: self.read.touch(),
        };
        let mut stream =
            session.answer(session.cache().batch_get(session.request(request))).await?;
        while let Some(part) = session.part(stream.message()).await? {
            if part.degraded {
                return Err(Error::Degraded("nothing was read".into()));
            }
            results.extend(part.results);
        }
        Ok(())
    }
}

fn line<'a>(key: &'a KeyRef, entry: &ReadEntry<'a>) -> Line<'a> {
    Line { name: EntryName::new(key), entry: entry.json() }
}

/// Prints the value of one entry, or the parts of it.
pub(super) fn print_content(entry: &ReadEntry<'_>, output: &mut Output) -> Result<(), Error> {
    match entry {
        ReadEntry { value: Some(value), .. } => output.bytes(content(value)),
        ReadEntry { parts: [_, ..], .. } => output.line(&(), || entry.part_lines()),
        ReadEntry { not_modified: true, .. } => {
            remark("not modified");
            Ok(())
        }
        ReadEntry { not_json: true, .. } => {
            remark("the value is not JSON");
            Ok(())
        }
        _ => {
            remark(&entry.json().outcome);
            Ok(())
        }
    }
}

/// A miss if there is no value, or if it lacks a part that was asked for.
pub(super) fn ending(entry: &ReadEntry<'_>) -> Ending {
    match entry.outcome {
        Outcome::Hit | Outcome::Stale if entry.has_all_parts() => Ending::Done,
        Outcome::Hit
        | Outcome::Stale
        | Outcome::Miss
        | Outcome::Negative
        | Outcome::Unspecified => Ending::Miss,
    }
}
