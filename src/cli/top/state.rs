//! The state of the view: its panel, order, filter, selection and position.

use super::figures::{NamespaceFigures, TopFigures};

/// Longest filter, in characters.
const FILTER_CHARS: usize = 64;

/// Panel, order, filter and position of the view.
#[derive(Debug, Default)]
pub(super) struct ViewState {
    pub(super) panel: Panel,
    pub(super) has_help: bool,
    pub(super) sort: SortColumn,
    pub(super) is_reversed: bool,
    /// Part of the names of the namespaces that are shown.
    pub(super) filter: String,
    /// Keys are letters of the filter.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// The selected namespace; none: the first row.
    pub(super) selected: Option<String>,
    /// The first row that is drawn.
    pub(super) offset: usize,
    /// Rows of the panel, as they were drawn last.
    pub(super) drawn: DrawnRows,
}

/// Rows of a panel on the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DrawnRows {
    /// Rows that fit.
    pub(super) fitting: usize,
    /// All rows.
    pub(super) all: usize,
}

/// Panels, one of which is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Panel {
    /// The namespaces, and the most important rows of the others.
    #[default]
    Overview,
    /// One namespace.
    Namespace(String),
    HotKeys,
    Origins,
    Replicas,
}

/// Columns by which the namespaces can be sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SortColumn {
    #[default]
    Reads,
    HitRate,
    StaleRate,
    P50,
    P99,
    Keys,
    Bytes,
    Ttl,
    Namespace,
}

/// Commands of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    /// Clears the filter, closes the panel, or quits.
    Back,
    Sort,
    Reverse,
    Filter,
    Open,
    HotKeys,
    Origins,
    Replicas,
    Pause,
    Help,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl SortColumn {
    const ALL: [Self; 9] = [
        Self::Reads,
        Self::HitRate,
        Self::StaleRate,
        Self::P50,
        Self::P99,
        Self::Keys,
        Self::Bytes,
        Self::Ttl,
        Self::Namespace,
    ];

    fn next(self) -> Self {
        let position = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        Self::ALL[(position + 1) % Self::ALL.len()]
    }

    /// The figure of a row; none sorts last. Names are compared as texts.
    fn figure(self, row: &NamespaceFigures) -> Option<f64> {
        let traffic = &row.traffic;
        match self {
            Self::Reads => Some(traffic.reads_per_second),
            Self::HitRate => traffic.shown_hit_rate(),
            Self::StaleRate => traffic.shown_stale_rate(),
            Self::P50 => traffic.hit_latency.p50,
            Self::P99 => traffic.hit_latency.p99,
            Self::Keys => row.keys.map(|keys| keys as f64),
            Self::Bytes => row.bytes.map(|bytes| bytes as f64),
            Self::Ttl => row.ttl,
            Self::Namespace => None,
        }
    }
}

