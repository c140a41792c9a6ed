//! The last line: keys, or the filter.

use ratatui::text::{Line, Span};

use super::{Scene, line::fitting};
use crate::cli::{
    figures::escape,
    top::state::{Panel, ViewState},
};

pub(super) fn line(scene: &Scene<'_>, width: u16) -> Line<'static> {
    let state = scene.state;
    if state.is_typing {
        let text = format!("filter: {}\u{2588}", escape(&state.filter));
        let hint = Span::styled("Enter keeps it   Esc clears it", scene.theme.dim());
        return fitting(vec![vec![Span::styled(text, scene.theme.heading())], vec![hint]], width);
    }
    let key = |(key, name): &(&'static str, &'static str)| {
        vec![Span::styled(*key, scene.theme.heading()), Span::raw(format!(" {name}"))]
    };
    let mut parts = Vec::new();
    if !state.filter.is_empty() {
        let text = format!("filter: {}", escape(&state.filter));
        parts.push(vec![Span::styled(text, scene.theme.heading())]);
    }
    parts.extend(keys(state).iter().map(key));
    fitting(parts, width)
}

fn keys(state: &ViewState) -> &'static [(&'static str, &'static str)] {
    if state.has_help {
        return &[("Esc", "back"), ("\u{2191}\u{2193}", "scroll"), ("q", "quit")];
    }
    match state.panel {
        Panel::Overview => &[
            ("q", "quit"),
            ("?", "help"),
            ("s", "sort"),
            ("f", "filter"),
            ("\u{21b5}", "namespace"),
            ("k", "keys"),
            ("o", "origins"),
            ("r", "replicas"),
            ("p", "pause"),
        ],
        Panel::Namespace(_) | Panel::HotKeys | Panel::Origins | Panel::Replicas => &[
            ("q", "quit"),
            ("?", "help"),
            ("Esc", "back"),
            ("\u{2191}\u{2193}", "scroll"),
            ("k", "keys"),
            ("o", "origins"),
            ("r", "replicas"),
            ("p", "pause"),
        ],
    }
}
