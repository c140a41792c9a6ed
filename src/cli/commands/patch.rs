//! `larder patch` changes parts of a JSON value.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs, duration},
    display::{EntryName, phrase, seconds, show, word},
    failure::{Ending, Error},
    output::Output,
    session,
    value::{ValueKind, ValueSource, content},
};
use crate::pb::{
    from_duration,
    v1::{
        KeyRef, PatchRequest, PatchResponse, PatchResult,
        patch_request::{Expiry, Patch},
    },
};

const PREFIX: &str = "PATCH_RESULT_";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    #[command(flatten)]
    patch: ValueSource,
    /// The patch is a list of operations (JSON Patch, RFC 6902) [default: a JSON Merge Patch]
    #[arg(long)]
    operations: bool,
    /// Change only the value with this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
    /// How long the changed value is fresh, such as 5m [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "keep")]
    ttl: Option<Duration>,
    /// Keep the expiry of the value
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    result: &'a str,
    version: Option<&'a str>,
    ttl: Option<f64>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        let request = self.request(&key)?;
        session::run(&self.call, async |session| {
            let response = session.answer(session.cache().patch(session.request(request))).await?;
            self.print(&key, &response)?;
            let is_applied = response.result() == PatchResult::Applied;
            Ok(if is_applied { Ending::Done } else { Ending::Miss })
        })
    }

    fn request(&self, key: &KeyRef) -> Result<PatchRequest, Error> {
        let value = self.patch.read(ValueKind::Json)?;
        // Reading has checked that it is UTF-8.
        let text = String::from_utf8_lossy(content(&value)).into_owned();
        let patch = if self.operations { Patch::JsonPatch(text) } else { Patch::MergePatch(text) };
        let ttl = self.ttl.map(|ttl| Expiry::Ttl(from_duration(ttl)));
        Ok(PatchRequest {
            namespace: key.namespace.clone(),
            key: key.key.clone(),
            params: key.params.clone(),
            patch: Some(patch),
            if_version: self.if_version.clone(),
            expiry: if self.keep { Some(Expiry::Keep(true)) } else { ttl },
        })
    }

    fn print(&self, key: &KeyRef, response: &PatchResponse) -> Result<(), Error> {
        let name = response.result().as_str_name();
        let is_applied = response.result() == PatchResult::Applied;
        let line = Line {
            name: EntryName::new(key),
            result: &word(name, PREFIX),
            version: is_applied.then_some(&response.version),
            ttl: seconds(response.ttl),
        };
        Output::stdout(self.call.json).line(&line, || {
            if is_applied {
                format!("applied  version {}  ttl {}", response.version, show(response.ttl))
            } else {
                phrase(name, PREFIX)
            }
        })
    }
}
