//! Hides passwords in text that is shown.

/// Replaces the passwords of URLs with `***`, line by line. In doubt it hides more than necessary.
pub(super) fn redact(text: &str) -> String {
    let lines = text.split('\n').map(|line| redact_query(&redact_user_info(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces the values in the lines that a TOML error quotes, such as `3 | key = value`. Each may
/// be a secret, and in broken TOML it is unknown where a value ends.
pub(super) fn redact_excerpt(message: &str) -> String {
    let line = |line: &str| {
        let excerpt =
            line.split_once(" | ").filter(|(number, _)| number.trim().parse::<u32>().is_ok());
        let Some((number, text)) = excerpt else {
            return redact(line);
        };
        let shown = match text.find('=') {
            Some(equals) => &text[..=equals],
            None if text.trim_start().starts_with('[') => return line.to_owned(),
            None => "",
        };
        let hidden = if shown.len() == text.trim_end().len() { "" } else { "***" };
        format!("{number} | {shown}{hidden}")
    };
    message.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn redact_user_info(line: &str) -> String {
    let Some(start) = line.find("://").map(|at| at + "://".len()) else {
        return line.to_owned();
    };
    let Some(end) = line.rfind('@').filter(|at| *at > start) else {
        return line.to_owned();
    };
    match line[start..end].find(':') {
        Some(colon) => format!("{}***{}", &line[..=start + colon], &line[end..]),
        None => line.to_owned(),
    }
}

fn redact_query(line: &str) -> String {
    let Some(at) = line.find("pass=").filter(|at| line[..*at].ends_with(['?', '&'])) else {
        return line.to_owned();
    };
    let start = at + "pass=".len();
    let end = line[start..].find('&').map_or(line.len(), |length| start + length);
    format!("{}***{}", &line[..start], &line[end..])
}
