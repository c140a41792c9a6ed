//! `larder get`

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntriesArgs, FreshnessArgs},
    display::{EntryJson, EntryName, ReadEntry, entries_table},
    failure::{Ending, Error},
    output::{Output, remark},
    session::{self, Session},
    value::content,
};
use crate::pb::v1::{BatchGetRequest, BatchGetResult, GetRequest, GetResponse, KeyRef, Outcome};

/// Keys per call: the default limit of a server.
const BATCH: usize = 1000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entries: EntriesArgs,
    #[command(flatten)]
    freshness: FreshnessArgs,
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
            ..GetRequest::default()
        };
        let response = session.answer(session.cache().get(session.request(request))).await?;
        if response.degraded {
            return Err(Error::Degraded("nothing was read".into()));
        }
        self.print_one(key, &response)?;
        Ok(ending(response.outcome()))
    }

    fn print_one(&self, key: &KeyRef, response: &GetResponse) -> Result<(), Error> {
        let entry = ReadEntry {
            outcome: response.outcome(),
            value: response.value.as_ref(),
            entry: response.entry.as_ref(),
        };
        let mut output = Output::stdout(self.call.json);
        match entry.value {
            _ if output.is_json() || self.info => output.line(&line(key, &entry), || entry.facts()),
            Some(value) => output.bytes(content(value)),
            None => {
                remark(&entry.json().outcome);
                Ok(())
            }
        }
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
        let is_found = |result: &BatchGetResult| ending(result.outcome()) == Ending::Done;
        Ok(if results.iter().all(is_found) { Ending::Done } else { Ending::Miss })
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
            ..BatchGetRequest::default()
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

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Hit | Outcome::Stale => Ending::Done,
        Outcome::Miss | Outcome::Negative | Outcome::Unspecified => Ending::Miss,
    }
}
