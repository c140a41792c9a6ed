//! The table of the namespaces.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Style,
    text::{Line, Span},
    widgets::{Row, Table, TableState},
};

use super::{Scene, line::shortened};
use crate::cli::{
    figures::{dash, escape},
    top::{
        figures::{NamespaceFigures, Severity, Traffic},
        model::TRAIL_COLUMNS,
        state::{DrawnRows, SortColumn},
        units,
    },
};

const NAME_WIDTH: u16 = 15;
const LONGEST_NAME: u16 = 40;
const TRAIL_WIDTH: u16 = TRAIL_COLUMNS as u16;
const SHORTEST_TRAIL: u16 = 6;
const MARKS_WIDTH: u16 = 16;

/// A column with figures, at the right of the names.
struct FigureColumn {
    title: &'static str,
    width: u16,
    /// Columns of the table from which it is shown.
    from: u16,
    sort: SortColumn,
    /// The text, and whether it is of the last hour while others are of the last seconds.
    show: fn(&NamespaceFigures) -> (String, bool),
}

const COLUMNS: [FigureColumn; 8] = [
    FigureColumn {
        title: "READS/S",
        width: 7,
        from: 0,
        sort: SortColumn::Reads,
        show: |row| (units::rate(row.traffic.reads_per_second), false),
    },
    FigureColumn {
        title: "HIT %",
        width: 5,
        from: 0,
        sort: SortColumn::HitRate,
        show: |row| share(row.traffic.shown_hit_rate(), &row.traffic),
    },
    FigureColumn {
        title: "STALE %",
        width: 7,
        from: 0,
        sort: SortColumn::StaleRate,
        show: |row| share(row.traffic.shown_stale_rate(), &row.traffic),
    },
    FigureColumn {
        title: "P50",
        width: 5,
        from: 72,
        sort: SortColumn::P50,
        show: |row| (row.traffic.hit_latency.p50.map_or_else(dash, units::millis), false),
    },
    FigureColumn {
        title: "P99",
        width: 5,
        from: 0,
        sort: SortColumn::P99,
        show: |row| (row.traffic.hit_latency.p99.map_or_else(dash, units::millis), false),
    },
    FigureColumn {
        title: "KEYS",
        width: 6,
        from: 0,
        sort: SortColumn::Keys,
        show: |row| (row.keys.map_or_else(dash, units::count), false),
    },
    FigureColumn {
        title: "BYTES",
        width: 8,
        from: 0,
        sort: SortColumn::Bytes,
        show: |row| (row.bytes.map_or_else(dash, units::bytes), false),
    },
    FigureColumn {
        title: "TTL",
        width: 5,
        from: 66,
        sort: SortColumn::Ttl,
        show: |row| {
            let ttl = row.ttl.and_then(|ttl| Duration::try_from_secs_f64(ttl).ok());
            (ttl.map_or_else(dash, units::setting), false)
        },
    },
];

/// Widths of the columns that depend on that of the table.
struct Widths {
    name: u16,
    trail: u16,
    marks: u16,
}

/// Draws the table, with its header. Returns the first row that is drawn, and the rows.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> (usize, DrawnRows) {
    let rows = scene.state.rows(scene.figures);
    let drawn = DrawnRows { fitting: usize::from(area.height.saturating_sub(1)), all: rows.len() };
    let columns: Vec<&FigureColumn> =
        COLUMNS.iter().filter(|column| area.width >= column.from).collect();
    let widths = widths(area.width, &columns, &rows);
    let mut constraints = vec![Constraint::Length(widths.name)];
    constraints.extend(columns.iter().map(|column| Constraint::Length(column.width)));
    for width in [widths.trail, widths.marks] {
        if width > 0 {
            constraints.push(Constraint::Length(width));
        }
    }
    let lines = rows.iter().map(|row| table_row(scene, row, &columns, &widths));
    let table = Table::new(lines, constraints)
        .header(header(scene, &columns, &widths))
        .row_highlight_style(scene.theme.selected());
    let selected = (!rows.is_empty()).then(|| scene.state.selected_row(&rows));
    let mut state = TableState::new().with_offset(scene.state.offset).with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
    (state.offset(), drawn)
}

