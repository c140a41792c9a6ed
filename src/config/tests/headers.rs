use secrecy::ExposeSecret;

use super::origin::{grpc, http, origin};
use super::*;

/// A namespace `a` whose HTTP origin has this header.
pub(super) fn header(line: &str) -> String {
    http(&format!("[namespaces.a.origin.headers]\n{line}"))
}

/// The name and value of each header.
pub(super) fn headers(file: &str, env: &[(&str, &str)]) -> Vec<(String, String)> {
    let headers = origin(file, env).headers;
    headers
        .into_iter()
        .map(|(name, header)| (name, header.value().expose_secret().to_owned()))
        .collect()
}

#[test]
fn header_names_are_case_insensitive() {
    let variable = ("LARDER_NAMESPACES__A__ORIGIN__HEADERS__X_KEY", "new");
    for name in ["X-Key", "x-key"] {
        let file = header(&format!("{name} = 'old'"));
        assert_eq!(headers(&file, &[variable]), [("x-key".to_owned(), "new".to_owned())]);
    }
    assert_eq!(
        problems(&header("X-Key = 'secret'\nx-KEY = 'secret'"), &[]),
        ["namespaces.a.origin.headers.x-KEY: given twice, as the case of the name does not matter"],
    );
}

#[test]
fn secret_references_are_resolved() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"from file\r\n\n").unwrap();
    let file = header(&format!(
        "X = 'a ${{env:ONE}}${{file:{}}} b ${{env:ONE}}'",
        secret.path().display()
    ));
    let load = |one| headers(&file, &[("ONE", one)]).remove(0).1;
    assert_eq!(load("1"), "a 1from file b 1");
    let before = origin(&file, &[("ONE", "1")]);
    assert_eq!(before, origin(&file, &[("ONE", "1")]));
    assert_ne!(before, origin(&file, &[("ONE", "2")]), "a new value of the variable is a change");
    std::fs::write(secret.path(), "renewed").unwrap();
    assert_eq!(load("1"), "a 1renewed b 1");
    assert_ne!(before, origin(&file, &[("ONE", "1")]), "a new content of the file is a change");
    assert_eq!(
        before.headers["X"]
            .resolve(&BTreeMap::from([("ONE".to_owned(), "3".to_owned())]))
            .unwrap()
            .expose_secret(),
        "a 3renewed b 3"
    );
}

#[test]
fn missing_secret_is_reported_without_revealing_any_value() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(large.path(), "s".repeat(70_000)).unwrap();
    let binary = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(binary.path(), [0xff, 0xfe]).unwrap();
    let (empty, large, binary) = (
        empty.path().display().to_string(),
        large.path().display().to_string(),
        binary.path().display().to_string(),
    );
    let unknown = "expected ${env:NAME} or ${file:/path}, got another ${...}";
    let printable = "expected printable ASCII characters only";
    for (value, expected) in [
        ("'secret ${env:NONE}'", "the variable NONE is not set, or empty".to_owned()),
        ("'secret ${env:EMPTY}'", "the variable EMPTY is not set, or empty".to_owned()),
        (
            "'secret ${file:/no/such/file}'",
            "the file /no/such/file cannot be read: No such file or directory (os error 2)"
                .to_owned(),
        ),
        (&format!("'${{file:{empty}}}'"), format!("the file {empty} is empty")),
        (&format!("'${{file:{large}}}'"), format!("the file {large} is larger than 64KiB")),
        (
            &format!("'${{file:{binary}}}'"),
            format!("the file {binary} cannot be read: stream did not contain valid UTF-8"),
        ),
        ("'secret ${env:NONE'", "expected a } after each ${".to_owned()),
        ("'${secret}'", unknown.to_owned()),
        ("'${env:}'", unknown.to_owned()),
        ("'${vault:secret}'", unknown.to_owned()),
        ("\"secret\\r\\nX: y\"", printable.to_owned()),
        ("'secret ${env:BREAK}'", printable.to_owned()),
        ("'sécret'", printable.to_owned()),
        ("123456", "expected a text in quotes, got something else".to_owned()),
        ("['secret']", "expected a text in quotes, got something else".to_owned()),
    ] {
        let file = header(&format!("Authorization = {value}"));
        let env = [("BREAK", "secret\nX: y"), ("EMPTY", " ")];
        let expected = format!("namespaces.a.origin.headers.Authorization: {expected}");
        assert_eq!(problems(&file, &env), [expected], "{value}");
        let error = try_load(&file, &env).unwrap_err().to_string();
        assert!(!error.contains("cret") && !error.contains("123456"), "{error}");
    }
    let variable = ("LARDER_NAMESPACES__A__ORIGIN__HEADERS__X_KEY", "${env:NONE}");
    let error = try_load(&http(""), &[variable]).unwrap_err().to_string();
    let expected = "namespaces.a.origin.headers.x-key: the variable NONE is not set, or empty \
        (LARDER_NAMESPACES__A__ORIGIN__HEADERS__X_KEY)";
    assert_eq!(error, expected);
}