impl ViewState {
    /// The namespaces that the filter admits, in order.
    pub(super) fn rows<'a>(&self, figures: &'a TopFigures) -> Vec<&'a NamespaceFigures> {
        let mut rows: Vec<&NamespaceFigures> =
            figures.namespaces.iter().filter(|row| self.admits(&row.namespace)).collect();
        rows.sort_by(|one, other| {
            let names = one.namespace.cmp(&other.namespace);
            let (a, b) = (self.sort.figure(one), self.sort.figure(other));
            // Names ascend, and figures descend.
            let order = match (a, b) {
                (Some(a), Some(b)) if self.is_reversed => a.total_cmp(&b),
                (Some(a), Some(b)) => b.total_cmp(&a),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) if self.is_reversed && self.sort == SortColumn::Namespace => {
                    names.reverse()
                }
                (None, None) => names,
            };
            order.then(names)
        });
        rows
    }

    /// Whether the filter admits a namespace.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        let filter = self.filter.to_lowercase();
        filter.is_empty() || namespace.to_lowercase().contains(&filter)
    }

    /// The position of the selected namespace among the rows. One that is not among them keeps the
    /// selection for its return.
    pub(super) fn selected_row(&self, rows: &[&NamespaceFigures]) -> usize {
        let selected = self.selected.as_ref();
        rows.iter().position(|row| Some(&row.namespace) == selected).unwrap_or(0)
    }

    /// Adds a letter to the filter, or removes the last one.
    pub(super) fn edit_filter(&mut self, letter: Option<char>) {
        match letter {
            Some(letter) if self.filter.chars().count() < FILTER_CHARS => self.filter.push(letter),
            Some(_) => {}
            None => _ = self.filter.pop(),
        }
        self.offset = 0;
    }

    /// Runs a command. Returns whether the view ends.
    pub(super) fn run(&mut self, command: Command, figures: &TopFigures) -> bool {
        match command {
            Command::Quit => return true,
            Command::Back => return self.go_back(),
            Command::Sort => self.sort = self.sort.next(),
            Command::Reverse => self.is_reversed = !self.is_reversed,
            Command::Filter => {
                self.show(Panel::Overview);
                self.is_typing = true;
            }
            Command::Open => self.open(figures),
            Command::HotKeys => self.toggle(Panel::HotKeys),
            Command::Origins => self.toggle(Panel::Origins),
            Command::Replicas => self.toggle(Panel::Replicas),
            Command::Pause => self.is_paused = !self.is_paused,
            Command::Help => {
                self.has_help = !self.has_help;
                self.offset = 0;
            }
            Command::Up => self.move_by(|row, _| row.saturating_sub(1), figures),
            Command::Down => self.move_by(|row, _| row.saturating_add(1), figures),
            Command::PageUp => self.move_by(usize::saturating_sub, figures),
            Command::PageDown => self.move_by(usize::saturating_add, figures),
            Command::Home => self.move_by(|_, _| 0, figures),
            Command::End => self.move_by(|_, _| usize::MAX, figures),
        }
        false
    }

    fn go_back(&mut self) -> bool {
        if self.has_help {
            self.has_help = false;
            self.offset = 0;
        } else if self.panel != Panel::Overview {
            self.show(Panel::Overview);
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            return true;
        }
        false
    }

    fn show(&mut self, panel: Panel) {
        self.panel = panel;
        self.has_help = false;
        self.offset = 0;
    }

    /// Shows a panel, or the overview if it is shown.
    fn toggle(&mut self, panel: Panel) {
        let next = if self.panel == panel { Panel::Overview } else { panel };
        self.show(next);
    }

    fn open(&mut self, figures: &TopFigures) {
        let rows = self.rows(figures);
        if self.panel == Panel::Overview
            && let Some(row) = rows.get(self.selected_row(&rows))
        {
            let name = row.namespace.clone();
            self.selected = Some(name.clone());
            self.show(Panel::Namespace(name));
        }
    }

    /// Moves the selection of the overview, or the first row of another panel. `position` gets the
    /// row and the rows of a page.
    fn move_by(&mut self, position: impl Fn(usize, usize) -> usize, figures: &TopFigures) {
        let page = self.drawn.fitting.max(1);
        if self.panel == Panel::Overview && !self.has_help {
            let rows = self.rows(figures);
            let row = position(self.selected_row(&rows), page).min(rows.len().saturating_sub(1));
            self.selected = rows.get(row).map(|row| row.namespace.clone());
        } else {
            let last = self.drawn.all.saturating_sub(self.drawn.fitting);
            self.offset = position(self.offset, page).min(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::figures::Traffic;

    fn figures(reads: &[(&str, f64)]) -> TopFigures {
        let row = |(name, reads): &(&str, f64)| NamespaceFigures {
            namespace: (*name).to_owned(),
            traffic: Traffic { reads_per_second: *reads, ..Traffic::default() },
            keys: (*name != "a").then_some(name.len() as u64),
            ..NamespaceFigures::default()
        };
        TopFigures { namespaces: reads.iter().map(row).collect(), ..TopFigures::default() }
    }

    fn names(state: &ViewState, figures: &TopFigures) -> Vec<String> {
        state.rows(figures).iter().map(|row| row.namespace.clone()).collect()
    }

    #[test]
    fn rows_are_sorted_by_each_column_and_reversed() {
        let figures = figures(&[("a", 1.0), ("bb", 3.0), ("ccc", 2.0)]);
        let mut state = ViewState::default();
        assert_eq!(names(&state, &figures), ["bb", "ccc", "a"]);
        state.run(Command::Reverse, &figures);
        assert_eq!(names(&state, &figures), ["a", "ccc", "bb"]);
        state.sort = SortColumn::Keys;
        assert_eq!(names(&state, &figures), ["bb", "ccc", "a"]);
        state.run(Command::Reverse, &figures);
        assert_eq!(names(&state, &figures), ["ccc", "bb", "a"]);
        state.sort = SortColumn::Namespace;
        assert_eq!(names(&state, &figures), ["a", "bb", "ccc"]);
        state.run(Command::Sort, &figures);
        assert_eq!(state.sort, SortColumn::Reads);
    }

    #[test]
    fn the_selected_row_stays_selected_when_rows_change_places() {
        let before = figures(&[("a", 1.0), ("b", 3.0), ("c", 2.0)]);
        let after = figures(&[("a", 9.0), ("b", 3.0), ("c", 20.0)]);
        let mut state = ViewState::default();
        state.run(Command::Down, &before);
        assert_eq!(state.selected.as_deref(), Some("c"));
        assert_eq!(state.selected_row(&state.rows(&before)), 1);
        assert_eq!(state.selected_row(&state.rows(&after)), 0);
        state.run(Command::End, &after);
        assert_eq!(state.selected.as_deref(), Some("b"));
    }

    #[test]
    fn moves_end_at_the_first_and_the_last_row() {
        let figures = figures(&[("a", 3.0), ("b", 2.0), ("c", 1.0)]);
        let drawn = DrawnRows { fitting: 2, all: 3 };
        let mut state = ViewState { drawn, ..ViewState::default() };
        for (command, expected) in [
            (Command::Up, "a"),
            (Command::PageDown, "c"),
            (Command::Down, "c"),
            (Command::PageUp, "a"),
            (Command::End, "c"),
            (Command::Home, "a"),
        ] {
            state.run(command, &figures);
            assert_eq!(state.selected.as_deref(), Some(expected), "{command:?}");
        }
        state.run(Command::Replicas, &figures);
        state.run(Command::End, &figures);
        assert_eq!(state.offset, 1);
        state.run(Command::Up, &figures);
        assert_eq!((state.offset, state.selected.as_deref()), (0, Some("a")));
        state.run(Command::Replicas, &figures);
        assert_eq!(state.panel, Panel::Overview);
    }

    #[test]
    fn back_leaves_one_level_at_a_time() {
        let figures = figures(&[("user", 3.0), ("points", 2.0)]);
        let mut state = ViewState::default();
        state.run(Command::Filter, &figures);
        "POI".chars().for_each(|letter| state.edit_filter(Some(letter)));
        state.is_typing = false;
        assert_eq!(names(&state, &figures), ["points"]);
        state.run(Command::Open, &figures);
        state.run(Command::Help, &figures);
        assert_eq!(state.panel, Panel::Namespace("points".to_owned()));
        assert!(!state.run(Command::Back, &figures) && !state.has_help);
        assert!(!state.run(Command::Back, &figures) && state.panel == Panel::Overview);
        assert!(!state.run(Command::Back, &figures) && state.filter.is_empty());
        assert!(state.run(Command::Back, &figures));
    }

    #[test]
    fn a_filter_has_a_bound_and_loses_its_last_letter() {
        let mut state = ViewState::default();
        "é".repeat(70).chars().for_each(|letter| state.edit_filter(Some(letter)));
        assert_eq!(state.filter.chars().count(), FILTER_CHARS);
        state.edit_filter(None);
        assert_eq!(state.filter.chars().count(), FILTER_CHARS - 1);
    }
}
