#![allow(clippy::unwrap_used)]

use proptest::{prelude::*, sample::select};

use super::*;
use crate::model::Namespace;

type ParamMap = BTreeMap<String, String>;

fn params(pairs: &[(&str, &str)]) -> ParamMap {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn entry(key: &str, params: &ParamMap) -> EntryKey {
    let pairs = params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    EntryKey::new(Namespace::new("user.v1").unwrap(), key, pairs).unwrap()
}

fn expand(template: &str, key: &str, pairs: &[(&str, &str)]) -> Result<String, String> {
    let params = params(pairs);
    let template = UrlTemplate::parse(template).unwrap();
    template
        .expand(&entry(key, &params), &params)
        .map(String::from)
        .map_err(|violation| violation.field().to_owned())
}

#[test]
fn placeholders_expand_to_the_parts_of_a_key() {
    for (template, url) in [
        ("http://h/v1/{key}", "http://h/v1/a%2Fb"),
        ("https://h:8443/{namespace}/{key}.json", "https://h:8443/user.v1/a%2Fb.json"),
        ("http://h/{params.lang}/{key}?page={params.page}&x=1", "http://h/de/a%2Fb?page=2%263&x=1"),
        ("http://h?id={key}", "http://h/?id=a%2Fb"),
        ("http://h/{key}?{params}", "http://h/a%2Fb?lang=de&page=2%263"),
        ("http://h/{key}?x=1&{params}&y=2", "http://h/a%2Fb?x=1&lang=de&page=2%263&y=2"),
        ("http://h/fixed", "http://h/fixed"),
        ("http://h", "http://h/"),
        ("http://[::1]:80/{key}/", "http://[::1]/a%2Fb/"),
        ("http://u:p%40@h/a%20b/{key}", "http://u:p%40@h/a%20b/a%2Fb"),
    ] {
        assert_eq!(
            expand(template, "a/b", &[("lang", "de"), ("page", "2&3")]).unwrap(),
            url,
            "{template}"
        );
    }
}

#[test]
fn params_placeholder_without_params_is_dropped() {
    for (template, url) in [
        ("http://h/?{params}", "http://h/"),
        ("http://h/?{params}&x=1", "http://h/?x=1"),
        ("http://h/?x=1&{params}", "http://h/?x=1"),
    ] {
        assert_eq!(expand(template, "k", &[]).unwrap(), url, "{template}");
    }
}

#[test]
fn params_placeholder_repeats_no_name_of_the_template() {
    for (template, pairs, expected) in [
        ("http://h/?u=v&{params}", [("u", "override")], Err("params.u")),
        ("http://h/?{params}&u=v", [("u", "v")], Err("params.u")),
        ("http://h/?debug&{params}", [("debug", "1")], Err("params.debug")),
        ("http://h/?a+b=1&{params}", [("a b", "1")], Err("params.a b")),
        ("http://h/?%75=1&{params}", [("u", "1")], Err("params.u")),
        ("http://h/?a=1;u=2&{params}", [("u", "1")], Err("params.u")),
        ("http://h/?x{key}=1&{params}", [("xk", "1")], Err("params.xk")),
        ("http://h/?u=v&{params}", [("u2", "1")], Ok("http://h/?u=v&u2=1")),
        ("http://h/?u=v&{params}", [("x", "&u=1")], Ok("http://h/?u=v&x=%26u%3D1")),
        ("http://h/?l={params.lang}&{params}", [("lang", "de")], Ok("http://h/?l=de&lang=de")),
        ("http://h/?u=v&x={params.u}", [("u", "1")], Ok("http://h/?u=v&x=1")),
    ] {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(expand(template, "k", &pairs), expected, "{template}");
    }
}

#[test]
fn named_param_must_be_set_and_may_be_empty_only_in_the_query() {
    assert_eq!(expand("http://h/?a={params.a}", "k", &[("a", "")]).unwrap(), "http://h/?a=");
    assert_eq!(expand("http://h/?a={params.a}", "k", &[]).unwrap_err(), "params.a");
    assert_eq!(expand("http://h/{params.a}", "k", &[("a", "")]).unwrap_err(), "params.a");
    assert_eq!(expand("http://h/x{params.a}", "k", &[("a", "")]).unwrap_err(), "params.a");
}

#[test]
fn keys_cannot_leave_their_path_segment() {
    let escapes: [(&str, Result<&str, &str>); 22] = [
        ("../admin", Err("key")),
        ("..", Err("key")),
        (".", Err("key")),
        ("a/../../b", Err("key")),
        ("..\\admin", Err("key")),
        ("..;/admin", Err("key")),
        ("..;x", Err("key")),
        ("...", Ok("...")),
        (".hidden", Ok(".hidden")),
        ("%2e%2e", Ok("%252e%252e")),
        ("%2E%2E%2Fadmin", Ok("%252E%252E%252Fadmin")),
        ("//evil.com", Ok("%2F%2Fevil.com")),
        ("/etc/passwd", Ok("%2Fetc%2Fpasswd")),
        ("@evil.com", Ok("%40evil.com")),
        (":8080", Ok("%3A8080")),
        ("http://evil.com", Ok("http%3A%2F%2Fevil.com")),
        ("?x=1", Ok("%3Fx%3D1")),
        ("#top", Ok("%23top")),
        ("\\\\evil", Ok("%5C%5Cevil")),
        ("\0", Ok("%00")),
        ("a\r\nHost: evil\tb", Ok("a%0D%0AHost%3A%20evil%09b")),
        ("é🦀{key}", Ok("%C3%A9%F0%9F%A6%80%7Bkey%7D")),
    ];
    for (key, expected) in escapes {
        let expected =
            expected.map(|segment| format!("http://h/v1/{segment}/x")).map_err(str::to_owned);
        assert_eq!(expand("http://h/v1/{key}/x", key, &[]), expected, "{key:?}");
        assert!(
            expand("http://h/v1/x?q={key}", key, &[]).is_ok(),
            "{key:?} is harmless in a query"
        );
    }
}

#[test]
fn template_and_key_cannot_form_a_dot_segment_together() {
    for template in [
        "http://h/.{key}",
        "http://h/{key}.",
        "http://h/%2e{key}",
        "http://h/{key}{params.a}",
        "http://h/{key}%2E/b",
    ] {
        assert_eq!(expand(template, ".", &[("a", ".")]).unwrap_err(), "key", "{template}");
        assert!(expand(template, "a", &[("a", ".")]).is_ok(), "{template}");
    }
    assert_eq!(expand("http://h/{params.a}/{key}", "k", &[("a", "..")]).unwrap_err(), "params.a");
}

#[test]
fn overlong_url_is_refused() {
    let template = format!("http://h/{}", "{key}".repeat(11));
    assert_eq!(expand(&template, &"/".repeat(1000), &[]).unwrap_err(), "key");
}

#[test]
fn invalid_template_is_explained() {
    for (text, problem) in [
        ("h/{key}", "http://"),
        ("ftp://h/{key}", "http://"),
        ("{params.scheme}://h/", "http://"),
        ("http://{key}/", "only possible in the path"),
        ("http://h:{params.port}/", "only possible in the path"),
        ("http://{namespace}@h/", "only possible in the path"),
        ("http:///x", "host or port"),
        ("http://h:99999/", "host or port"),
        ("http://a`b/", "characters that no request can have"),
        ("https://u:p@a\"b:80/{key}", "characters that no request can have"),
        ("http://h/#{key}", "fragment"),
        ("http://h/{kye}", "no placeholder {kye}"),
        ("http://h/{}", "no placeholder {}"),
        ("http://h/{params.}", "no placeholder {params.}"),
        ("http://h/{key", "{ without }"),
        ("http://h/{a{key}}", "{ without }"),
        ("http://h/key}", "} without {"),
        ("http://h/{params}", "only possible in the query"),
        ("http://h/?x={params}", "must stand alone"),
        ("http://h/?{params}&{params}", "only possible once"),
        ("http://h/?a={params.a}&{params}", "would repeat the name a"),
        ("http://h/{params.a}?a=1&{params}", "would repeat the name a"),
        ("http://h/../{key}", "segments . and .."),
        ("http://h/%2e%2E/{key}", "segments . and .."),
        ("http://h/%{key}", "two hexadecimal digits"),
        ("http://h/100%", "two hexadecimal digits"),
        ("http://h/%2{key}", "two hexadecimal digits"),
        ("http://h/a b", "spaces"),
        ("http://ho\tst/", "spaces"),
        ("http://h\\x/", "must be percent-encoded"),
        ("http://h/é", "must be percent-encoded"),
        ("http://h/?a='x'", "query must be percent-encoded"),
    ] {
        let message = UrlTemplate::parse(text).unwrap_err().to_string();
        assert!(message.contains(problem), "{text}: {message}");
    }
}

#[test]
fn credentials_are_redacted() {
    for (text, shown) in [
        ("http://u:secret@h/{key}?{params}", "http://u:***@h/{key}?{params}"),
        ("http://secret@h/{namespace}", "http://***@h/{namespace}"),
        ("http://:secret@h/", "http://:***@h/"),
        ("https://h/a/{params.a}?x={key}&y", "https://h/a/{params.a}?x={key}&y"),
    ] {
        let template = UrlTemplate::parse(text).unwrap();
        assert_eq!(template.to_string(), shown);
        assert_eq!(format!("{template:?}"), format!("UrlTemplate({shown})"));
    }
    let message = UrlTemplate::parse("http://u:secret@h:x/").unwrap_err().to_string();
    assert!(!message.contains("secret"), "{message}");
}

/// Texts that are likely to contain characters with a meaning in URLs.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(vec![
            ".", "..", "/", "\\", "%2e", "%2E", "%2f", "%", "?", "#", "@", ":", "//", "&", "=", ";",
            "{key}", "\0", "\n", " ", "é",
        ])
        .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 1..8)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("keys are not empty and not long", |text| (1..=1024).contains(&text.len()))
}

