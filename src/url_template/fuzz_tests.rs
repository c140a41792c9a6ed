//! Fuzz target of URL templates.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::{
    fuzzing::{Input, check},
    model::Namespace,
};

/// A template, a key, and params as `name=value`, on one line each. The URL of a key is one that
/// the HTTP client can send, begins as the template does, and has its path segments and its names
/// in the query.
#[test]
fn url_template() {
    check("url_template", |bytes| {
        let mut input = Input::new(bytes);
        let text = input.text();
        let Ok(template) = UrlTemplate::parse(&text) else { return };
        // Written again, it is the same, unless a password is hidden.
        let written = template.text(&template.base, ToString::to_string);
        assert_eq!(UrlTemplate::parse(&written).as_ref(), Ok(&template), "{text:?}");
        let key = input.text();
        let mut params = BTreeMap::new();
        while !input.is_empty() && params.len() < 8 {
            let line = input.text();
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            params.insert(name.to_owned(), value.to_owned());
        }
        let pairs = params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let namespace = Namespace::new("user.v1").unwrap();
        let Ok(entry) = EntryKey::new(namespace, &key, pairs) else { return };
        if let Ok(url) = template.expand(&entry, &params) {
            expanded(&template, &url, &params);
        }
    });
}

fn expanded(template: &UrlTemplate, url: &Url, params: &BTreeMap<String, String>) {
    let text = url.as_str();
    assert!(text.len() <= MAX_URL_BYTES);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    text.parse::<http::Uri>().unwrap();
    let rest = text.strip_prefix(&template.base).unwrap();
    assert!(rest.starts_with('/') && !rest.contains('#'), "{text:?}");
    let path = rest.split('?').next().unwrap();
    let segments: Vec<&str> = path[1..].split('/').collect();
    assert_eq!(segments.len(), template.path.len(), "{text:?}");
    let decoded = segments.iter().map(|segment| percent_encoding::percent_decode_str(segment));
    for segment in decoded {
        let segment = segment.collect::<Vec<u8>>();
        assert!(segment != b"." && segment != b"..", "{text:?}");
    }
    let expected = template.query.iter().flatten().map(|part| match segment::is_all_params(part) {
        true => params.len(),
        false => 1,
    });
    let query = rest.split_once('?').map(|(_, query)| query.split('&').count());
    assert_eq!(query.unwrap_or_default(), expected.sum::<usize>(), "{text:?}");
}
