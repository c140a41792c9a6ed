use super::*;

const RULES: &str = r#"
strict_events = true
[[events.points_changed]]
namespace = "points"
pattern = "{user_id}:*"
[[events.points_changed]]
namespace = "user"
key = "{user_id}"
params = { view = "profile", lang = "{lang|country}" }
when = { "after.table" = "a b " }
[[events."com.example.moved"]]
namespace = "user"
tags = ["user:{id}", "{{all}}"]
[[events."com.example.moved"]]
namespace = "company"
[[event_sources]]
redis_stream = "events"
url = "redis://:secret@host"
[[event_sources]]
redis_stream = "cdc"
url = "redis://other"
start = "oldest"
data_field = "value"
"#;

#[test]
fn rules_and_sources_are_read_and_rendered() {
    let config = loaded(RULES, &[]);
    assert!(config.strict_events);
    let rules = &config.events["points_changed"];
    let pattern = rules[0].pattern.as_ref().unwrap();
    assert_eq!((rules.len(), pattern.to_string()), (2, "{user_id}:*".to_owned()));
    assert_eq!(rules[1].params["lang"].to_string(), "{lang|country}");
    assert_eq!(rules[1].when["after.table"], "a b ");
    assert_eq!(config.events["com.example.moved"][0].tags.as_ref().unwrap().len(), 2);
    assert_eq!(config.event_sources[1].start, StreamStart::Oldest);
    let rendered = config.render();
    assert!(rendered.contains("[[events.points_changed]]\nnamespace = \"user\""), "{rendered}");
    assert!(!rendered.contains("secret"), "{rendered}");
    let again = loaded(&rendered, &[]);
    assert_eq!((&again.events, again.strict_events), (&config.events, true));
    assert_eq!(again.event_sources[1], config.event_sources[1]);
}

#[test]
fn faults_of_rules_name_the_key() {
    for (rule, expected) in [
        ("key = 'a'", "events.e[0].namespace: it must be set"),
        ("namespace = 'NS'", "events.e[0].namespace: it must match [a-z0-9][a-z0-9._-]{0,63}"),
        (
            "namespace = 'ns'\nkey = 'a'\ntags = ['b']",
            "events.e[0].tags: expected one of pattern, key and tags, got key and tags",
        ),
        (
            "namespace = 'ns'\nparams = { a = 'b' }",
            "events.e[0].params: expected only together with key",
        ),
        (
            "namespace = 'ns'\npattern = '[{a}]*'",
            "events.e[0].pattern: expected a template, got \"[{a}]*\": \
             its part \"[\" has a '[' without a ']'",
        ),
        (
            "namespace = 'ns'\nkey = '{a'",
            "events.e[0].key: expected a template, got \"{a\": \
             it has a { without } (a literal one is written {{)",
        ),
        (
            "namespace = 'ns'\ntags = ['a', '']",
            "events.e[0].tags: expected a template, got \"\": it must not be empty",
        ),
        (
            "namespace = 'ns'\ntags = []",
            "events.e[0].tags: expected a list of 1 to 32 items, got 0",
        ),
        (
            "namespace = 'ns'\nwhen = { a = '' }",
            "events.e[0].when.a: expected a text of 1 to 1024 bytes, got \"\"",
        ),
        (
            "namespace = 'ns'\nkeys = 'a'",
            "events.e[0].keys: unknown key, expected one of namespace, pattern, key, tags, \
             params, when; the most similar is key",
        ),
    ] {
        assert_eq!(problems(&format!("[[events.e]]\n{rule}"), &[]), [expected], "{rule}");
    }
    let long_tag = format!("[[events.e]]\nnamespace = 'ns'\ntags = ['{}{{a}}']", "t".repeat(128));
    let expected = "events.e[0].tags: item 0 is 129 bytes long at least, the limit is 128";
    assert_eq!(problems(&long_tag, &[]), [expected]);
    let long_key = format!("[[events.e]]\nnamespace = 'ns'\nkey = '{}'", "k".repeat(1025));
    let expected = "events.e[0].key: the key is 1025 bytes long, the limit is 1024";
    assert_eq!(problems(&long_key, &[]), [expected]);
    let unknown = "strict_namespaces = true\n[namespaces.a]\n[[events.e]]\nnamespace = 'b'";
    let expected = "events.e[0].namespace: expected a namespace with a table, as \
                    strict_namespaces is on, got \"b\"";
    assert_eq!(problems(unknown, &[]), [expected]);
}

