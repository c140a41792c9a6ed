//! `watch`: changes, as they happen.

use std::process::Child;

use super::{DONE, REFUSED, USAGE, cli};
use crate::support::{
    client::invalidate,
    proxy::{Proxy, Upstream},
    server::{Larder, run, run_into_closed_pipe, start},
    targets,
};

/// A command that runs, and is killed when dropped.
struct Running {
    process: Child,
    lines: Box<dyn Iterator<Item = std::io::Result<String>> + Send>,
}

impl Running {
    fn start(line: &str, address: &str) -> Self {
        let arguments: Vec<&str> = line.split(' ').chain(["--address", address]).collect();
        let (process, lines) = start(&arguments);
        Self { process, lines: Box::new(lines) }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").unwrap()
    }

    /// Reads lines until this one.
    fn expect(&mut self, expected: &str) {
        while self.line() != expected {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

on_both_stores!(changes_are_lines, |env| {
    let address = env.larder.address().to_string();
    let mut text = Running::start("watch ns --keys", &address);
    assert_eq!(text.line(), "ready");
    let mut json = Running::start("watch ns other --json", &address);
    assert_eq!(json.line(), r#"{"event":"ready","resumed":false}"#);
    env.cache.put("k", "v").await;
    text.expect("key ns k");
    targets::invalidate(&env.cache, &[targets::tags(&["t"]), targets::pattern("k*")]).await;
    text.expect("tags ns t");
    text.expect("pattern ns k*");
    json.expect(r#"{"event":"tags","namespace":"ns","tags":["t"]}"#);
    env.cache.invalidate_namespace(invalidate("other")).await.unwrap();
    json.expect(r#"{"event":"namespace","namespace":"other"}"#);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_made_again_and_nothing_is_missed() {
    let larder = Larder::memory().env("LARDER_WATCH__HEARTBEAT", "100ms").start().await;
    let cache = larder.client().await;
    let mut proxy = Proxy::start(Upstream::Address(larder.address())).await;
    let mut watch = Running::start("watch ns --keys", &proxy.address().to_string());
    assert_eq!(watch.line(), "ready");
    cache.put("before", "v").await;
    watch.expect("key ns before");
    proxy.cut().await;
    cache.put("meanwhile", "v").await;
    proxy.restore().await;
    watch.expect("key ns meanwhile");
    watch.expect("ready resumed");
    cache.put("after", "v").await;
    watch.expect("key ns after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_those_of_the_other_commands() {
    let larder = Larder::memory().start().await;
    let address = larder.address().to_string();
    cli(&larder, "watch Ns").expect_failure(USAGE, &["namespaces[0]"]);
    let closed = run_into_closed_pipe(&["watch", "ns", "--address", &address]);
    assert_eq!(closed.status.code(), Some(DONE), "{closed:?}");
    assert!(closed.stderr.is_empty(), "{closed:?}");
    let unreachable = run(&["watch", "ns", "--address", "127.0.0.1:1"], &[]);
    assert_eq!(unreachable.status.code(), Some(REFUSED), "{unreachable:?}");
}
