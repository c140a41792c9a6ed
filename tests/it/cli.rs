//! Commands that use a running server, or its journal: output, JSON, exit codes.

// Several addresses, and those of gRPC.
mod addresses;
// Load on a server.
mod bench;
// Keys, single entries and namespaces.
mod directory;
// Reads, writes and counters.
mod entries;
// Events of the business.
mod events;
// Exit codes and messages of failures.
mod failures;
// Leases and origins.
mod fetches;
// The journal of a server that does not run.
mod journal;
// Commands for operators.
mod operators;
// The manual pages.
mod pages;
// Parts of values.
mod parts;
// The view of a fleet.
mod top;
// Whole sessions, against files.
mod transcripts;
// Values from arguments, files and standard input.
mod values;
// Changes, as they happen.
mod watch;

use std::process::Output;

use crate::support::server::{Larder, run, run_with_input};

/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const MISS: i32 = 1;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const LEASED: i32 = 4;

/// Output and exit code of a command.
#[derive(Debug)]
struct Printed {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

/// Runs a command on a server. Spaces separate its arguments.
fn cli(server: &Larder, line: &str) -> Printed {
    let address = server.address().to_string();
    Printed::new(run(&arguments(line, &address), &[]))
}

/// As [`cli`], with a standard input.
fn cli_with_input(server: &Larder, line: &str, input: &[u8]) -> Printed {
    let address = server.address().to_string();
    Printed::new(run_with_input(&arguments(line, &address), input))
}

fn arguments<'a>(line: &'a str, address: &'a str) -> Vec<&'a str> {
    line.split(' ').chain(["--address", address]).collect()
}

// === impl Printed ===

impl Printed {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Exit code and standard output.
    fn result(&self) -> (i32, &str) {
        (self.code, std::str::from_utf8(&self.stdout).unwrap())
    }

    /// The lines of JSON.
    #[track_caller]
    fn json(&self) -> Vec<serde_json::Value> {
        let text = std::str::from_utf8(&self.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Expects a failure with this code and a message of one line with these parts.
    #[track_caller]
    fn expect_failure(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part}: {self:?}");
        }
    }
}
