//! Lines that fit in a width.

use ratatui::text::{Line, Span};

/// Space between the parts of a line.
const GAP: &str = "   ";

/// The parts that fit in a line, the first ones before others, with gaps between them.
pub(super) fn fitting(parts: Vec<Vec<Span<'static>>>, width: u16) -> Line<'static> {
    let mut line = Line::default();
    for part in parts {
        let gap = if line.spans.is_empty() { "" } else { GAP };
        let needed = gap.len() + part.iter().map(Span::width).sum::<usize>();
        if line.width() + needed > usize::from(width) {
            break;
        }
        line.push_span(gap);
        line.extend(part);
    }
    line
}

/// A line with a part at its right, which is left out if there is no space for both.
pub(super) fn two_sided(left: Line<'static>, right: Line<'static>, width: u16) -> Line<'static> {
    let space = usize::from(width).checked_sub(left.width() + right.width());
    let Some(space) = space.filter(|space| *space > 0) else { return left };
    let mut line = left;
    line.push_span(" ".repeat(space));
    line.extend(right);
    line
}

/// A text that ends with an ellipsis if it is longer than a width.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let span = Span::raw(text);
    if span.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        short.push(letter);
        if Span::raw(short.as_str()).width() + 1 > width {
            short.pop();
            break;
        }
    }
    if width > 0 {
        short.push('\u{2026}');
    }
    short
}

/// A text with spaces up to a width.
pub(super) fn padded(text: &str, width: usize) -> String {
    let space = width.saturating_sub(Span::raw(text).width());
    format!("{text}{}", " ".repeat(space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_do_not_fit_are_left_out() {
        let parts = || ["abc", "de", "f"].map(|part| vec![Span::raw(part)]).to_vec();
        assert_eq!(fitting(parts(), 12).to_string(), "abc   de   f");
        assert_eq!(fitting(parts(), 11).to_string(), "abc   de");
        assert_eq!(fitting(parts(), 2).to_string(), "");
    }

    #[test]
    fn the_right_side_needs_space() {
        let shown = |width| two_sided(Line::raw("ab"), Line::raw("c"), width).to_string();
        assert_eq!([shown(5), shown(4), shown(3)], ["ab  c", "ab c", "ab"]);
    }

    #[test]
    fn long_texts_end_with_an_ellipsis() {
        let shown = [5, 4, 3, 1, 0].map(|width| shortened("abcd", width));
        assert_eq!(shown, ["abcd", "abcd", "ab\u{2026}", "\u{2026}", ""]);
        assert_eq!(shortened("日本語", 4), "日\u{2026}");
    }
}
