//! Commands that Larder can do without, with less: some managed services do not have them.
//!
//! A server is asked for them once, and one that takes its place is asked again. Those that it does
//! not have are logged once, and not sent any more. A missing permission is a fault: it can be
//! given.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Cmd, Value};
use tokio::sync::watch;

use super::{fault::Fault, request::error_or_value};

macro_rules! optional_commands {
    ($($command:ident: $words:expr, $without:literal;)+) => {
        /// A command that Larder can do without.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum OptionalCommand { $($command),+ }

        impl OptionalCommand {
            pub(super) const ALL: &[Self] = &[$(Self::$command),+];

            /// The words of the command.
            fn words(self) -> &'static [&'static str] {
                match self { $(Self::$command => &$words),+ }
            }

            /// The loss without it.
            fn without(self) -> &'static str {
                match self { $(Self::$command => $without),+ }
            }
        }
    };
}

optional_commands! {
    Info: ["INFO"], "memory and clients in Stats, the process that answers";
    DbSize: ["DBSIZE"], "sizes of namespaces in Stats";
    RandomKey: ["RANDOMKEY"], "sizes of namespaces in Stats";
    MemoryUsage: ["MEMORY", "USAGE"], "the overhead of Redis in sizes";
    Scan: ["SCAN"], "listings of keys, the sweep of banned entries";
    ClientTracking: ["CLIENT", "TRACKING"], "near caches, Watch, early ends of waiting";
}

/// Those that the server does not have.
#[derive(Debug)]
pub(super) struct MissingCommands {
    /// One bit for each.
    missing: watch::Sender<u8>,
    /// Number of the server that was asked; zero for none.
    asked: AtomicU64,
}

// === impl OptionalCommand ===

impl OptionalCommand {
    /// The command, with arguments that change nothing.
    pub(super) fn question(self, key: &str) -> Cmd {
        let mut question = redis::cmd(self.words()[0]);
        question.arg(&self.words()[1..]);
        match self {
            Self::Info => question.arg("server"),
            Self::MemoryUsage => question.arg(key),
            Self::Scan => question.arg(&["0", "MATCH", key, "COUNT", "1"]),
            Self::ClientTracking => question.arg("OFF"),
            Self::DbSize | Self::RandomKey => &mut question,
        };
        question
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

// === impl MissingCommands ===

impl MissingCommands {
    pub(super) fn new() -> Self {
        Self { missing: watch::Sender::new(0), asked: AtomicU64::new(0) }
    }

    /// Whether the server does not have a command, as far as it is known.
    pub(super) fn lacks(&self, command: OptionalCommand) -> bool {
        *self.missing.borrow() & command.bit() != 0
    }

    /// Waits until the server has a command, as far as it is known.
    pub(super) async fn has(&self, command: OptionalCommand) {
        // The sender lives as long as this.
        let _ = self.missing.subscribe().wait_for(|missing| missing & command.bit() == 0).await;
    }

    /// Whether the server with this number, counted from zero, is to be asked.
    pub(super) fn is_due(&self, server: u64) -> bool {
        self.asked.load(Ordering::Relaxed) != server + 1
    }

    /// Takes the answers of a server to all questions.
    pub(super) fn answered(&self, server: u64, answers: Vec<Value>) {
        let is_unknown = |answer: Value| {
            error_or_value(answer).is_err_and(|error| Fault::of(&error) == Fault::UnknownCommand)
        };
        let answers = OptionalCommand::ALL.iter().zip(answers);
        let missing =
            answers.filter_map(|(command, answer)| is_unknown(answer).then_some(*command));
        let missing = missing.fold(0, |bits, command| bits | command.bit());
        self.update(|_| missing);
        self.asked.store(server + 1, Ordering::Relaxed);
    }

    /// The server refused a command because it does not have it.
    pub(super) fn refused(&self, command: OptionalCommand) {
        self.update(|missing| missing | command.bit());
    }

    fn update(&self, change: impl Fn(u8) -> u8) {
        let mut missing = 0;
        let is_modified = self.missing.send_if_modified(|bits| {
            missing = change(*bits);
            std::mem::replace(bits, missing) != missing
        });
        if !is_modified {
            return;
        }
        let all = OptionalCommand::ALL.iter().filter(|command| missing & command.bit() != 0);
        let mut names: Vec<String> = Vec::new();
        let mut without: Vec<&str> = Vec::new();
        for command in all {
            names.push(command.words().join(" "));
            if !without.contains(&command.without()) {
                without.push(command.without());
            }
        }
        let (commands, without) = (names.join(", "), without.join("; "));
        if names.is_empty() {
            tracing::info!("Redis has all commands");
        } else {
            tracing::warn!(commands, without, "Redis lacks commands that Larder can do without");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn answers(of: impl Fn(OptionalCommand) -> &'static str) -> Vec<Value> {
        let answer =
            |command: &OptionalCommand| parse_redis_value(of(*command).as_bytes()).unwrap();
        OptionalCommand::ALL.iter().map(answer).collect()
    }

    #[test]
    fn only_commands_that_are_unknown_are_missing() {
        let missing = MissingCommands::new();
        assert!(missing.is_due(0));
        missing.answered(
            0,
            answers(|command| match command {
                OptionalCommand::MemoryUsage => "-ERR unknown command 'MEMORY', with args\r\n",
                OptionalCommand::ClientTracking => "-ERR unknown subcommand 'TRACKING'.\r\n",
                OptionalCommand::Scan => "-NOPERM this user has no permissions to run 'scan'\r\n",
                OptionalCommand::DbSize => "-ERR Command is not available: 'DBSIZE'.\r\n",
                OptionalCommand::RandomKey => "-LOADING Redis is loading\r\n",
                OptionalCommand::Info => "+OK\r\n",
            }),
        );
        let lacking = OptionalCommand::ALL.iter().filter(|command| missing.lacks(**command));
        let expected = [
            OptionalCommand::DbSize,
            OptionalCommand::MemoryUsage,
            OptionalCommand::ClientTracking,
        ];
        assert!(lacking.copied().eq(expected));
        assert!(!missing.is_due(0) && missing.is_due(1), "another server is asked again");
        missing.answered(1, answers(|_| "+OK\r\n"));
        assert!(!OptionalCommand::ALL.iter().any(|command| missing.lacks(*command)));
    }

    #[tokio::test]
    async fn a_refused_command_is_waited_for() {
        let missing = MissingCommands::new();
        missing.has(OptionalCommand::Scan).await;
        missing.refused(OptionalCommand::ClientTracking);
        assert!(missing.lacks(OptionalCommand::ClientTracking));
        let waiting = missing.has(OptionalCommand::ClientTracking);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        missing.answered(0, answers(|_| "+OK\r\n"));
        waiting.await;
    }

    #[test]
    fn questions_change_nothing() {
        let questions = OptionalCommand::ALL.iter().map(|command| command.question("key"));
        let questions: Vec<String> = questions
            .map(|question| {
                let packed = String::from_utf8(question.get_packed_command()).unwrap();
                let words = packed.split("\r\n").filter(|part| !part.starts_with(['*', '$']));
                words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
            })
            .collect();
        let expected = [
            "INFO server",
            "DBSIZE",
            "RANDOMKEY",
            "MEMORY USAGE key",
            "SCAN 0 MATCH key COUNT 1",
            "CLIENT TRACKING OFF",
        ];
        assert_eq!(questions, expected);
    }
}