/// The space beside the figures goes to the trail, then to the marks, then to the names.
fn widths(width: u16, columns: &[&FigureColumn], rows: &[&NamespaceFigures]) -> Widths {
    let fixed: u16 = columns.iter().map(|column| column.width + 1).sum();
    let mut free = width.saturating_sub(fixed + NAME_WIDTH);
    let mut take = |least: u16, most: u16| {
        let taken = if free > least { most.min(free - 1) } else { 0 };
        free -= if taken > 0 { taken + 1 } else { 0 };
        taken
    };
    let trail = take(SHORTEST_TRAIL, TRAIL_WIDTH);
    let marks = take(MARKS_WIDTH, MARKS_WIDTH);
    let longest = rows.iter().map(|row| Span::raw(&row.namespace).width() + 1).max();
    let wanted = u16::try_from(longest.unwrap_or(0)).unwrap_or(LONGEST_NAME).min(LONGEST_NAME);
    let name = (NAME_WIDTH + free).min(wanted.max(NAME_WIDTH));
    Widths { name, trail, marks }
}

fn header(scene: &Scene<'_>, columns: &[&FigureColumn], widths: &Widths) -> Row<'static> {
    let state = scene.state;
    let arrow = if state.is_reversed { "\u{25b2}" } else { "\u{25bc}" };
    let title = |title: &'static str, sort: SortColumn, width: u16| {
        let style = scene.theme.heading();
        if sort != state.sort {
            return Line::styled(title, style);
        }
        // The arrow takes the place of a space at the left, or of the end of a long title.
        let shown = shortened(title, usize::from(width.saturating_sub(1)));
        Line::styled(format!("{arrow}{}", shown.replace('\u{2026}', "")), style)
    };
    let name = title(" NAMESPACE", SortColumn::Namespace, widths.name);
    let mut cells = vec![name];
    cells.extend(columns.iter().map(|one| title(one.title, one.sort, one.width).right_aligned()));
    if widths.trail > 0 {
        let name = if widths.trail < 9 { "LAST 60s" } else { "LAST 60 S" };
        cells.push(Line::styled(name, scene.theme.heading()));
    }
    if widths.marks > 0 {
        cells.push(Line::default());
    }
    Row::new(cells)
}

fn table_row(
    scene: &Scene<'_>,
    row: &NamespaceFigures,
    columns: &[&FigureColumn],
    widths: &Widths,
) -> Row<'static> {
    let is_marked = !row.marks.is_empty();
    let style = if is_marked { scene.theme.severity(Severity::Warning) } else { Style::default() };
    let sign = if is_marked { "!" } else { " " };
    let name = shortened(&escape(&row.namespace), usize::from(widths.name.saturating_sub(1)));
    let mut cells = vec![Line::styled(format!("{sign}{name}"), style)];
    cells.extend(columns.iter().map(|column| {
        let (text, is_of_hour) = (column.show)(row);
        let style = if is_of_hour { scene.theme.dim() } else { Style::default() };
        Line::styled(text, style).right_aligned()
    }));
    if widths.trail > 0 {
        let trail = units::sparkline(&row.traffic.trail, usize::from(widths.trail));
        cells.push(Line::styled(trail, scene.theme.graph()));
    }
    if widths.marks > 0 {
        cells.push(Line::styled(row.marks.join(" "), style));
    }
    Row::new(cells)
}

/// A share in percent. Without reads in the last seconds it is of the last hour.
fn share(share: Option<f64>, traffic: &Traffic) -> (String, bool) {
    (share.map_or_else(dash, units::share), traffic.hit_rate.is_none())
}
