//! Bars: a share of one, and a histogram.

use maud::{Markup, html};

use super::{WIDTH, coordinate};
use crate::dashboard::numbers;

/// Least width of a share that is not zero: a pixel or two.
const LEAST: f64 = 25.0;

/// A share of one as a bar, for a number next to it. `class`: `good`, `mid` or `bad`.
pub(in crate::dashboard) fn share_bar(share: f64, class: &str) -> Markup {
    let least = if share > 0.0 { LEAST } else { 0.0 };
    let width = coordinate((WIDTH * share.clamp(0.0, 1.0)).max(least));
    html! {
        svg.bar aria-hidden="true" viewBox="0 0 1000 10" preserveAspectRatio="none" {
            rect.track width="1000" height="10" {}
            rect class=(class) width=(width) height="10" {}
        }
    }
}

/// Classes with their counts, as rows with a bar each: a table that is a chart.
pub(in crate::dashboard) fn histogram(caption: &str, rows: &[(String, u64)]) -> Markup {
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    let largest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    html! {
        table.histogram {
            caption { (caption) }
            thead.unseen { tr { th scope="col" { "Up to" } th scope="col" { "Share" }
                th scope="col" { "Entries" } } }
            tbody {
                @for (name, count) in rows {
                    @let share = *count as f64 / all.max(1) as f64;
                    tr {
                        th scope="row" { (name) }
                        td.bars { (share_bar(*count as f64 / largest as f64, "plain")) }
                        td.n { (numbers::percent(share)) }
                    }
                }
            }
        }
    }
}
