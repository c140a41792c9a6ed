//! A terminal for one test: a shell in a tmux of its own, with the screen as text.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::wait::{SOON, eventually};

/// A shell in a terminal. It ends when it is dropped.
pub(crate) struct Terminal {
    /// It has the socket of the tmux server.
    directory: TempDir,
}

impl Terminal {
    /// A terminal of this size. The prompt of its shell is `ready$`.
    pub(crate) async fn start(width: u16, height: u16) -> Self {
        let terminal = Self { directory: tempfile::tempdir().unwrap() };
        let size = [width.to_string(), height.to_string()];
        let shell = "env -u NO_COLOR PS1='ready$ ' ENV= sh -i";
        terminal.tmux(&["new-session", "-d", "-x", &size[0], "-y", &size[1], shell]);
        terminal.wait_for(&["ready$"]).await;
        terminal
    }

    /// Types a line into the shell.
    pub(crate) fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    /// Presses keys, by the names of tmux.
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Changes the size.
    pub(crate) fn resize(&self, width: u16, height: u16) {
        let size = [width.to_string(), height.to_string()];
        self.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
    }

    /// The lines of the screen.
    pub(crate) fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The screen with the sequences for colours and styles.
    pub(crate) fn styled_text(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Whether a program has a screen of its own, and whether the cursor is visible.
    pub(crate) fn screen_flags(&self) -> String {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim().to_owned()
    }

    /// Waits until the screen has all of these texts, and returns it.
    pub(crate) async fn wait_for(&self, parts: &[&str]) -> String {
        self.wait_until(&format!("{parts:?} on the screen"), |text| {
            parts.iter().all(|part| text.contains(part))
        })
        .await
    }

    /// Waits until a condition holds for the screen, and returns it.
    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let wait = eventually(what, SOON * 3, async || {
            let text = self.text();
            condition(&text).then_some(text)
        });
        let shown = tokio::time::timeout(SOON * 2, wait).await;
        shown.unwrap_or_else(|_| panic!("no {what}; the screen is\n{}", self.text()))
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux; scripts/setup.sh test");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // Without the variable, tmux would be part of the one that the tests may run in.
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(self.directory.path().join("tmux"));
        command.args(arguments);
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}
