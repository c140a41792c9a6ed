//! Parameters of pages, and fields of forms.

use axum::http::Uri;
use url::form_urlencoded;

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
        Self(form_urlencoded::parse(bytes).into_owned().collect())
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