#[test]
fn numbers_and_names_of_rules_are_bounded() {
    assert_eq!(
        problems("[events.e]\nnamespace = 'ns'", &[]),
        ["events.e: expected a list of tables, each begun by [[events.e]]"]
    );
    assert_eq!(problems("events.e = []", &[]), ["events.e: expected 1 to 64 rules, got 0"]);
    let rules = "[[events.e]]\nnamespace = 'ns'\n".repeat(65);
    assert_eq!(problems(&rules, &[]), ["events.e: expected 1 to 64 rules, got 65"]);
    let name = "e".repeat(256);
    let expected = format!("events.{name}: the name is 256 bytes long, the limit is 255");
    assert_eq!(problems(&format!("[[events.{name}]]\nnamespace = 'ns'"), &[]), [expected]);
    let events: String =
        (0..1001).map(|number| format!("[[events.e{number}]]\nnamespace = 'ns'\n")).collect();
    assert_eq!(problems(&events, &[]), ["events: expected at most 1000 events, got 1001"]);
}

#[test]
fn faults_of_sources_name_the_key() {
    let server = "url = 'redis://host'";
    for (source, expected) in [
        (server, "redis_stream: expected the key of a stream, got nothing"),
        (
            "redis_stream = 's'",
            "url: expected the URL of a Redis server, as store.url is \"memory\"",
        ),
        (
            "redis_stream = 's'\nurl = 'memory'",
            "url: expected the URL of a Redis server, got \"memory\"",
        ),
        (
            "redis_stream = 's'\nurl = 'redis://host'\nbatch = 0",
            "batch: expected an integer from 1 to 1000, got 0",
        ),
        (
            "redis_stream = 's'\nurl = 'redis://host'\ndead_letter = 's'",
            "dead_letter: expected a stream other than redis_stream",
        ),
        (
            "redis_stream = 's'\nurl = 'redis://host'\nurl_file = '/nonexistent'",
            "url_file: expected either url or url_file, got both",
        ),
    ] {
        let expected = format!("event_sources[0].{expected}");
        assert_eq!(problems(&format!("[[event_sources]]\n{source}"), &[]), [expected], "{source}");
    }
    let source = "[[event_sources]]\nredis_stream = 's'\nurl = 'redis://host'\n";
    let expected =
        "event_sources[1].redis_stream: expected another stream or group than event_sources[0]";
    assert_eq!(problems(&source.repeat(2), &[]), [expected]);
    let on_redis = "[store]\nurl = 'redis://host'\n[[event_sources]]\nredis_stream = 's'";
    let config = loaded(on_redis, &[]);
    assert_eq!(config.event_sources[0].server(&config.store.url), &config.store.url);
}

#[test]
fn url_of_a_source_can_be_in_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"redis://:secret@host\n").unwrap();
    let path = file.path().display();
    let source = format!("[[event_sources]]\nredis_stream = 's'\nurl_file = '{path}'");
    let config = loaded(&source, &[]);
    assert_eq!(config.event_sources[0].url, Some("redis://:secret@host".parse().unwrap()));
    let rendered = config.render();
    assert!(rendered.contains("url_file") && !rendered.contains("secret"), "{rendered}");
    assert_eq!(loaded(&rendered, &[]), config);
}

#[test]
fn rules_are_reloaded_and_sources_need_a_restart() {
    let (old, new) = (loaded("", &[]), loaded(RULES, &[]));
    assert_eq!(old.needs_restart(&new), ["event_sources"]);
    assert_eq!(new.needs_restart(&old), ["event_sources"]);
    let other = loaded(&RULES.replace(":secret@", ":other@"), &[]);
    assert_eq!(new.needs_restart(&other), ["event_sources"]);
    let other = loaded(&RULES.replace("{user_id}:*", "{id}:*"), &[]);
    assert!(new.needs_restart(&other).is_empty());
}
