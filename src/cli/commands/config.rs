//! `larder config` prints the configuration of a server.

use serde::Serialize;

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
    output::{Output, remark},
    session,
};
use crate::pb::v1::GetConfigRequest;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    server_version: &'a str,
    needs_restart: &'a [String],
    toml: &'a str,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let request = session.request(GetConfigRequest {});
            let config = session.answer(session.admin().get_config(request)).await?;
            let line = Line {
                server_version: &config.server_version,
                needs_restart: &config.needs_restart,
                toml: &config.toml,
            };
            let mut output = Output::stdout(self.call.json);
            output.line(&line, || config.toml.trim_end().to_owned())?;
            if !output.is_json() && !config.needs_restart.is_empty() {
                let keys = config.needs_restart.join(", ");
                remark(&format!("these keys take effect after a restart only: {keys}"));
            }
            Ok(Ending::Done)
        })
    }
}
