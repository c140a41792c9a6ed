//! `larder inspect` prints all that is stored about one key.

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
use crate::pb::v1::{
    InspectEntryRequest, InspectEntryResponse, InspectedBan, InspectedEntry, InspectedLease, Tier,
    inspected_ban::Matches,
};

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
    tier: Option<Cow<'static, str>>,
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
    revalidation_window: Option<f64>,
    ban_sequence: u64,
    bans: Vec<BanJson<'a>>,
}

/// Either `tag` or `glob` has a value.
#[derive(Serialize)]
struct BanJson<'a> {
    tag: Option<&'a str>,
    glob: Option<&'a str>,
    sequence: u64,
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
                tier: tier(&response),
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
    if let Some(tier) = tier(response) {
        rows.push(("read from", tier.into_owned()));
    }
    facts(&rows)
}

/// Where a read finds the entry.
fn tier(response: &InspectEntryResponse) -> Option<Cow<'static, str>> {
    let tier = response.tier();
    (tier != Tier::Unspecified).then(|| word(tier.as_str_name(), "TIER_"))
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
    for ban in &entry.bans {
        let BanJson { tag, glob, sequence } = BanJson::new(ban);
        let kind = if tag.is_some() { "tag" } else { "glob" };
        let matched = tag.or(glob).unwrap_or_default();
        rows.push(("banned by", format!("{kind} {matched} (ban {sequence})")));
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
            revalidation_window: seconds(entry.revalidation_window),
            ban_sequence: entry.ban_sequence,
            bans: entry.bans.iter().map(BanJson::new).collect(),
        }
    }
}

impl<'a> BanJson<'a> {
    fn new(ban: &'a InspectedBan) -> Self {
        let (tag, glob) = match &ban.matches {
            Some(Matches::Tag(tag)) => (Some(&**tag), None),
            Some(Matches::Glob(glob)) => (None, Some(&**glob)),
            None => (None, None),
        };
        Self { tag, glob, sequence: ban.sequence }
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
