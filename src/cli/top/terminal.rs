//! The terminal while it shows a full screen.

use std::{
    io::{self, BufWriter, Stdout, stdout},
    panic,
};

use crossterm::{
    cursor::{Hide, Show},
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};

/// Bytes of a screen that are written at once.
const BUFFER: usize = 64 * 1024;

/// A screen of its own on the terminal. The end of this value restores the terminal, and so does a
/// panic.
pub(super) struct FullScreen {
    // It shows the cursor when it is dropped, and is dropped first.
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    _mode: ScreenMode,
}

/// The mode of the terminal for a full screen.
struct ScreenMode;

impl FullScreen {
    /// Switches the terminal to a screen of its own.
    ///
    /// # Errors
    /// The terminal cannot be switched; it is as it was.
    pub(super) fn open() -> io::Result<Self> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        enable_raw_mode()?;
        let mode = ScreenMode;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        let writer = BufWriter::with_capacity(BUFFER, stdout());
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(writer))?, _mode: mode })
    }

    /// Draws the screen anew; only what changes is written.
    ///
    /// # Errors
    /// The terminal cannot be written to.
    pub(super) fn draw<T>(&mut self, view: impl FnOnce(&mut Frame<'_>) -> T) -> io::Result<T> {
        let mut drawn = None;
        self.terminal.draw(|frame| drawn = Some(view(frame)))?;
        drawn.ok_or_else(|| io::Error::other("nothing was drawn"))
    }
}

impl Drop for ScreenMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal. One that is gone is no error.
fn restore() {
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}
