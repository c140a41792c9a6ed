//! Standard output: text for people, or one JSON object per line.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write},
};

use serde::Serialize;

use super::failure::Error;
pub(super) use crate::cli::figures::table;
use crate::visible_text::{visible_json, visible_lines};

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

    /// Writes a line: `json` if the output is JSON, otherwise the text. A terminal gets no
    /// character that controls it.
    pub(super) fn line(
        &mut self,
        json: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        if self.json {
            let line = serde_json::to_string(json).map_err(|error| Error::Output(error.into()))?;
            return self.json_text(&line);
        }
        let line = text();
        let shown = if self.is_terminal { visible_lines(&line) } else { Cow::Borrowed(&*line) };
        self.write(&[shown.as_bytes(), b"\n"])
    }

    /// Writes a line of JSON. A terminal gets no character that controls it.
    pub(super) fn json_text(&mut self, json: &str) -> Result<(), Error> {
        let shown = if self.is_terminal { visible_json(json) } else { Cow::Borrowed(json) };
        self.write(&[shown.as_bytes(), b"\n"])
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
    let _ = writeln!(io::stderr(), "{}", visible_lines(text));
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
    fn a_terminal_gets_no_character_that_controls_it() {
        for (json, is_terminal, expected) in [
            (false, true, "a\\u{1b}]0;b\n"),
            (false, false, "a\u{1b}]0;b\n"),
            (true, true, "{\"key\":\"\\u009b1m\"}\n"),
            (true, false, "{\"key\":\"\u{9b}1m\"}\n"),
        ] {
            let written = Written::default();
            let mut output = Output { json, is_terminal, writer: Box::new(written.clone()) };
            let text = || "a\u{1b}]0;b".to_owned();
            output.line(&serde_json::json!({"key": "\u{9b}1m"}), text).unwrap();
            assert_eq!(String::from_utf8_lossy(&written.0.lock()), expected);
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
