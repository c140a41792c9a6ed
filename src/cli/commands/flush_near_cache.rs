//! `larder flush-near-cache` empties the near cache of a server.

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::v1::FlushNearCacheRequest;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only copies of entries of this namespace [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    namespace: String,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    namespace: Option<&'a str>,
    entries: u64,
    bytes: u64,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let request = FlushNearCacheRequest { namespace: self.namespace.clone() };
            let mut admin = session.admin();
            let flushed = session.answer(admin.flush_near_cache(session.request(request))).await?;
            let line = Line {
                namespace: (!self.namespace.is_empty()).then_some(&self.namespace),
                entries: flushed.entries,
                bytes: flushed.bytes,
            };
            Output::stdout(self.call.json).line(&line, || {
                format!("removed {} copies ({})", flushed.entries, ByteSize(flushed.bytes))
            })?;
            Ok(Ending::Done)
        })
    }
}
