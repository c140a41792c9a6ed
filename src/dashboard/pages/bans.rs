//! The invalidations of a namespace by tag and by pattern that are remembered.

use std::time::Duration;

use maud::{Markup, html};

use crate::{
    cache::{self, BanListing, BanPattern, BanReport, ListedBan},
    dashboard::{numbers, text::visible},
};

/// Numbers of all bans, and the newest of them. `shows_patterns`: tags and patterns are of callers.
pub(super) fn bans(found: &Result<BanReport, cache::Error>, shows_patterns: bool) -> Markup {
    let report = match found {
        Ok(report) => report,
        Err(error) => return html! { p.worse { (visible(&error.to_string())) } },
    };
    let BanListing { tags, globs, newest, kept_for } = &report.listing;
    let shown = newest.len() as u64;
    html! {
        p {
            b { (numbers::count(*tags)) } " tags and keys, "
            b { (numbers::count(*globs)) } " patterns."
        }
        p.soft {
            "A ban is forgotten when a sweep finds no older entry to check, which can be seconds \
             after it, and at the latest after " (at_most(*kept_for)) "."
        }
        @if !shows_patterns {
            p.none { "Tags and patterns are shown after a login only." }
        } @else if !newest.is_empty() {
            table.dense.bans {
                @if shown < tags + globs { caption { "The newest " (shown) } }
                thead { tr {
                    th scope="col" { "Banned" }
                    th.n scope="col" { "Age" }
                    th.n.mid scope="col" { "Forgotten" }
                    th scope="col" { "Effect" }
                } }
                tbody { @for ban in newest { (row(ban, report)) } }
            }
        }
    }
}

fn row(ban: &ListedBan, report: &BanReport) -> Markup {
    let (kind, text) = match &ban.pattern {
        BanPattern::Tag(tag) => ("tag", tag),
        BanPattern::Glob(glob) => ("pattern", glob),
    };
    let age = ban.made_at.map(|made_at| report.now.since(made_at));
    let left = age.map(|age| report.listing.kept_for.saturating_sub(age));
    let text = visible(text);
    html! {
        tr data-key={ (kind) " " (text) } {
            td.key title=(text) { span.soft { (kind) } " " code { bdi { (text) } } }
            td.n { (age.map_or("long ago".to_owned(), shown_age)) }
            td.n.mid { (left.map_or("-".to_owned(), forgotten)) }
            td { (effect(ban, age, report)) }
        }
    }
}

/// The age of a ban is known to a minute.
fn shown_age(age: Duration) -> String {
    if age < Duration::from_secs(60) { "< 1 min".to_owned() } else { numbers::span(age) }
}

fn forgotten(left: Duration) -> String {
    if left.is_zero() { "soon".to_owned() } else { format!("≤ {}", at_most(left)) }
}

/// A length of time, rounded up to what is shown of it.
fn at_most(time: Duration) -> String {
    const UNITS: [u64; 4] = [86_400, 3600, 60, 1];
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let unit = UNITS.iter().position(|unit| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    // The next smaller unit is shown of small numbers only.
    let is_large = seconds >= 10 * UNITS[unit];
    let step = UNITS[if is_large { unit } else { (unit + 1).min(UNITS.len() - 1) }];
    numbers::span(Duration::from_secs(seconds.div_ceil(step).saturating_mul(step)))
}

fn effect(ban: &ListedBan, age: Option<Duration>, report: &BanReport) -> Markup {
    let held = ban.held_until.map(|end| end.since(report.now));
    let is_over = age.is_some_and(|age| age > report.longest_lifetime);
    html! {
        @if let Some(held) = held {
            span.chip.mid { "no fill for " (numbers::span(held)) }
        } @else if is_over {
            span.soft { "older entries have expired" }
        } @else {
            "older entries are invalid"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    const HOUR: u64 = 3_600_000;

    fn report(newest: Vec<ListedBan>) -> Result<BanReport, cache::Error> {
        let kept_for = Duration::from_secs(3 * 3600);
        Ok(BanReport {
            listing: BanListing { tags: 1500, globs: 2, newest, kept_for },
            longest_lifetime: Duration::from_secs(3600),
            now: Timestamp(10 * HOUR),
        })
    }

    fn ban(pattern: BanPattern, hours_ago: Option<u64>) -> ListedBan {
        let made_at = hours_ago.map(|hours| Timestamp((10 - hours) * HOUR));
        ListedBan { pattern, sequence: 1, made_at, held_until: None }
    }

    #[test]
    fn bans_have_their_age_and_their_end() {
        let tag = |ago| ban(BanPattern::Tag("red".to_owned()), ago);
        for (ago, expected) in [
            (Some(0), ["< 1 min", "≤ 3 h", "older entries are invalid"]),
            (Some(2), ["2 h", "≤ 1 h", "older entries have expired"]),
            (Some(5), ["5 h", "soon", "older entries have expired"]),
            (None, ["long ago", "-", "older entries are invalid"]),
        ] {
            let shown = bans(&report(vec![tag(ago)]), true).into_string().replace("&lt;", "<");
            for part in expected.into_iter().chain(["1.5 k", "The newest 1<", "after 3 h."]) {
                assert!(shown.contains(part), "{ago:?} {part}: {shown}");
            }
        }
        let held = ListedBan { held_until: Some(Timestamp(10 * HOUR + 5000)), ..tag(Some(0)) };
        let shown = bans(&report(vec![held]), true).into_string();
        assert!(shown.contains("no fill for 5 s"), "{shown}");
    }

    #[test]
    fn bounds_are_rounded_up() {
        const DAY: u64 = 86_400;
        for (millis, expected) in [
            (20 * DAY * 1000 + 1, "21 d"),
            (21 * DAY * 1000, "21 d"),
            (9 * DAY * 1000 + HOUR / 2, "9 d 1 h"),
            (10 * DAY * 1000 - 1, "10 d"),
            (3 * HOUR, "3 h"),
            (3 * HOUR + 1, "3 h 1 min"),
            (11 * HOUR + 1, "12 h"),
            (61_000, "1 min 1 s"),
            (59_001, "1 min"),
            (1, "1 s"),
        ] {
            assert_eq!(at_most(Duration::from_millis(millis)), expected, "{millis}");
        }
    }

    #[test]
    fn tags_and_patterns_are_text_for_operators_only() {
        let hostile = "<script>\u{202e}".to_owned();
        let newest = vec![
            ban(BanPattern::Tag(hostile.clone()), Some(0)),
            ban(BanPattern::Glob(hostile), Some(0)),
        ];
        let shown = bans(&report(newest.clone()), true).into_string();
        assert!(!shown.contains("<script") && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.matches("&lt;script&gt;\\u{202e}").count() >= 4, "{shown}");
        let shown = bans(&report(newest), false).into_string();
        assert!(shown.contains("1.5 k") && !shown.contains("script"), "{shown}");
    }
}
