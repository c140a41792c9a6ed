//! The figures as widgets. A view has no state of its own and makes no calls.

mod attention;
mod detail;
mod footer;
mod header;
mod help;
mod line;
mod namespaces;
mod panels;
mod theme;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Text,
    widgets::{Paragraph, Wrap},
};

pub(super) use self::theme::Theme;
use super::{
    figures::TopFigures,
    model::NamespaceDetail,
    state::{DrawnRows, Panel, ViewState},
};

/// Smallest terminal.
const LEAST_WIDTH: u16 = 60;
const LEAST_HEIGHT: u16 = 16;
/// Lines from which there are panels below the namespaces.
const HEIGHT_WITH_PANELS: u16 = 20;
/// Columns from which the replicas are beside the hot keys and the origins.
const WIDTH_OF_THREE: u16 = 120;
/// Columns of the replicas beside them.
const LEAST_REPLICAS_WIDTH: u16 = 35;

/// Content of the screen.
pub(super) struct Scene<'a> {
    pub(super) figures: &'a TopFigures,
    /// The namespace of the panel.
    pub(super) detail: Option<&'a NamespaceDetail>,
    pub(super) state: &'a ViewState,
    pub(super) theme: Theme,
    /// Time since the last answer, in seconds.
    pub(super) age: f64,
    /// Why the last calls had no answer.
    pub(super) failure: Option<&'a str>,
}

/// Facts of a drawn screen that the next keys refer to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    /// The first row of the namespaces.
    pub(super) offset: usize,
    pub(super) rows: DrawnRows,
}

impl Scene<'_> {
    /// The first row of a panel on the whole screen. Below the namespaces, it is the first one.
    fn panel_offset(&self) -> usize {
        let is_overview = self.state.panel == Panel::Overview && !self.state.has_help;
        if is_overview { 0 } else { self.state.offset }
    }
}

/// Draws the screen.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) -> Drawn {
    let area = frame.area();
    if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
        return draw_too_small(frame, area);
    }
    let attention = attention::lines(scene, attention_limit(area.height), area.width);
    let attention_height = u16::try_from(attention.len()).unwrap_or(0);
    let [top, middle, _, body, bottom] = Layout::vertical([
        Constraint::Length(header::LINES),
        Constraint::Length(attention_height),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Text::from(header::lines(scene, area.width)), top);
    frame.render_widget(Text::from(attention), middle);
    frame.render_widget(footer::line(scene, area.width), bottom);
    let offset = scene.state.offset;
    if scene.state.has_help {
        return Drawn { offset, rows: help::draw(frame, scene, body) };
    }
    let rows = match &scene.state.panel {
        Panel::Overview => return draw_overview(frame, scene, body),
        Panel::Namespace(name) => detail::draw(frame, scene, name, body),
        Panel::HotKeys => panels::hot_keys(frame, scene, body),
        Panel::Origins => panels::origins(frame, scene, body),
        Panel::Replicas => panels::replicas(frame, scene, body),
    };
    Drawn { offset, rows }
}

/// Most lines on what needs attention.
fn attention_limit(height: u16) -> usize {
    match height {
        ..20 => 1,
        20..30 => 2,
        30.. => usize::from(height / 8),
    }
}

fn draw_overview(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> Drawn {
    let panels_height = if frame.area().height < HEIGHT_WITH_PANELS {
        0
    } else {
        // The header of a panel, and its rows.
        1 + (area.height / 4).max(3)
    };
    let gap = u16::from(panels_height > 0);
    let [namespaces, _, panels] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(gap),
        Constraint::Length(panels_height),
    ])
    .areas(area);
    let (offset, rows) = namespaces::draw(frame, scene, namespaces);
    if panels_height > 0 {
        draw_panels(frame, scene, panels);
    }
    Drawn { offset, rows }
}

fn draw_panels(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) {
    if area.width < WIDTH_OF_THREE {
        let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
        let [left, right] = halves.areas(area);
        panels::hot_keys(frame, scene, left);
        panels::origins(frame, scene, right);
        return;
    }
    let replicas_width = (area.width / 4).max(LEAST_REPLICAS_WIDTH);
    let thirds = [Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(replicas_width)];
    let [left, middle, right] = Layout::horizontal(thirds).spacing(2).areas(area);
    panels::hot_keys(frame, scene, left);
    panels::origins(frame, scene, middle);
    panels::replicas(frame, scene, right);
}

fn draw_too_small(frame: &mut Frame<'_>, area: Rect) -> Drawn {
    let text = format!(
        "larder top needs at least {LEAST_WIDTH}x{LEAST_HEIGHT}; this terminal has {}x{}",
        area.width, area.height
    );
    let wrapped = Paragraph::new(text).wrap(Wrap { trim: true });
    frame.render_widget(wrapped, area);
    Drawn::default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
