//! Hot keys, origins and replicas: tables below the namespaces, or on the whole screen.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Row, Table, TableState},
};

use super::{Scene, line::shortened};
use crate::cli::{
    figures::{dash, escape},
    top::{
        figures::{
            AnswerPart, HotKeyFigures, OriginFigures, ReplicaFigures, ReportFigures, Severity,
        },
        state::{DrawnRows, Panel},
        units,
    },
};

/// Titles of columns with numbers.
const NUMBERS: [&str; 14] = [
    "READS/S", "SHARE %", "CALLS/S", "P99", "ERRORS", "FOR", "WAITING", "REQ/S", "CPUS", "MEMORY",
    "UP", "CALLS", "CONNS", "NEAR",
];

/// A table whose first column takes the space that is left.
struct PanelTable {
    /// Titles and widths; a width of zero is the rest, which these columns share.
    columns: Vec<(&'static str, u16)>,
    rows: Vec<Vec<Line<'static>>>,
    /// In place of rows.
    note: String,
}

/// Hot keys of the namespaces that the filter admits.
pub(super) fn hot_keys(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> DrawnRows {
    let admitted = |row: &&HotKeyFigures| scene.state.admits(&row.namespace);
    let row = |row: &HotKeyFigures| {
        let params = row.params_digest.as_ref().map(|digest| format!(" {digest}"));
        vec![
            name(&row.namespace),
            name(&(row.key.clone() + &params.unwrap_or_default())),
            figure(units::rate(row.reads_per_second)),
            figure(units::share(row.share)),
        ]
    };
    let table = PanelTable {
        columns: vec![("HOT KEYS OF", 12), ("KEY", 0), ("READS/S", 7), ("SHARE %", 7)],
        rows: scene.figures.hot_keys.iter().filter(admitted).map(row).collect(),
        note: note(scene, AnswerPart::HotKeys, "no key is read often"),
    };
    draw(frame, scene, table, area)
}

/// Origins of the namespaces that the filter admits.
pub(super) fn origins(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> DrawnRows {
    let is_wide = scene.state.panel == Panel::Origins;
    let admitted = |row: &&OriginFigures| scene.state.admits(&row.namespace);
    let row = |row: &OriginFigures| {
        let style = match row.state {
            "ok" => scene.theme.good(),
            "open" => scene.theme.severity(Severity::Critical),
            _ => scene.theme.severity(Severity::Warning),
        };
        let latency = row.fetch_latency.p99.map_or_else(dash, units::latency);
        let mut cells = vec![
            name(&row.namespace),
            figure(units::rate(row.fetches_per_second)),
            figure(latency),
            figure(units::count(row.fetches_failed)),
            Line::styled(row.state.replace('_', " "), style),
        ];
        if is_wide {
            let time = row.state_for.and_then(|time| Duration::try_from_secs_f64(time).ok());
            cells.push(figure(time.map_or_else(dash, units::span)));
            cells.push(figure(units::count(row.in_flight)));
            let error = row.last_error.as_ref().or(row.url.as_ref());
            cells.push(name(error.map_or("", String::as_str)));
        }
        cells
    };
    let mut columns = vec![("ORIGINS", 0), ("CALLS/S", 7), ("P99", 7), ("ERRORS", 6), ("STATE", 9)];
    if is_wide {
        columns.extend([("FOR", 5), ("WAITING", 7), ("LAST ERROR, OR ADDRESS", 0)]);
    }
    let table = PanelTable {
        columns,
        rows: scene.figures.origins.iter().filter(admitted).map(row).collect(),
        note: note(scene, AnswerPart::Policies, "no namespace has an origin"),
    };
    draw(frame, scene, table, area)
}

/// Replicas.
pub(super) fn replicas(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> DrawnRows {
    let is_wide = scene.state.panel == Panel::Replicas;
    let row = |row: &ReplicaFigures| {
        let uptime = row.uptime.and_then(|uptime| Duration::try_from_secs_f64(uptime).ok());
        let uptime = uptime.map_or_else(dash, units::span);
        let report = row.report.as_ref();
        let shown = |of: fn(&ReportFigures) -> String| figure(report.map_or_else(dash, of));
        let host = report.map_or(&row.id, |report| &report.host);
        let mut cells = vec![
            name(host),
            shown(|report| units::rate(report.requests_per_second)),
            shown(|report| format!("{:.2}", report.cpus)),
            shown(|report| units::bytes(report.resident_bytes)),
            figure(uptime),
        ];
        if is_wide {
            let store = match report.map(|report| report.store_available) {
                Some(true) => Line::styled("ok", scene.theme.good()),
                Some(false) => Line::styled("down", scene.theme.severity(Severity::Critical)),
                None => Line::raw("-"),
            };
            cells.extend([
                shown(|report| units::count(report.in_flight)),
                shown(|report| units::count(report.connections)),
                shown(|report| units::bytes(report.near_cache_bytes)),
                store,
                name(&row.version),
            ]);
        }
        cells
    };
    let mut columns = vec![("REPLICAS", 0), ("REQ/S", 6), ("CPUS", 5), ("MEMORY", 8), ("UP", 4)];
    if is_wide {
        let more = [("CALLS", 6), ("CONNS", 5), ("NEAR", 8), ("STORE", 5), ("VERSION", 7)];
        columns.extend(more);
    }
    let table = PanelTable {
        columns,
        rows: scene.figures.replicas.iter().map(row).collect(),
        note: String::new(),
    };
    draw(frame, scene, table, area)
}

fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, table: PanelTable, area: Rect) -> DrawnRows {
    let all = table.rows.len();
    let drawn = DrawnRows { fitting: usize::from(area.height.saturating_sub(1)), all };
    let is_number = |title: &str| NUMBERS.contains(&title);
    let header = table.columns.iter().map(|(title, _)| {
        let line = Line::styled(*title, scene.theme.heading());
        if is_number(title) { line.right_aligned() } else { line }
    });
    let constraints = table.columns.iter().map(|(_, width)| match width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(*width),
    });
    if table.rows.is_empty() {
        let [header_area, note_area] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        frame.render_widget(
            Table::new(Vec::<Row<'_>>::new(), constraints).header(Row::new(header)),
            header_area,
        );
        let text = shortened(&escape(&table.note), usize::from(area.width));
        frame.render_widget(Span::styled(text, scene.theme.dim()), note_area);
        return drawn;
    }
    let shown =
        Table::new(table.rows.into_iter().map(Row::new), constraints).header(Row::new(header));
    let offset = scene.panel_offset().min(all.saturating_sub(1));
    frame.render_stateful_widget(shown, area, &mut TableState::new().with_offset(offset));
    drawn
}

/// The reason why a part is left out, or a sentence on an empty one.
fn note(scene: &Scene<'_>, part: AnswerPart, empty: &str) -> String {
    let left_out = scene.figures.left_out.iter().find(|left| left.part == part);
    left_out.map_or_else(|| empty.to_owned(), |left| left.reason.clone())
}

fn name(text: &str) -> Line<'static> {
    Line::styled(escape(text), Style::default())
}

fn figure(text: String) -> Line<'static> {
    Line::raw(text).right_aligned()
}
