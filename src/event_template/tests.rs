#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn event(attributes: &[(&str, &str)]) -> Event {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Event::new("e".to_owned(), attributes.iter().map(owned).collect()).unwrap()
}

fn expanded(template: &str, attributes: &[(&str, &str)]) -> Result<String, String> {
    let template = EventTemplate::parse(template).unwrap();
    template.expand(&event(attributes)).map_err(|violation| violation.to_string())
}

#[test]
fn attributes_and_braces_are_replaced() {
    let attributes = [("id", "7"), ("after.id", "8"), ("empty", "")];
    for (template, expected) in [
        ("{id}", "7"),
        ("user:{id}:{after.id}x", "user:7:8x"),
        ("{{{id}}}", "{7}"),
        ("{{id}}", "{id}"),
        ("a}}{{b", "a}{b"),
        ("{none|empty|id}", "7"),
        ("plain", "plain"),
    ] {
        assert_eq!(expanded(template, &attributes).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn missing_and_empty_attributes_are_named_with_the_template() {
    let fault = |template| expanded(template, &[("empty", "")]).unwrap_err();
    assert_eq!(fault("u:{id}"), r#"attributes.id must be set: "u:{id}" needs it"#);
    assert_eq!(fault("{empty}*"), r#"attributes.empty must not be empty: "{empty}*" needs it"#);
    let either = fault("{after.id|before.id}");
    assert!(either.starts_with("attributes.after.id must be set, or before.id: "), "{either}");
}

#[test]
fn malformed_templates_are_refused_with_the_fault() {
    let fault = |text: &str| EventTemplate::parse(text).unwrap_err().to_string();
    assert_eq!(fault(""), "it must not be empty");
    assert_eq!(fault("a}b"), "it has a } without { (a literal one is written }})");
    for text in ["a{b", "{a{b}", "{"] {
        assert_eq!(fault(text), "it has a { without } (a literal one is written {{)", "{text}");
    }
    assert_eq!(fault("{}"), "the name of an attribute has 1 to 128 bytes, got \"\"");
    assert_eq!(fault("{a|}"), "the name of an attribute has 1 to 128 bytes, got \"\"");
    assert_eq!(fault("{a b}"), "the name of an attribute has no spaces, got \"a b\"");
}

#[test]
fn attribute_of_a_glob_cannot_be_in_a_class_or_after_a_backslash() {
    for text in ["[{a}]", "[{a}-z]x", "x[a-{b}]", r"\{a}", r"x\{a}*", "[!{a}"] {
        let fault = EventTemplate::parse_glob(text).unwrap_err().to_string();
        assert!(fault.starts_with("its part "), "{text}: {fault}");
    }
    let wild = EventTemplate::parse_glob(&"*{a}".repeat(33)).unwrap_err().to_string();
    assert_eq!(wild, "it has 33 wildcards, the limit is 32");
    for text in ["{a}:*", "[a-z]{a}?", r"\[{a}\]", r"\\{a}", "{{*}}{a}"] {
        assert!(EventTemplate::parse_glob(text).is_ok(), "{text}");
    }
}

#[test]
fn attributes_are_those_of_all_alternatives() {
    let template = EventTemplate::parse("{a}:{b|c}:{a}").unwrap();
    assert_eq!(template.attributes().collect::<Vec<_>>(), ["a", "b", "c", "a"]);
    assert_eq!((template.sample(), template.to_string()), ("x:x:x".into(), "{a}:{b|c}:{a}".into()));
}

/// Parts of globs, each valid on its own.
fn parts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("*".to_owned()),
        Just("?".to_owned()),
        Just("[a-c]".to_owned()),
        Just(r"\*".to_owned()),
        Just(r"\\".to_owned()),
        Just("]".to_owned()),
        "[a-c:]{1,3}",
    ];
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    /// The glob of an event matches the same keys as the parts of the template around exactly the
    /// value.
    #[test]
    fn an_attribute_matches_only_itself(
        before in parts(),
        after in parts(),
        value in "[a-c*?\\[\\]\\\\{}!^-]{1,5}",
        other in "[a-c*?\\[\\]\\\\{}!^-]{0,5}",
        around in "[a-c:]{0,3}",
    ) {
        let template = format!("{before}{{id}}{after}");
        let template = EventTemplate::parse_glob(&template).unwrap();
        let glob = template.expand_glob(&event(&[("id", &value)])).unwrap();
        let splits = |key: &str| {
            let ends = |part: &str, text: &str| {
                let matches = || Glob::new(part).unwrap().matches(text);
                if part.is_empty() { text.is_empty() } else { matches() }
            };
            positions(key, &value).any(|at| {
                ends(&before, &key[..at]) && ends(&after, &key[at + value.len()..])
            })
        };
        for key in [
            format!("{around}{value}{around}"),
            format!("{around}{other}{around}"),
            value.clone(),
            other.clone(),
        ] {
            if !key.is_empty() {
                prop_assert_eq!(glob.matches(&key), splits(&key), "{} {}", glob, key);
            }
        }
    }

    #[test]
    fn an_escaped_brace_is_itself(text in "[a-c{}]{1,8}") {
        let template = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(expanded(&template, &[]), Ok(text));
    }

    #[test]
    fn no_template_panics(text in "[a{}|\\[\\]\\\\*]{0,10}") {
        if let Ok(template) = EventTemplate::parse_glob(&text) {
            let _ = template.expand_glob(&event(&[("a", "*")]));
        }
    }
}

/// All positions of `value` in `key`, overlapping ones included.
fn positions(key: &str, value: &str) -> impl Iterator<Item = usize> {
    (0..key.len()).filter(move |at| key[*at..].starts_with(value))
}
