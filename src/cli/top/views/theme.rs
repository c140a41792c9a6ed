//! Styles, with colours only where they are wanted.

use std::{env, ffi::OsStr};

use ratatui::style::{Color, Modifier, Style};

use crate::cli::top::figures::Severity;

/// Styles of the view. Without colours, bold, dim and reversed text are left.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli::top) struct Theme {
    is_colored: bool,
}

impl Theme {
    pub(in crate::cli::top) const fn new(is_colored: bool) -> Self {
        Self { is_colored }
    }

    /// No colours if `NO_COLOR` has a value, by the convention of terminal programs.
    pub(in crate::cli::top) fn from_environment() -> Self {
        Self::of(env::var_os("NO_COLOR").as_deref())
    }

    fn of(no_color: Option<&OsStr>) -> Self {
        Self::new(no_color.is_none_or(OsStr::is_empty))
    }

    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn good(self) -> Style {
        self.colored(Color::Green)
    }

    pub(super) fn graph(self) -> Style {
        self.colored(Color::Cyan)
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Critical => self.colored(Color::Red).add_modifier(Modifier::BOLD),
            Severity::Warning => self.colored(Color::Yellow),
            Severity::Notice => Style::new(),
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_leaves_no_colours() {
        let color = |value: Option<&str>| Theme::of(value.map(OsStr::new)).good().fg;
        assert_eq!(color(None), Some(Color::Green));
        assert_eq!(color(Some("")), Some(Color::Green));
        assert_eq!(color(Some("1")), None);
        let plain = Theme::new(false);
        for severity in [Severity::Critical, Severity::Warning, Severity::Notice] {
            assert_eq!(plain.severity(severity).fg, None);
        }
    }
}
