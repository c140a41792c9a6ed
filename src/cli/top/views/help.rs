//! The keys, and the meaning of the figures.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::Scene;
use crate::cli::top::state::DrawnRows;

/// Keys and their meanings, then words and theirs.
const TEXTS: [(&str, &str); 32] = [
    ("s, S", "sort by the next column; reverse the order"),
    ("f, /", "filter by a part of the name; Esc clears it"),
    ("Enter", "the selected namespace: policy, counters, latencies, hot keys"),
    ("k, o, r", "hot keys; origins; replicas; the same key goes back"),
    ("p, Space", "pause: no calls to the server until it is pressed again"),
    ("arrows", "select a namespace, or scroll; also PgUp, PgDn, Home, End"),
    ("Esc", "go back; in the overview: quit"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("READS/S", "entries read per second, by all replicas together"),
    ("HIT %", "share of the reads that the cache answered, stale values included;"),
    ("", "dim: of the last hour, as there were no reads in the last seconds"),
    ("STALE %", "share of the reads that were answered with stale values"),
    ("P50, P99", "latency of hits in the server in the last hour, in milliseconds"),
    ("KEYS, BYTES", "entries in the store, and their memory"),
    ("TTL", "time to live of the policy"),
    ("LAST 60 S", "reads per second; the highest of the row has the full height"),
    ("saved", "share of the reads that needed no call to an origin"),
    ("CALLS/S", "answers of an origin per second; P99 and ERRORS of the last hour"),
    ("FOR, WAITING", "time for which a breaker is open; calls that wait for an answer"),
    ("REQ/S, CPUS", "of a replica: requests per second, and processors in use"),
    ("", ""),
    ("rates of", "time over which rates are measured: of the last 20 s, when top has"),
    ("", "run for 10 s; before that, of the last hour"),
    ("", ""),
    ("! open", "the circuit breaker of the origin rejects calls, on a replica or more"),
    ("! failing", "5 % or more of at least ten calls to the origin fail"),
    ("! cold", "fewer than half of the reads are hits"),
    ("paused", "the figures do not change"),
    ("", ""),
    ("--once", "prints all figures as text, and with --json as JSON"),
    ("NO_COLOR", "a variable with any value turns colours off"),
];

pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>, area: Rect) -> DrawnRows {
    let line = |(name, meaning): &(&'static str, &'static str)| {
        let name = Span::styled(format!("{name:<13}"), scene.theme.heading());
        Line::from(vec![name, Span::raw(*meaning)])
    };
    let lines: Vec<Line<'_>> = TEXTS.iter().skip(scene.panel_offset()).map(line).collect();
    frame.render_widget(Paragraph::new(lines), area);
    DrawnRows { fitting: usize::from(area.height), all: TEXTS.len() }
}
