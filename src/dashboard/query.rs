//! Parameters of pages, and fields of forms.

use axum::http::Uri;
use url::form_urlencoded;

/// End of the name of a field whose value is encoded.
const EXACT: &str = ".encoded";

/// Names and values in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of the address of a page.
    pub(super) fn of(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// Those of a form. Bytes that are not UTF-8 are replaced.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let fields = form_urlencoded::parse(bytes).into_owned();
        let exact = fields.map(|(name, value)| match name.strip_suffix(EXACT) {
            Some(name) => (name.to_owned(), decoded(&value)),
            None => (name, value),
        });
        Self(exact.collect())
    }

    /// The first value of a name; an empty text without one.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether a box is checked.
    pub(super) fn is_set(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

/// Name and value of a hidden field, whose value arrives as it is. Browsers change line ends and
/// NUL in fields: a value with control characters is encoded.
pub(super) fn exact_field(name: &str, value: String) -> (String, String) {
    if !value.chars().any(char::is_control) {
        return (name.to_owned(), value);
    }
    (format!("{name}{EXACT}"), form_urlencoded::byte_serialize(value.as_bytes()).collect())
}

fn decoded(value: &str) -> String {
    let text = format!("={value}");
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A link to a page with parameters, of which empty ones are left out.
pub(super) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        pairs.append_pair(name, value);
    }
    let pairs = pairs.finish();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{pairs}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_arrive_as_they_are() {
        for value in ["a\nb", "a\r\nb", "\0 +%&=\u{e9}\u{85}", "a b+%41"] {
            let (name, sent) = exact_field("key", value.to_owned());
            assert!(!sent.chars().any(char::is_control), "{sent:?}");
            let mut form = form_urlencoded::Serializer::new(String::new());
            let form = form.append_pair(&name, &sent).finish();
            assert_eq!(Query::parse(form.as_bytes()).text("key"), value);
        }
        assert_eq!(exact_field("key", "a b".to_owned()), ("key".to_owned(), "a b".to_owned()));
    }

    #[test]
    fn links_are_read_as_they_were_written() {
        let values = [("key", "a b&c=\"<ü>/#"), ("empty", ""), ("namespace", "user")];
        let link = link("/entry", &values);
        let query = Query::of(&link.parse().unwrap());
        assert_eq!((query.text("key"), query.text("namespace")), (values[0].1, "user"));
        assert!(!link.contains("empty") && !query.is_set("empty") && query.is_set("key"));
        assert_eq!(Query::of(&"/".parse().unwrap()).text("x"), "");
        assert_eq!(super::link("/", &[]), "/");
    }
}
