//! Standard output: text for people, or one JSON object per line.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use super::failure::Error;
pub(super) use crate::cli::figures::table;

/// Where a command writes. Errors of writing end the command; standard library macros would panic.
pub(super) struct Output {
    json: bool,
    is_terminal: bool,
    writer: Box<dyn Write>,
}

// === impl Output ===

impl Output {
    /// Standard output.
    pub(super) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        Self { json, is_terminal: stdout.is_terminal(), writer: Box::new(stdout.lock()) }
    }

    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the output is read by a person.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether progress can be drawn: a terminal shows both streams.
    pub(super) fn is_interactive(&self) -> bool {
        !self.json && self.is_terminal && io::stderr().is_terminal()
    }

    /// Writes a line: `json` if the output is JSON, otherwise the text.
    pub(super) fn line(
        &mut self,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        let line = if self.json {
            serde_json::to_string(json).map_err(|error| Error::Output(error.into()))?
        } else {
            text()
        };
        self.write(&[line.as_bytes(), b"\n"])
    }

    /// Writes bytes unchanged. A terminal gets a newline, so that the prompt is at the left.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let needs_newline = self.is_terminal && !bytes.ends_with(b"\n");
        self.write(&[bytes, if needs_newline { b"\n" } else { b"" }])
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        parts
            .iter()
            .try_for_each(|part| self.writer.write_all(part))
            .and_then(|()| self.writer.flush())
            .map_err(Error::Output)
    }
}

/// Prints a remark to standard error, which leaves standard output to values.
pub(super) fn remark(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_terminal_gets_a_newline_after_a_value() {
        for (is_terminal, expected) in [(false, &b"a\0"[..]), (true, b"a\0\n")] {
            let written = Written::default();
            let writer = Box::new(written.clone());
            Output { json: false, is_terminal, writer }.bytes(b"a\0").unwrap();
            assert_eq!(*written.0.lock(), expected);
        }
    }

    #[test]
    fn line_is_json_or_text() {
        for (json, expected) in [(false, &b"text\n"[..]), (true, b"{\"found\":true}\n")] {
            let written = Written::default();
            let writer = Box::new(written.clone());
            let mut output = Output { json, is_terminal: false, writer };
            output.line(&serde_json::json!({"found": true}), || "text".to_owned()).unwrap();
            assert_eq!(*written.0.lock(), expected);
        }
    }
}
