//! `larder fetch` reads a value through GetOrFetch.

use std::{borrow::Cow, time::Duration};

use data_encoding::BASE64;
use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs, FreshnessArgs, ReadArgs, duration},
    display::{EntryJson, EntryName, ReadEntry, seconds, show, word},
    failure::{Ending, Error},
    get,
    output::{Output, remark},
    session,
};
use crate::pb::{
    from_duration,
    v1::{
        FetchStatus, FillResult, Found, GetOrFetchRequest, GetOrFetchResponse, KeyRef, Lease,
        Outcome, get_or_fetch_response::Outcome as Answer,
    },
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    #[command(flatten)]
    freshness: FreshnessArgs,
    #[command(flatten)]
    read: ReadArgs,
    /// How long to wait for a value that another caller computes; extends the time limit of the
    /// answer [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Compute the value even if there is a fresh one
    #[arg(long, conflicts_with = "only_if_cached")]
    no_cache: bool,
    /// Compute nothing
    #[arg(long)]
    only_if_cached: bool,
    #[command(flatten)]
    call: CallArgs,
}

/// The fields of an entry, and what the call did. Fields without a value are null.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    #[serde(flatten)]
    entry: EntryJson<'a>,
    lease: Option<LeaseJson<'a>>,
    retry_after: Option<f64>,
    fetch_status: Option<Cow<'static, str>>,
    fill: Option<Cow<'static, str>>,
    cause: Option<&'a str>,
    degraded: bool,
}

#[derive(Serialize)]
struct LeaseJson<'a> {
    token: String,
    expires_in: Option<f64>,
    /// The previous value.
    stale: Option<EntryJson<'a>>,
    stale_while_revalidate: bool,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        session::run(&self.call, async |session| {
            let session = session.extended_by(self.wait.unwrap_or_default());
            let request = GetOrFetchRequest {
                namespace: key.namespace.clone(),
                key: key.key.clone(),
                params: key.params.clone(),
                max_stale: self.freshness.max_stale(),
                wait: self.wait.map(from_duration),
                no_cache: self.no_cache,
                only_if_cached: self.only_if_cached,
                consistency: self.freshness.consistency(),
                if_version_not: self.read.if_version_not.clone(),
                omit_value: self.read.omit_value,
                json_pointers: self.read.pointers.clone(),
                touch: self.read.touch(),
            };
            let response =
                session.answer(session.cache().get_or_fetch(session.request(request))).await?;
            self.print(&key, &response)?;
            ending(&response)
        })
    }

    fn print(&self, key: &KeyRef, response: &GetOrFetchResponse) -> Result<(), Error> {
        let mut output = Output::stdout(self.call.json);
        if output.is_json() {
            return output.line(&line(key, response), String::new);
        }
        match &response.outcome {
            Some(Answer::Found(answer)) => {
                let entry = read_entry(Some(answer));
                if self.read.omit_value {
                    return output.line(&(), || entry.facts());
                }
                get::print_content(&entry, &mut output)
            }
            Some(Answer::Lease(lease)) => {
                let expiry = show(lease.expires_in);
                remark(&format!("miss: this caller has a lease for {expiry}, for set --lease"));
                output.line(&(), || BASE64.encode(&lease.token))
            }
            Some(Answer::Contended(contended)) => {
                let delay = show(contended.retry_after);
                remark(&format!("miss: the value is being computed; retry after {delay}"));
                Ok(())
            }
            Some(Answer::NotCached(_)) | None => {
                remark("miss");
                Ok(())
            }
        }
    }
}

fn ending(response: &GetOrFetchResponse) -> Result<Ending, Error> {
    match &response.outcome {
        Some(Answer::Found(found)) => Ok(get::ending(&read_entry(Some(found)))),
        // The lease is not exclusive and its fill is refused.
        _ if response.degraded => Err(Error::Degraded("nothing was read".into())),
        Some(Answer::Lease(_)) => Ok(Ending::Leased),
        Some(Answer::Contended(_) | Answer::NotCached(_)) | None => Ok(Ending::Miss),
    }
}

fn line<'a>(key: &'a KeyRef, response: &'a GetOrFetchResponse) -> Line<'a> {
    let mut entry = found(None);
    let (mut lease, mut retry_after) = (None, None);
    match &response.outcome {
        Some(Answer::Found(answer)) => entry = found(Some(answer)),
        Some(Answer::Lease(answer)) => {
            entry.outcome = "lease".into();
            lease = Some(LeaseJson::new(answer));
        }
        Some(Answer::Contended(answer)) => {
            entry.outcome = "contended".into();
            retry_after = seconds(answer.retry_after);
        }
        Some(Answer::NotCached(_)) => entry.outcome = "not_cached".into(),
        None => (),
    }
    let status = response.fetch_status();
    let fill = response.fill();
    Line {
        name: EntryName::new(key),
        entry,
        lease,
        retry_after,
        fetch_status: (status != FetchStatus::Unspecified)
            .then(|| word(status.as_str_name(), "FETCH_STATUS_")),
        fill: (fill != FillResult::Unspecified).then(|| word(fill.as_str_name(), "FILL_RESULT_")),
        cause: (!response.cause.is_empty()).then_some(&response.cause),
        degraded: response.degraded,
    }
}

fn found(found: Option<&Found>) -> EntryJson<'_> {
    read_entry(found).json()
}

fn read_entry(found: Option<&Found>) -> ReadEntry<'_> {
    ReadEntry {
        outcome: found.map_or(Outcome::Miss, Found::outcome),
        value: found.and_then(|found| found.value.as_ref()),
        entry: found.and_then(|found| found.entry.as_ref()),
        not_modified: found.is_some_and(|found| found.not_modified),
        not_json: found.is_some_and(|found| found.not_json),
        parts: found.map_or(&[], |found| &found.parts),
    }
}

impl<'a> LeaseJson<'a> {
    fn new(lease: &'a Lease) -> Self {
        Self {
            token: BASE64.encode(&lease.token),
            expires_in: seconds(lease.expires_in),
            stale: lease.stale.as_ref().map(|stale| found(Some(stale))),
            stale_while_revalidate: lease.stale_while_revalidate,
        }
    }
}
