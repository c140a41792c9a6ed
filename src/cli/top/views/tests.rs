//! Screens as text, against the files in `golden`. `UPDATE_GOLDEN=1` writes them.

use std::{env, fs, path::PathBuf};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::*;
use crate::{
    cli::top::{
        figures::{
            AnswerPart, Attention, HotKeyFigures, LeftOut, NamespaceFigures, OriginFigures,
            Percentiles, ReplicaFigures, ReportFigures, Severity, StepFigures, StoreFigures,
            Traffic,
        },
        keys,
    },
    pb::{from_duration, v1},
};

const MIB: u64 = 1024 * 1024;

/// A screen, with keys to press.
struct Sample {
    figures: TopFigures,
    detail: Option<NamespaceDetail>,
    state: ViewState,
    theme: Theme,
    failure: Option<&'static str>,
}

impl Sample {
    fn new() -> Self {
        Self {
            figures: figures(),
            detail: None,
            state: ViewState::default(),
            theme: Theme::new(true),
            failure: None,
        }
    }

    fn press(&mut self, code: KeyCode) {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        assert!(!keys::apply(key, &mut self.state, &self.figures));
    }

    fn press_all(&mut self, letters: &str) {
        letters.chars().for_each(|letter| self.press(KeyCode::Char(letter)));
    }

    fn draw(&mut self, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let scene = Scene {
            figures: &self.figures,
            detail: self.detail.as_ref(),
            state: &self.state,
            theme: self.theme,
            age: 12.0,
            failure: self.failure,
        };
        let mut drawn = Drawn::default();
        terminal.draw(|frame| drawn = draw(frame, &scene)).unwrap();
        (self.state.offset, self.state.drawn) = (drawn.offset, drawn.rows);
        terminal
    }

    fn text(&mut self, width: u16, height: u16) -> String {
        let terminal = self.draw(width, height);
        let buffer = terminal.backend().buffer();
        let rows = (0..height).map(|y| {
            let row: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            format!("{}\n", row.trim_end())
        });
        rows.collect()
    }

    /// Compares the screen with a file.
    #[track_caller]
    fn expect(&mut self, name: &str, width: u16, height: u16) {
        let shown = self.text(width, height);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/views/golden");
        let path = folder.join(format!("{name}.txt"));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &shown).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(shown == expected, "{} differs; the screen is\n{shown}", path.display());
    }
}

fn traffic(reads: f64, hit: f64, stale: f64, latency: (f64, f64)) -> Traffic {
    let trail = (0..15).map(|step| reads * (0.8 + 0.2 * f64::from(step % 4) / 3.0));
    Traffic {
        rate_window: 20.0,
        reads_per_second: reads,
        hit_rate: Some(hit / 100.0),
        stale_rate: Some(stale / 100.0),
        hit_latency: Percentiles {
            p50: Some(latency.0 / 1e3),
            p95: None,
            p99: Some(latency.1 / 1e3),
        },
        trail: trail.collect(),
        ..Traffic::default()
    }
}

fn namespace(name: &str, traffic: Traffic, size: (u64, u64), ttl: f64) -> NamespaceFigures {
    NamespaceFigures {
        namespace: name.to_owned(),
        traffic,
        keys: Some(size.0),
        bytes: Some(size.1 * MIB),
        ttl: Some(ttl),
        ..NamespaceFigures::default()
    }
}

