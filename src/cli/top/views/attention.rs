//! Lines on what needs attention, as far as there is space.

use std::time::Duration;

use ratatui::text::{Line, Span};

use super::{
    Scene,
    line::{shortened, two_sided},
};
use crate::cli::{
    figures::escape,
    top::{
        figures::{Attention, Severity},
        units,
    },
};

/// At most `limit` lines, the gravest first; the last one has the number of those left out.
pub(super) fn lines(scene: &Scene<'_>, limit: usize, width: u16) -> Vec<Line<'static>> {
    let all = all(scene);
    let left_out = all.len().saturating_sub(limit);
    let mut lines: Vec<Line<'static>> =
        all.iter().take(limit).map(|one| line(scene, one, width)).collect();
    if left_out > 0 && lines.pop().is_some() {
        let more = Line::from(Span::styled(format!(" +{left_out} more"), scene.theme.dim()));
        let space = width.saturating_sub(u16::try_from(more.width()).unwrap_or(0) + 1);
        let shown = line(scene, &all[limit - 1], space);
        lines.push(two_sided(shown, more, width));
    }
    lines
}

/// All lines: the connection, the figures, and the parts that are left out.
fn all(scene: &Scene<'_>) -> Vec<Attention> {
    let connection = scene.failure.map(|failure| Attention {
        severity: Severity::Critical,
        subject: "server".to_owned(),
        text: format!("figures are {} old: {failure}", units::span(age(scene))),
    });
    let left_out = scene.figures.left_out.iter().map(|left| Attention {
        severity: Severity::Notice,
        subject: format!("no {}", left.part.name()),
        text: left.reason.clone(),
    });
    let attention = scene.figures.attention.iter().cloned();
    connection.into_iter().chain(attention).chain(left_out).collect()
}

fn age(scene: &Scene<'_>) -> Duration {
    Duration::try_from_secs_f64(scene.age).unwrap_or_default()
}

fn line(scene: &Scene<'_>, attention: &Attention, width: u16) -> Line<'static> {
    let style = scene.theme.severity(attention.severity);
    let sign = if attention.severity == Severity::Notice { "-" } else { "!" };
    let subject = format!("{sign} {}: ", escape(&attention.subject));
    let subject = Span::styled(shortened(&subject, usize::from(width)), style);
    let space = usize::from(width).saturating_sub(subject.width());
    Line::from(vec![subject, Span::raw(shortened(&escape(&attention.text), space))])
}
