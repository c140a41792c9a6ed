use super::super::{Config, Sources, load::reload_after, reload};
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

#[test]
fn file_that_lacks_namespaces_and_still_changes_is_refused() {
    const HALF: &str = "[namespaces.a]\nttl = \"1m\"\n";
    let current = loaded(FULL, &[]);
    let (half, _file): (Sources, _) = sources(HALF, &[]);
    let path = half.file.clone().unwrap();
    let written = || std::fs::write(&path, FULL).unwrap();
    let error = reload_after(half.clone(), &current, written).unwrap_err().to_string();
    assert!(error.contains("it changes, and lacks namespaces"), "{error}");
    assert_eq!(
        reload_after(half.clone(), &current, || panic!("nothing is gone")).unwrap(),
        current
    );
    std::fs::write(&path, HALF).unwrap();
    assert_eq!(reload_after(half, &current, || ()).unwrap().namespaces.len(), 1);
}