fn figures() -> TopFigures {
    let mut namespaces = vec![
        namespace("user", traffic(8400.0, 97.2, 0.1, (0.21, 1.1)), (182_000, 96), 3600.0),
        namespace("points", traffic(4100.0, 81.4, 17.9, (0.24, 2.9)), (64_000, 22), 300.0),
        namespace("pickup", traffic(3000.0, 88.9, 0.4, (0.22, 1.4)), (41_000, 31), 300.0),
        namespace("locations", traffic(2200.0, 99.6, 0.0, (0.06, 0.4)), (9000, 4), 86_400.0),
        namespace("statistics", traffic(910.0, 43.0, 0.0, (0.31, 3.8)), (118_000, 140), 1800.0),
        namespace("company", traffic(640.0, 98.8, 0.0, (0.2, 0.9)), (3000, 1), 7200.0),
        namespace("areas", traffic(210.0, 94.1, 0.0, (0.22, 1.0)), (412, 2), 3600.0),
        namespace("drafts", traffic(75.0, 8.3, 0.0, (0.25, 1.2)), (51_000, 88), 604_800.0),
        namespace("a-name-that-is-rather-long", traffic(0.0, 0.0, 0.0, (0.2, 0.2)), (1, 0), 90.0),
    ];
    namespaces[1].marks = vec!["open"];
    namespaces[4].marks = vec!["cold"];
    namespaces[7].marks = vec!["cold"];
    // Without reads, the hit rate is that of the last hour.
    let idle = &mut namespaces[8].traffic;
    (idle.hit_rate, idle.stale_rate, idle.hit_rate_last_hour) = (None, None, Some(0.5));
    TopFigures {
        address: "shop-cache:50051".to_owned(),
        collected_at: Some("2026-11-30T22:57:03.512Z".to_owned()),
        totals: Traffic {
            fetches_per_second: 1400.0,
            fetches_saved: Some(0.94),
            sets_per_second: 1600.0,
            ..traffic(21_200.0, 92.4, 4.3, (0.34, 2.1))
        },
        store: StoreFigures {
            kind: "redis".to_owned(),
            server_version: Some("Redis 7.2.4".to_owned()),
            reachable: true,
            keys: 468_000,
            used_bytes: 156 * MIB,
            max_bytes: Some(256 * MIB),
            evictions_per_second: Some(0.0),
            ..StoreFigures::default()
        },
        attention: vec![
            attention(
                Severity::Critical,
                "origin points",
                "breaker open 40 s (connection refused)",
            ),
            attention(Severity::Warning, "drafts", "the cache answers 8.3 % of 6.5 M reads"),
            attention(Severity::Notice, "statistics", "the cache answers 43.0 % of 78.6 M reads"),
        ],
        namespaces,
        hot_keys: vec![
            hot_key("user", "7f3a\u{1b}[2J/profile", 1204.0, 14.3),
            hot_key("locations", "nearby:52.37:4.89", 866.0, 39.4),
            hot_key("points", "4711:balance", 412.0, 10.0),
        ],
        origins: vec![
            origin("points", 2.0, 2.0, 212, "open"),
            origin("pickup", 331.0, 0.4, 1, "ok"),
            origin("user", 118.0, 0.2, 0, "ok"),
        ],
        replicas: ["a1b2c3d4e5f60718", "b1b2c3d4e5f60718", "c1b2c3d4e5f60718"].map(replica).into(),
        last_hour: (0..59).map(step).collect(),
        ..TopFigures::default()
    }
}

fn attention(severity: Severity, subject: &str, text: &str) -> Attention {
    Attention { severity, subject: subject.to_owned(), text: text.to_owned() }
}

fn hot_key(namespace: &str, key: &str, reads: f64, share: f64) -> HotKeyFigures {
    HotKeyFigures {
        namespace: namespace.to_owned(),
        key: key.to_owned(),
        reads_per_second: reads,
        share: share / 100.0,
        ..HotKeyFigures::default()
    }
}

fn origin(name: &str, fetches: f64, p99: f64, failed: u64, state: &'static str) -> OriginFigures {
    OriginFigures {
        namespace: name.to_owned(),
        fetches_per_second: fetches,
        fetch_latency: Percentiles { p99: Some(p99), ..Percentiles::default() },
        fetches_failed: failed,
        state,
        state_for: (state == "open").then_some(40.0),
        in_flight: 2,
        url: Some(format!("http://{name}.internal:8080/{{key}}")),
        last_error: (state == "open").then(|| "connection refused".to_owned()),
        ..OriginFigures::default()
    }
}

fn replica(id: &str) -> ReplicaFigures {
    ReplicaFigures {
        id: id.to_owned(),
        version: "0.1.0".to_owned(),
        uptime: Some(3700.0),
        report: Some(ReportFigures {
            host: format!("shop-cache-{}", &id[..1]),
            requests_per_second: 7100.0,
            cpus: 0.42,
            resident_bytes: 61 * MIB,
            near_cache_bytes: 9 * MIB,
            in_flight: 3,
            connections: 12,
            store_available: !id.starts_with('c'),
            store_trouble: None,
        }),
        ..ReplicaFigures::default()
    }
}

fn detail() -> NamespaceDetail {
    let seconds = |seconds| Some(from_duration(std::time::Duration::from_secs(seconds)));
    let millis = |millis| Some(from_duration(std::time::Duration::from_millis(millis)));
    let latency =
        |p50, p95, p99| Some(v1::Latency { p50: millis(p50), p95: millis(p95), p99: millis(p99) });
    let counters = |factor: u64| v1::Counters {
        hits: 9_000 * factor,
        near_hits: 4_000 * factor,
        stale: 17 * factor,
        misses: 1_000 * factor,
        sets: 990 * factor,
        fetches: 995 * factor,
        hit_latency: latency(1, 2, 3),
        fetch_latency: latency(20, 100, 2000),
        ..v1::Counters::default()
    };
    NamespaceDetail {
        is_configured: Some(true),
        policy: Some(v1::NamespacePolicy {
            ttl: seconds(300),
            max_ttl: seconds(86_400),
            ttl_jitter: 0.1,
            max_value_bytes: MIB,
            stale_while_revalidate: seconds(60),
            stale_if_error: seconds(3600),
            lease_ttl: seconds(10),
            has_origin: true,
            near_cache_bytes: 16 * MIB,
        }),
        traffic: traffic(4100.0, 81.4, 17.9, (0.24, 2.9)),
        size: Some(v1::NamespaceSize {
            keys: 64_000,
            bytes: 22 * MIB,
            sampled: true,
            ttl: Vec::new(),
        }),
        last_hour: counters(1),
        last_day: counters(24),
        total: counters(1000),
        hot_keys: vec![hot_key("points", "4711:balance", 412.0, 10.0)],
        steps: (0..59).map(step).collect(),
    }
}

