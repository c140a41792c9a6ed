//! Figures and texts in tables.

use comfy_table::{Table, presets};

use crate::visible_text::visible;

/// In place of a figure that there is not.
pub(super) fn dash() -> String {
    "-".to_owned()
}

/// A share of 1 as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Text without characters that control a terminal.
pub(super) fn escape(text: &str) -> String {
    visible(text).into_owned()
}

/// A table without borders. No cell has a character that controls a terminal.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    let escaped = |row: Vec<String>| row.into_iter().map(|cell| escape(&cell)).collect::<Vec<_>>();
    table.add_rows(rows.into_iter().map(escaped));
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_one_decimal() {
        assert_eq!([0.0, 0.1234, 1.0].map(percent), ["0.0 %", "12.3 %", "100.0 %"]);
    }

    #[test]
    fn table_is_aligned_without_trailing_spaces() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["key", "n"], rows), " key   n\n a     1\n long");
        assert_eq!(table(&["key"], [vec!["\u{1b}[2J\n".to_owned()]]), " key\n \\u{1b}[2J\\n");
    }
}
