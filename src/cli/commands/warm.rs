//! `larder warm` fetches keys in advance, with a progress bar.

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{
    arguments::{CallArgs, ParamArgs, keys_from},
    display::{escape, seconds, show},
    failure::{Ending, Error},
    output::Output,
    session,
};
use crate::pb::v1::{WarmKey, WarmRequest, WarmResponse};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace with an origin
    namespace: String,
    /// Keys to fetch [default: the namespace's warm list]
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    /// Read the keys from a file, one per line; `-` reads standard input
    #[arg(long, value_name = "PATH", conflicts_with = "keys")]
    keys_from: Option<PathBuf>,
    #[command(flatten)]
    params: ParamArgs,
    /// Fetch fresh entries too
    #[arg(long)]
    refresh: bool,
    /// Fetches per second [default: as configured]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "NUMBER")]
    rate: u32,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    total: u64,
    done: u64,
    stored: u64,
    fresh: u64,
    not_stored: u64,
    failed: u64,
    last_error: Option<&'a str>,
    took: Option<f64>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let request = self.request()?;
        session::run(&self.call, async |session| {
            let mut output = Output::stdout(self.call.json);
            let bar = output.is_interactive().then(progress_bar);
            // Without a deadline: it may take hours. Each message has the time limit.
            let mut stream = session
                .answer(session.admin().warm(session.request_without_deadline(request)))
                .await?;
            let mut last = WarmResponse::default();
            while let Some(progress) = session.part(stream.message()).await? {
                match &bar {
                    Some(bar) => show_progress(bar, &progress),
                    None => self.print(&mut output, &progress)?,
                }
                last = progress;
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
                self.print(&mut output, &last)?;
            }
            Ok(if last.failed == 0 { Ending::Done } else { Ending::Miss })
        })
    }

    fn request(&self) -> Result<WarmRequest, Error> {
        let keys = match &self.keys_from {
            Some(path) => keys_from(path)?,
            None => self.keys.clone(),
        };
        let params = self.params.map()?;
        if keys.is_empty() && !params.is_empty() {
            return Err(Error::Usage("--param needs keys".to_owned()));
        }
        let keys = keys.into_iter().map(|key| WarmKey { key, params: params.clone() }).collect();
        let namespace = self.namespace.clone();
        Ok(WarmRequest { namespace, keys, refresh: self.refresh, rate: self.rate })
    }

    fn print(&self, output: &mut Output, progress: &WarmResponse) -> Result<(), Error> {
        let line = Line {
            namespace: &self.namespace,
            total: progress.total,
            done: progress.done,
            stored: progress.stored,
            fresh: progress.fresh,
            not_stored: progress.not_stored,
            failed: progress.failed,
            last_error: (!progress.last_error.is_empty()).then_some(&progress.last_error),
            took: seconds(progress.took),
        };
        output.line(&line, || text(progress))
    }
}

fn text(progress: &WarmResponse) -> String {
    let mut text = format!(
        "{} of {}  stored {}  fresh {}  not stored {}  failed {}  after {}",
        progress.done,
        progress.total,
        progress.stored,
        progress.fresh,
        progress.not_stored,
        progress.failed,
        show(progress.took),
    );
    if !progress.last_error.is_empty() {
        text.push_str("  last error: ");
        text.push_str(&escape(&progress.last_error));
    }
    text
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{bar:30} {pos}/{len}  {per_sec}  {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn show_progress(bar: &ProgressBar, progress: &WarmResponse) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    if progress.failed > 0 {
        bar.set_message(format!("{} failed", progress.failed));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Result<WarmRequest, String> {
        let args = CommandLine::try_parse_from([&["warm"], line].concat());
        args.map_err(|error| error.to_string())?.args.request().map_err(|error| error.to_string())
    }

    #[test]
    fn keys_share_the_params_and_may_be_absent() {
        let request = parse(&["ns", "a", "b", "--param", "p=1", "--rate", "7"]).unwrap();
        let keys: Vec<_> = request.keys.iter().map(|key| (&*key.key, &*key.params["p"])).collect();
        assert_eq!((keys, request.rate), (vec![("a", "1"), ("b", "1")], 7));
        assert!(parse(&["ns"]).unwrap().keys.is_empty());
        assert_eq!(parse(&["ns", "--param", "p=1"]).unwrap_err(), "--param needs keys");
        assert!(parse(&["ns", "a", "--keys-from", "f"]).is_err());
    }

    #[test]
    fn progress_is_one_line() {
        let progress = WarmResponse {
            total: 4,
            done: 3,
            stored: 1,
            fresh: 1,
            not_stored: 0,
            failed: 1,
            last_error: "timeout".to_owned(),
            took: None,
        };
        let expected = "3 of 4  stored 1  fresh 1  not stored 0  failed 1  after -  \
                        last error: timeout";
        assert_eq!(text(&progress), expected);
    }
}