fn step(minute: u32) -> StepFigures {
    StepFigures {
        start: Some(format!("2026-11-30T21:{minute:02}:00Z")),
        reads_per_second: 4000.0 + 50.0 * f64::from(minute % 12),
        hit_rate: Some(0.8),
        hit_latency: Percentiles { p99: Some(0.003), ..Percentiles::default() },
        ..StepFigures::default()
    }
}

#[test]
fn overview_fits_in_several_sizes() {
    let mut sample = Sample::new();
    sample.expect("overview-80x24", 80, 24);
    sample.expect("overview-60x16", 60, 16);
    sample.expect("overview-120x40", 120, 40);
}

#[test]
fn panels_fill_the_screen() {
    for (key, name) in [("k", "hot-keys"), ("o", "origins"), ("r", "replicas"), ("?", "help")] {
        let mut sample = Sample::new();
        sample.press_all(key);
        sample.expect(&format!("{name}-80x24"), 80, 24);
    }
}

#[test]
fn namespace_has_policy_counters_latencies_and_hot_keys() {
    let mut sample = Sample::new();
    sample.press(KeyCode::Down);
    sample.press(KeyCode::Enter);
    sample.detail = Some(detail());
    sample.expect("namespace-80x24", 80, 24);
    sample.expect("namespace-60x16", 60, 16);
    sample.expect("namespace-120x40", 120, 40);
}

#[test]
fn filter_is_shown_and_applies_to_all_panels() {
    let mut sample = Sample::new();
    sample.press_all("fpo");
    sample.expect("filter-80x24", 80, 24);
    sample.press(KeyCode::Enter);
    sample.press_all("sss");
    let text = sample.text(80, 24);
    assert!(text.contains("filter: po") && text.contains("\u{25bc}P50"), "{text}");
}

#[test]
fn a_server_without_an_answer_is_shown_with_the_last_figures() {
    let mut sample = Sample::new();
    sample.failure = Some("cannot connect to shop-cache:50051: connection refused");
    let left = |part| LeftOut { part, reason: "the caller has no permission for it".to_owned() };
    sample.figures.left_out = vec![left(AnswerPart::HotKeys), left(AnswerPart::Policies)];
    sample.figures.hot_keys.clear();
    sample.figures.store.reachable = false;
    sample.press_all("p");
    sample.expect("no-answer-100x40", 100, 40);
}

#[test]
fn the_selected_row_is_visible() {
    let mut sample = Sample::new();
    sample.figures.namespaces = (0..100)
        .map(|number| {
            let reads = traffic(f64::from(100 - number), 50.0, 0.0, (1.0, 1.0));
            namespace(&format!("namespace-{number:02}"), reads, (1, 1), 60.0)
        })
        .collect();
    sample.draw(80, 24);
    for (code, expected) in [
        (KeyCode::PageDown, "namespace-10"),
        (KeyCode::End, "namespace-99"),
        (KeyCode::Home, "namespace-00"),
    ] {
        sample.press(code);
        let text = sample.text(80, 24);
        let rows = sample.state.drawn;
        assert!(text.contains(expected), "{code:?}: {rows:?}\n{text}");
        assert_eq!(text.matches("namespace-").count(), rows.fitting);
    }
}

#[test]
fn a_small_terminal_gets_a_sentence() {
    for (width, height) in [(59, 16), (60, 15), (10, 1), (1, 1)] {
        let text = Sample::new().text(width, height);
        assert!(!text.contains("NAMESPACE"), "{text}");
    }
    let text = Sample::new().text(59, 15);
    assert!(text.starts_with("larder top needs at least 60x16; this terminal has 59x15"), "{text}");
}

#[test]
fn every_size_is_drawn_in_every_panel() {
    for key in ["", "k", "o", "r", "?", "\n", "f"] {
        for (width, height) in [(60, 16), (61, 19), (66, 20), (79, 31), (100, 50), (300, 100)] {
            let mut sample = Sample::new();
            sample.detail = Some(detail());
            if key == "\n" {
                sample.press(KeyCode::Enter)
            } else {
                sample.press_all(key)
            }
            let text = sample.text(width, height);
            assert!(text.starts_with("larder top   shop-cache:50051"), "{text}");
        }
    }
}

#[test]
fn no_cell_has_a_colour_without_colours() {
    let mut sample = Sample::new();
    let colored = |sample: &mut Sample| {
        let terminal = sample.draw(120, 40);
        let cells = terminal.backend().buffer().content.iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(colored(&mut sample) > 0);
    sample.theme = Theme::new(false);
    assert_eq!(colored(&mut sample), 0);
}
