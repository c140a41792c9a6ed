//! `journal show` and `journal drop`, on the journal of a server that does not run.

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{DONE, Printed, REFUSED, USAGE, cli};
use crate::support::{
    fleet::metric,
    redis::RedisServer,
    server::{Larder, run},
    wait::SOON,
};

/// Exit code for an unusable configuration, as docs/cli.md has it.
const CONFIG: i32 = 78;

/// Runs `larder journal` on a file. Spaces separate its arguments.
fn journal(line: &str, path: &Path) -> Printed {
    let arguments = ["journal"].into_iter().chain(line.split(' '));
    Printed::new(run(&arguments.chain(["--path", path.to_str().unwrap()]).collect::<Vec<_>>(), &[]))
}

/// A server with a journal, whose Redis does not answer.
async fn start(redis: &RedisServer, path: &Path) -> Larder {
    let larder = Larder::redis(&redis.url()).default_timeouts();
    larder.env("LARDER_JOURNAL__PATH", path.display()).start().await
}

async fn stop(mut larder: Larder) {
    larder.signal(Signal::SIGTERM);
    assert!(larder.wait_exit(SOON).await.success());
}

/// A line of JSON without its age, which is that of an entry of this test.
fn without_age(mut line: Value) -> Value {
    let age = line["age"].take().as_f64().unwrap();
    assert!((0.0..600.0).contains(&age), "{line}: {age}");
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_is_shown_and_dropped() {
    let redis = RedisServer::stopped();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let larder = start(&redis, &path).await;
    for line in [
        "delete ns user:1",
        "delete ns user:1 --param view=full",
        "invalidate other",
        "invalidate ns --tag red --tag blue --glob user:* --hold-off 1h",
    ] {
        let queued = cli(&larder, line);
        assert_eq!(queued.result(), (DONE, "queued\n"), "{line}: {queued:?}");
    }
    for command in ["show", "drop --yes"] {
        let in_use = journal(command, &path);
        in_use.expect_failure(REFUSED, &["is in use by a server", "larder_journal_entries"]);
    }
    stop(larder).await;

    let shown = journal("show --json", &path);
    assert_eq!(shown.code, DONE, "{shown:?}");
    let mut lines: Vec<Value> = shown.json().into_iter().map(without_age).collect();
    let digest = lines[1]["params_digest"].take();
    assert_eq!(digest.as_str().unwrap().len(), 43);
    let hold_off = lines[3]["hold_off"].take().as_f64().unwrap();
    assert!(hold_off > 3000.0 && hold_off <= 3600.0, "{hold_off}");
    let line = |namespace: &str, kind: &str, key: Option<&str>| {
        json!({
            "fleet": "larder", "namespace": namespace, "kind": kind, "key": key,
            "params_digest": null, "tags": [], "patterns": [], "keys": [], "age": null,
            "hold_off": null,
        })
    };
    let mut ban = line("ns", "ban", None);
    (ban["tags"], ban["patterns"]) = (json!(["blue", "red"]), json!(["user:*"]));
    let deleted = line("ns", "key", Some("user:1"));
    assert_eq!(lines, [deleted.clone(), deleted, line("other", "namespace", None), ban]);

    let table = journal("show --limit 3", &path);
    assert_eq!(table.code, DONE, "{table:?}");
    let rows: Vec<&str> = table.result().1.lines().collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(rows[1].ends_with("  ns         key user:1"), "{rows:?}");
    assert!(rows[2].ends_with(&format!("key user:1 (params {})", digest.as_str().unwrap())));
    assert!(rows[3].ends_with("  other      all entries"), "{rows:?}");
    assert!(table.stderr.contains("the eldest 3"), "{table:?}");
    assert!(table.stderr.contains("invalidations: 4 ("), "{table:?}");
    assert!(table.stderr.contains("), fleet: larder\n"), "{table:?}");

    let asked = journal("drop --namespace ns", &path);
    asked.expect_failure(USAGE, &["3 of 4 invalidations would be dropped", "--yes"]);
    let none = journal("drop --before 1h --yes --json", &path).json();
    assert_eq!(none, [json!({"fleet": "larder", "dropped": 0, "left": 4})]);
    let dropped = journal("drop --namespace ns --yes", &path);
    assert_eq!(dropped.result(), (DONE, "dropped 3, left 1\n"));

    let larder = start(&redis, &path).await;
    assert_eq!(metric(&larder, "larder_journal_entries").await, 1.0);
    stop(larder).await;
    let dropped = journal("drop --before 1ms --yes", &path);
    assert_eq!(dropped.result(), (DONE, "dropped 1, left 0\n"));
    let empty = journal("show", &path);
    assert_eq!(empty.result(), (DONE, ""));
    let larder = start(&redis, &path).await;
    assert_eq!(metric(&larder, "larder_journal_entries").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_is_that_of_the_configuration() {
    let redis = RedisServer::stopped();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let builder = Larder::redis(&redis.url()).env("LARDER_JOURNAL__PATH", path.display());
    stop(builder.env("LARDER_STORE__PREFIX", "other-fleet").start().await).await;

    let config = directory.path().join("larder.toml");
    fs::write(&config, format!("[journal]\npath = '{}'\n", path.display())).unwrap();
    let shown = ["journal", "show"];
    let by_file = run(&[&shown[..], &["--config", config.to_str().unwrap()]].concat(), &[]);
    let by_variable = run(&shown, &[("LARDER_JOURNAL__PATH", path.to_str().unwrap())]);
    for shown in [by_file, by_variable].map(Printed::new) {
        assert_eq!(shown.result(), (DONE, ""), "{shown:?}");
        assert_eq!(shown.stderr, "invalidations: 0 (0 B), fleet: other-fleet\n");
    }
    let none = Printed::new(run(&shown, &[]));
    none.expect_failure(USAGE, &["the configuration has no journal.path", "--path"]);
    let unusable = Printed::new(run(&shown, &[("LARDER_JOURNAL__SIZE", "1")]));
    unusable.expect_failure(CONFIG, &["journal.size: unknown key"]);
}

#[test]
fn a_file_that_is_no_journal_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    for command in ["show", "drop --yes"] {
        journal(command, &path).expect_failure(USAGE, &["there is no journal "]);
        assert!(!path.exists());
    }
    fs::write(&path, "text").unwrap();
    for command in ["show", "drop --yes"] {
        journal(command, &path).expect_failure(USAGE, &["is not a journal, or"]);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    journal("show", directory.path()).expect_failure(REFUSED, &["failed: ", "directory"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_journal_is_refused_in_one_line() {
    let redis = RedisServer::stopped();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    stop(start(&redis, &path).await).await;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(fs::metadata(&path).unwrap().len() / 2).unwrap();
    journal("show", &path).expect_failure(REFUSED, &["is damaged"]);
}
