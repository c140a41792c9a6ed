//! `larder top` shows the figures of a running fleet.

use std::time::Duration;

use super::{
    arguments::{CallArgs, duration},
    failure::{Ending, Error},
    output::Output,
};
use crate::cli::{
    client::{self, default_address},
    top::{self, OneView, TopError, TopOptions},
};

const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);
const NO_TERMINAL: &str = "standard output is no terminal: `larder top --once` prints the figures \
                           as text, and `larder top --once --json` as JSON";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Time between two refreshes, from 1s to 1m
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Print the figures once, as text, or with --json as one JSON object
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    call: CallArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let options = TopOptions {
            address: self.call.server.address.clone().unwrap_or_else(default_address),
            limit: self.call.timeout,
            security: self.call.security.clone(),
        };
        if self.call.json && !self.once {
            return Err(Error::Usage("--json needs --once".to_owned()));
        }
        let mut output = Output::stdout(self.call.json);
        if self.once {
            let view = OneView::collect(&options).map_err(refused)?;
            output.line(view.figures(), || view.text())?;
            return Ok(Ending::Done);
        }
        if !output.is_terminal() {
            return Err(Error::Usage(NO_TERMINAL.to_owned()));
        }
        // The screen locks standard output itself.
        drop(output);
        match top::show(&options, self.interval) {
            Ok(()) => Ok(Ending::Done),
            Err(TopError::Client(error)) => Err(refused(error)),
            Err(TopError::Terminal(error)) => Err(Error::Output(error)),
        }
    }
}

/// Parses a time between two refreshes. Shorter ones would only show the same figures again.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if INTERVALS.contains(&interval) {
        return Ok(interval);
    }
    Err("must be from 1s to 1m".to_owned())
}

/// The status of a call as the other commands print it.
fn refused(error: client::Error) -> Error {
    if let client::Error::Status { address, status } = error {
        return Error::Refused { address, status };
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        for text in ["999ms", "61s", "0s"] {
            assert_eq!(interval(text), Err("must be from 1s to 1m".to_owned()));
        }
        assert!(interval("fast").is_err_and(|error| error.contains("such as 500ms")));
    }
}