proptest! {
    #[test]
    fn no_key_changes_the_structure_of_the_url(key in hostile(), value in hostile()) {
        let params = params(&[("a", &value), ("b", "")]);
        let entry = entry(&key, &params);
        let base = "https://u:p@h.example:8443/";
        for (rest, segments, names) in [
            ("v1/{key}/x{params.a}?k={key}&{params}", 3, vec!["k", "a", "b"]),
            (".{key}{params.a}.?a={params.a}", 1, vec!["a"]),
            ("{params.a}/%2e{key}", 2, vec![]),
        ] {
            let template = UrlTemplate::parse(&format!("{base}{rest}")).unwrap();
            let Ok(url) = template.expand(&entry, &params) else { continue };
            prop_assert!(url.as_str().starts_with(base));
            prop_assert_eq!(url.path_segments().unwrap().count(), segments);
            let pairs: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(pairs.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), names);
            for (name, found) in &pairs {
                let expected = match name.as_ref() {
                    "k" => key.as_str(),
                    "a" => value.as_str(),
                    _ => "",
                };
                prop_assert_eq!(found, expected);
            }
            prop_assert!(url.fragment().is_none());
            prop_assert!(url.as_str().parse::<http::Uri>().is_ok());
        }
    }

    #[test]
    fn key_round_trips_through_the_url(key in hostile()) {
        let none = ParamMap::new();
        let template = UrlTemplate::parse("http://h/{key}").unwrap();
        if let Ok(url) = template.expand(&entry(&key, &none), &none) {
            let segment = url.path_segments().unwrap().next().unwrap();
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap();
            prop_assert_eq!(decoded.as_ref(), key.as_str());
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(https?://)?[a-z]{0,3}[{}/?&#%@:.a-z]{0,20}") {
        if let Ok(template) = UrlTemplate::parse(&text) {
            let shown = template.to_string();
            prop_assert_eq!(UrlTemplate::parse(&shown).unwrap().to_string(), shown);
        }
    }
}
