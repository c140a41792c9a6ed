use super::super::{Config, Sources, reload};
use super::{loaded, sources};

const FULL: &str = "[namespaces.a]\nttl = \"1m\"\n[namespaces.b]\nttl = \"2m\"\n";

fn reloaded(current: &Config, file: &str) -> Result<Config, String> {
    let (sources, _file): (Sources, _) = sources(file, &[]);
    reload(sources, current).map_err(|error| error.to_string())
}

#[test]
fn file_that_has_lost_its_content_is_refused() {
    let current = loaded(FULL, &[]);
    for (file, what) in [
        ("", "it sets no key"),
        (" \n\n", "it sets no key"),
        ("# Being written\n", "it sets no key"),
        ("[log]\nlevel = \"debug\"\n", "all namespaces are gone"),
    ] {
        let error = reloaded(&current, file).unwrap_err();
        assert!(error.contains(what), "{file:?}: {error}");
    }
    assert_eq!(reloaded(&current, FULL).unwrap(), current);
    let one = reloaded(&current, "[namespaces.a]\nttl = \"1m\"\n").unwrap();
    assert_eq!(one.namespaces.len(), 1);
}

#[test]
fn file_that_was_empty_before_may_be_empty() {
    let current = loaded("", &[]);
    assert_eq!(reloaded(&current, "").unwrap(), current);
    let current = loaded("[log]\nlevel = \"debug\"\n", &[]);
    assert!(reloaded(&current, "").unwrap_err().contains("it sets no key"));
}
