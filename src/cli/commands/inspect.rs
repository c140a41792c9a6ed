//! `larder inspect`

use std::borrow::Cow;

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs},
    display::{EntryName, facts, phrase, seconds, show, word},
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::v1::{InspectEntryRequest, InspectEntryResponse, InspectedEntry, InspectedLease};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    /// The digest of the params, as `keys` prints it, in place of --param
    #[arg(long, value_name = "DIGEST", conflicts_with = "params")]
    params_digest: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

/// Fields without a value are null.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    params_digest: Option<&'a str>,
    entry: Option<EntryJson<'a>>,
    lease: Option<LeaseJson<'a>>,
    near_version: Option<&'a str>,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    outcome: Cow<'static, str>,
    invalidated: bool,
    kind: &'a str,
    value_bytes: u64,
    stored_bytes: Option<u64>,
    version: &'a str,
    tags: &'a [String],
    age: Option<f64>,
    ttl_remaining: Option<f64>,
    stale_while_revalidate: Option<f64>,
    stale_if_error: Option<f64>,
    expires_in: Option<f64>,
    etag: Option<&'a str>,
}

#[derive(Serialize)]
struct LeaseJson<'a> {
    state: Cow<'static, str>,
    remaining: Option<f64>,
    cause: Option<&'a str>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        session::run(&self.call, async |session| {
            let request = InspectEntryRequest {
                namespace: key.namespace.clone(),
                key: key.key.clone(),
                params: key.params.clone(),
                params_digest: self.params_digest.clone().unwrap_or_default(),
            };
            let mut admin = session.admin();
            let response = session.answer(admin.inspect_entry(session.request(request))).await?;
            let line = Line {
                name: EntryName::new(&key),
                params_digest: self.params_digest.as_deref(),
                entry: response.entry.as_ref().map(EntryJson::new),
                lease: response.lease.as_ref().map(LeaseJson::new),
                near_version: non_empty(&response.near_version),
            };
            Output::stdout(self.call.json).line(&line, || text(&response))?;
            Ok(if response.entry.is_some() { Ending::Done } else { Ending::Miss })
        })
    }
}

fn text(response: &InspectEntryResponse) -> String {
    let mut rows = Vec::new();
    match &response.entry {
        Some(entry) => rows.extend(entry_rows(entry)),
        None => rows.push(("outcome", "no entry".to_owned())),
    }
    if let Some(lease) = &response.lease {
        let state = phrase(lease.state().as_str_name(), "STATE_");
        let mut text = format!("{state} for {}", show(lease.remaining));
        if !lease.cause.is_empty() {
            text = format!("{text}: {}", lease.cause);
        }
        rows.push(("lease", text));
    }
    if !response.near_version.is_empty() {
        rows.push(("near cache", format!("version {}", response.near_version)));
    }
    facts(&rows)
}

fn entry_rows(entry: &InspectedEntry) -> Vec<(&'static str, String)> {
    let outcome = word(entry.outcome().as_str_name(), "OUTCOME_");
    let mut rows = vec![
        (
            "outcome",
            if entry.invalidated { "invalidated".to_owned() } else { outcome.into_owned() },
        ),
        ("kind", entry.kind.clone()),
        ("value", ByteSize(entry.value_bytes).to_string()),
        (
            "stored",
            match entry.stored_bytes {
                0 => "unknown".to_owned(),
                bytes => ByteSize(bytes).to_string(),
            },
        ),
        ("version", entry.version.clone()),
        ("age", show(entry.age)),
        ("ttl left", show(entry.ttl_remaining)),
        (
            "windows",
            format!(
                "{} while revalidating, {} if that fails",
                show(entry.stale_while_revalidate),
                show(entry.stale_if_error)
            ),
        ),
        ("expires in", show(entry.expires_in)),
    ];
    if !entry.tags.is_empty() {
        rows.push(("tags", entry.tags.join(" ")));
    }
    if !entry.etag.is_empty() {
        rows.push(("etag", entry.etag.clone()));
    }
    rows
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl<'a> EntryJson<'a> {
    fn new(entry: &'a InspectedEntry) -> Self {
        Self {
            outcome: word(entry.outcome().as_str_name(), "OUTCOME_"),
            invalidated: entry.invalidated,
            kind: &entry.kind,
            value_bytes: entry.value_bytes,
            stored_bytes: (entry.stored_bytes > 0).then_some(entry.stored_bytes),
            version: &entry.version,
            tags: &entry.tags,
            age: seconds(entry.age),
            ttl_remaining: seconds(entry.ttl_remaining),
            stale_while_revalidate: seconds(entry.stale_while_revalidate),
            stale_if_error: seconds(entry.stale_if_error),
            expires_in: seconds(entry.expires_in),
            etag: non_empty(&entry.etag),
        }
    }
}

impl<'a> LeaseJson<'a> {
    fn new(lease: &'a InspectedLease) -> Self {
        Self {
            state: word(lease.state().as_str_name(), "STATE_"),
            remaining: seconds(lease.remaining),
            cause: non_empty(&lease.cause),
        }
    }
}
