//! `larder invalidate`

use serde_json::json;

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::v1::InvalidateNamespaceRequest;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace whose entries become invalid, all of them
    namespace: String,
    #[command(flatten)]
    call: CallArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let request = InvalidateNamespaceRequest { namespace: self.namespace.clone() };
            let mut cache = session.cache();
            session.answer(cache.invalidate_namespace(session.request(request))).await?;
            let line = json!({ "namespace": self.namespace, "result": "invalidated" });
            Output::stdout(self.call.json).line(&line, || "invalidated".to_owned())?;
            Ok(Ending::Done)
        })
    }
}