#[test]
fn secrets_are_redacted_in_all_output() {
    let file = header("Literal = 'secret'\nScheme = 'Bearer ${env:TOKEN}'");
    let config = loaded(&file, &[("TOKEN", "hunter2")]);
    let debug = format!("{config:?}");
    let rendered = config.render();
    for shown in [&debug, &rendered] {
        assert!(!shown.contains("secret") && !shown.contains("hunter2"), "{shown}");
    }
    assert!(debug.contains("SecretTemplate(Bearer ${env:TOKEN})"), "{debug}");
    let table =
        "[namespaces.a.origin.headers]\nLiteral = \"***\"\nScheme = \"Bearer ${env:TOKEN}\"\n";
    assert!(rendered.contains(table), "{rendered}");
}

#[test]
fn parse_errors_do_not_reveal_secrets() {
    for broken in [
        "Authorization = \"Bearer secret",
        "Authorization = Bearer secret",
        "Authorization = \"\"\"\nBearer secret\\q\n\"\"\"",
        "Authorization \"Bearer secret\"",
        "A = 1, B = 'secret'",
    ] {
        let error = try_load(&header(broken), &[]).unwrap_err().to_string();
        assert!(error.contains("line ") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn header_names_are_validated() {
    let found = |file: String| problems(&file, &[]).first().map_or_else(String::new, Clone::clone);
    let grpc_header = |line: &str| grpc(&format!("[namespaces.a.origin.headers]\n{line}"));
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "TE",
        "upgrade",
        "Connection",
        "If-None-Match",
        "if-modified-since",
        "Accept-Encoding",
        "Keep-Alive",
        "Range",
    ] {
        let expected = format!(
            "namespaces.a.origin.headers.{name}: \
             expected another header, as Larder controls this one"
        );
        assert_eq!(found(header(&format!("{name} = 'v'"))), expected);
        assert_eq!(found(grpc_header(&format!("{name} = 'v'"))), expected);
    }
    for name in ["", "a b", "a:b", "é"] {
        let found = found(header(&format!("'{name}' = 'v'")));
        let expected = "expected the name of a header, got characters that are not allowed in one";
        assert!(found.ends_with(expected), "{found}");
    }
    for (name, why) in [
        ("grpc-timeout", "expected another header, as gRPC controls this one"),
        ("Content-Type", "expected another header, as gRPC controls this one"),
        ("trace-bin", "expected another header, as gRPC treats names that end with -bin as binary"),
        ("a~b", "expected a name of a-z, 0-9, '-', '_' and '.', as in gRPC"),
    ] {
        loaded(&header(&format!("'{name}' = 'v'")), &[]);
        let found = found(grpc_header(&format!("'{name}' = 'v'")));
        assert!(found.ends_with(why), "{found}");
    }
    loaded(
        &grpc_header(
            "Authorization = 'v'\nx_tenant.id = 'v'"
                .replace("x_tenant.id", "'x_tenant.id'")
                .as_str(),
        ),
        &[],
    );
}

#[test]
fn secrets_in_urls_are_redacted_in_the_rendered_configuration() {
    let file = "[namespaces.a.origin]\nurl = \"http://h/{key}?api_key=hunter2&q={key}\"\n\
        [telemetry]\notlp_endpoint = \"http://user:hunter2@collector:4317/?token=hunter2\"\n";
    let config = loaded(file, &[]);
    let rendered = config.render();
    assert!(!rendered.contains("hunter2"), "{rendered}");
    assert!(rendered.contains("url = \"http://h/{key}?api_key=***&q={key}\"\n"), "{rendered}");
    let endpoint = "otlp_endpoint = \"http://user:***@collector:4317/?token=***\"\n";
    assert!(rendered.contains(endpoint), "{rendered}");
    let changed = loaded(&file.replace("user:hunter2", "user:hunter3"), &[]);
    assert_eq!(config.needs_restart(&changed), ["telemetry.otlp_endpoint"]);
}
