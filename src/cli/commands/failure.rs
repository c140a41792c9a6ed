//! Exit codes, and errors as one sentence.

use std::{borrow::Cow, fmt::Write as _, io, path::PathBuf, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    cli::{EXIT_CONFIG, client, print_error},
    config::ConfigError,
    store::journal::offline::OfflineError,
};

/// How a command ended that the server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The work is done.
    Done,
    /// There is no entry, or the condition does not hold.
    Miss,
    /// There is no entry, and the caller got the lease to compute it.
    Leased,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("cannot read {}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot write the pages to {}", path.display())]
    Pages { path: PathBuf, source: io::Error },
    #[error("the store is unavailable: {0}")]
    Degraded(Cow<'static, str>),
    #[error("{}", sentence(address, status))]
    Refused { address: String, status: Box<Status> },
    #[error("cannot keep the latencies")]
    Latencies(#[from] hdrhistogram::CreationError),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Journal(#[from] OfflineError),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Client(error.into())
    }
}

/// Prints the error, if there is one, and returns the exit code.
pub(super) fn exit_code(ending: Result<Ending, Error>) -> ExitCode {
    if let Err(error) = &ending
        && !is_closed_pipe(error)
    {
        // Each mistake of a configuration has a line.
        if let Error::Config(error) = error { print_error(error) } else { print_error(error) }
    }
    ExitCode::from(code(&ending))
}

fn code(ending: &Result<Ending, Error>) -> u8 {
    match ending {
        Ok(Ending::Done) => 0,
        Ok(Ending::Miss) => 1,
        Ok(Ending::Leased) => 4,
        // The reader has closed the pipe: not an error.
        Err(error) if is_closed_pipe(error) => 0,
        Err(Error::Usage(_) | Error::Input { .. }) => 2,
        Err(Error::Refused { status, .. }) if status.code() == Code::InvalidArgument => 2,
        Err(Error::Refused { status, .. }) if is_not_json(status) => 1,
        Err(Error::Client(error)) if error.is_usage() => 2,
        Err(Error::Journal(OfflineError::Missing(_) | OfflineError::NotAJournal(_))) => 2,
        Err(Error::Refused { .. } | Error::Degraded(_) | Error::Client(_) | Error::Journal(_)) => 3,
        Err(Error::Output(_) | Error::Pages { .. } | Error::Latencies(_)) => 5,
        Err(Error::Config(_)) => EXIT_CONFIG,
    }
}

/// Whether the value has no parts, because it is not JSON.
fn is_not_json(status: &Status) -> bool {
    status.get_error_details().error_info().is_some_and(|info| info.reason == "NOT_JSON")
}

fn is_closed_pipe(error: &Error) -> bool {
    matches!(error, Error::Output(source) if source.kind() == io::ErrorKind::BrokenPipe)
}

/// The server's error, with the field, the reason and the time to wait from its details.
fn sentence(address: &str, status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = format!("{address} refused the call: ");
    let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
    if violations.is_empty() {
        text.push_str(if status.message().is_empty() {
            status.code().description()
        } else {
            status.message()
        });
    }
    for (index, violation) in violations.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        let _ = write!(text, "{separator}{} {}", violation.field, violation.description);
    }
    let code = format!("{:?}", status.code());
    let reason = details.error_info().map_or(&*code, |info| &*info.reason);
    let _ = write!(text, " ({reason})");
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        let _ = write!(text, "; it can be repeated after {}", humantime::format_duration(delay));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeSet, HashMap},
        time::Duration,
    };

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::store::journal::JournalError;

    fn refused(code: Code, details: ErrorDetails) -> Error {
        let status = Status::with_error_details(code, "message", details);
        Error::Refused { address: "host:1".to_owned(), status: Box::new(status) }
    }

    #[test]
    fn error_of_the_server_is_one_sentence_with_field_and_reason() {
        let mut details = ErrorDetails::with_error_info("TOO_LONG", "larder", HashMap::new());
        details.add_bad_request_violation("key", "is too long");
        let invalid = refused(Code::InvalidArgument, details);
        assert_eq!(invalid.to_string(), "host:1 refused the call: key is too long (TOO_LONG)");
        let mut details = ErrorDetails::with_error_info("OVERLOADED", "larder", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(500)));
        let overloaded = refused(Code::ResourceExhausted, details);
        let expected =
            "host:1 refused the call: message (OVERLOADED); it can be repeated after 500ms";
        assert_eq!(overloaded.to_string(), expected);
        let plain = Status::new(Code::Internal, "");
        let expected = "host:1 refused the call: Internal error (Internal)";
        assert_eq!(sentence("host:1", &plain), expected);
    }

    #[test]
    fn exit_codes_are_those_of_the_documentation() {
        let io = |kind: io::ErrorKind| io::Error::from(kind);
        let details = ErrorDetails::new;
        let timeout =
            client::Error::Timeout { address: "host:1".to_owned(), limit: Duration::from_secs(1) };
        let cases = [
            (Ok(Ending::Done), 0),
            (Ok(Ending::Miss), 1),
            (Ok(Ending::Leased), 4),
            (Err(Error::Usage("usage".to_owned())), 2),
            (Err(Error::Input { path: "f".into(), source: io(io::ErrorKind::NotFound) }), 2),
            (Err(refused(Code::InvalidArgument, details())), 2),
            (Err(refused(Code::Unavailable, details())), 3),
            (Err(Error::Degraded("not stored".into())), 3),
            (Err(OfflineError::Missing("f".into()).into()), 2),
            (Err(OfflineError::NotAJournal("f".into()).into()), 2),
            (Err(OfflineError::InUse("f".into()).into()), 3),
            (Err(OfflineError::from(JournalError::Damaged("f".into())).into()), 3),
            (Err(ConfigError::Invalid { problems: Vec::new() }.into()), 78),
            (Err(timeout.into()), 3),
            (Err(Error::Output(io(io::ErrorKind::StorageFull))), 5),
            (Err(Error::Output(io(io::ErrorKind::BrokenPipe))), 0),
            (Err(Error::Pages { path: "d".into(), source: io(io::ErrorKind::StorageFull) }), 5),
        ];
        for (ending, expected) in &cases {
            assert_eq!(code(ending), *expected, "{ending:?}");
        }
        let document = include_str!("../../../docs/cli.md");
        let table = document.split("## Exit codes").nth(1).unwrap_or_default();
        let table = table.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter_map(|line| line.split(" | ").next()?.strip_prefix("| "));
        let documented: BTreeSet<u8> = rows.filter_map(|code| code.parse().ok()).collect();
        assert_eq!(documented, cases.iter().map(|(_, code)| *code).collect());
    }
}
