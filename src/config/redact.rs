//! Hides secrets in text that is shown.

/// Words in the names of secrets, in lower case.
const SECRET_NAMES: [&str; 9] =
    ["pass", "pwd", "secret", "token", "key", "auth", "credential", "signature", "sig"];
/// Where the value of a query parameter ends.
const VALUE_ENDS: [char; 7] = ['&', '#', ' ', '"', '\'', '\n', ';'];

/// Replaces the passwords of URLs and the values of secret query parameters with `***`, line by
/// line. In doubt it hides more than necessary.
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
    let Some(separator) = line.find("://") else {
        return line.to_owned();
    };
    let start = separator + "://".len();
    let Some(end) = line.rfind('@').filter(|at| *at >= start) else {
        return line.to_owned();
    };
    match line[start..end].find(':') {
        Some(colon) => format!("{}***{}", &line[..=start + colon], &line[end..]),
        // The user of a Redis is no secret, but that of an HTTP URL may be a token.
        None if line[..separator].to_ascii_lowercase().contains("http") => {
            format!("{}***{}", &line[..start], &line[end..])
        }
        None => line.to_owned(),
    }
}

fn redact_query(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    // A comma separates the options of a connection string.
    while let Some(separator) = rest.find(['?', '&', ';', ',']) {
        let (before, parameter) = rest.split_at(separator + 1);
        shown.push_str(before);
        rest = parameter;
        let end = rest.find(VALUE_ENDS).unwrap_or(rest.len());
        if let Some((name, value)) = rest[..end].split_once('=')
            && is_secret(name)
            && !is_placeholder(value)
        {
            shown.push_str(name);
            shown.push_str("=***");
            rest = &rest[end..];
        }
    }
    shown + rest
}

fn is_secret(name: &str) -> bool {
    // Not the rest of a sentence.
    if name.starts_with(' ') {
        return false;
    }
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// Whether a value is a part of the key of an entry, as in a template of a URL, or nothing.
fn is_placeholder(value: &str) -> bool {
    value.is_empty() || (value.starts_with('{') && value.ends_with('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_hidden() {
        let cases = [
            ("redis://u:p@h:6379/0", "redis://u:***@h:6379/0"),
            ("redis://:p@h", "redis://:***@h"),
            ("redis://u@h", "redis://u@h"),
            ("https://token@h/x", "https://***@h/x"),
            ("unix:///s?db=1&pass=p", "unix:///s?db=1&pass=***"),
            ("unix:///s?password=p", "unix:///s?password=***"),
            ("http://h/x?api_key=a&b=c#d", "http://h/x?api_key=***&b=c#d"),
            ("http://h/x?a=b&ACCESS_TOKEN=t", "http://h/x?a=b&ACCESS_TOKEN=***"),
            ("http://h/{key}?key={key}&sig=s", "http://h/{key}?key={key}&sig=***"),
            (
                "http://h?apikey=x and http://i?token=y",
                "http://h?apikey=*** and http://i?token=***",
            ),
            ("h:6380,password=p=,ssl=True", "h:6380,password=***"),
            ("no URL: a=b, key=c", "no URL: a=b, key=c"),
        ];
        for (text, shown) in cases {
            assert_eq!(redact(text), shown);
        }
    }
}
