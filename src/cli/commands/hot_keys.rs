//! `larder hot-keys` prints the keys with the most reads.

use std::time::Duration;

use serde::Serialize;

use super::{
    arguments::{CallArgs, duration},
    display::{seconds, show},
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::figures::percent,
    pb::{
        from_duration,
        v1::{HotKey, HotKeysRequest, HotKeysResponse},
    },
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace of the keys
    namespace: String,
    /// How far back to look, at most 1h [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    window: Option<Duration>,
    /// Print this many keys at most, 100 or fewer
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    call: CallArgs,
}

/// Numbers of reads are estimates.
#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    key: &'a str,
    params_digest: Option<&'a str>,
    reads: u64,
    error: u64,
    share: f64,
    namespace_reads: u64,
    window: Option<f64>,
    replicas: u32,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let request = HotKeysRequest {
                namespace: self.namespace.clone(),
                window: self.window.map(from_duration),
                limit: self.limit,
            };
            let mut admin = session.admin();
            let response = session.answer(admin.hot_keys(session.request(request))).await?;
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                for hot in &response.keys {
                    output.line(&self.line(hot, &response), String::new)?;
                }
            } else if !response.keys.is_empty() {
                output.line(&(), || text(&response))?;
                remark(&summary(&response));
            }
            Ok(if response.keys.is_empty() { Ending::Miss } else { Ending::Done })
        })
    }

    fn line<'a>(&'a self, hot: &'a HotKey, response: &HotKeysResponse) -> Line<'a> {
        Line {
            namespace: &self.namespace,
            key: &hot.key,
            params_digest: (!hot.params_digest.is_empty()).then_some(&hot.params_digest),
            reads: hot.reads,
            error: hot.error,
            share: hot.share,
            namespace_reads: response.reads,
            window: seconds(response.window),
            replicas: response.replicas,
        }
    }
}

fn text(response: &HotKeysResponse) -> String {
    let row = |hot: &HotKey| {
        let params = if hot.params_digest.is_empty() { "-" } else { &hot.params_digest };
        vec![
            hot.key.clone(),
            format!("~{}", hot.reads),
            format!("\u{b1} {}", hot.error),
            percent(hot.share),
            params.to_owned(),
        ]
    };
    table(&["key", "reads", "error", "share", "params"], response.keys.iter().map(row))
}

fn summary(response: &HotKeysResponse) -> String {
    format!(
        "estimated from {} samples of ~{} reads in {}, of {} replicas",
        response.samples,
        response.reads,
        show(response.window),
        response.replicas,
    )
}
