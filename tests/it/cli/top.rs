//! `top`: once as text and JSON, and on a terminal.

use std::{fs, net::SocketAddr};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{DONE, REFUSED, USAGE, cli};
use crate::support::{
    client::{batch_get, key_ref},
    proxy::{Proxy, Upstream},
    server::{Larder, run},
    tmux::Terminal,
};

on_both_stores!(top_prints_all_figures_once, |env| {
    let larder = &env.larder;
    env.cache.put("k", "v").await;
    for _ in 0..20 {
        env.cache.batch_get(batch_get(vec![key_ref("k"); 1000])).await.unwrap();
    }
    let text = cli(larder, "top --once");
    assert_eq!((text.code, &*text.stderr), (DONE, ""));
    let text = text.result().1;
    for part in [
        &format!("server     {}, at ", larder.address()),
        "replicas   1\n",
        "hit rate 100.0 %, stale 0.0 %, p50 ",
        "\n namespace  reads/s  hit %  stale %  p50 ms  p99 ms  keys  bytes",
        "\n ns         ",
        "\n hot key of  key  reads/s  share",
        " 100.0 %\n",
        "\n replica           version  up",
        "  requests/s  cpus  memory  ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = cli(larder, "top --once --json").json();
    assert_eq!(json.len(), 1);
    let figures = &json[0];
    assert_eq!(figures["address"], json!(larder.address().to_string()));
    assert_eq!((&figures["degraded"], &figures["left_out"]), (&json!(false), &json!([])));
    assert_eq!(figures["store"]["reachable"], json!(true));
    let namespace = &figures["namespaces"][0];
    assert_eq!((&namespace["namespace"], &namespace["hit_rate"]), (&json!("ns"), &json!(1.0)));
    assert!(namespace["reads_per_second"].as_f64() > Some(1.0), "{namespace}");
    assert_eq!((&namespace["keys"], &namespace["ttl"]), (&json!(1), &json!(1800.0)));
    assert_eq!(figures["hot_keys"][0]["key"], json!("k"));
    let replicas = figures["replicas"].as_array().unwrap();
    assert_eq!((replicas.len(), &replicas[0]["report"]["store_available"]), (1, &json!(true)));
    assert_eq!(figures["last_hour"].as_array().map(Vec::len), Some(59));
});

#[tokio::test]
async fn mistakes_of_top_have_precise_errors() {
    let larder = Larder::memory().start().await;
    cli(&larder, "top").expect_failure(USAGE, &["is no terminal", "top --once"]);
    cli(&larder, "top --json").expect_failure(USAGE, &["--json needs --once"]);
    let long = cli(&larder, "top --interval 2m");
    assert!(long.code == USAGE && long.stderr.contains("must be from 1s to 1m"), "{long:?}");
    let unused = ["top", "--once", "--address", "127.0.0.1:1"];
    let output = run(&unused, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(REFUSED), "{error}");
    assert!(error.starts_with("larder: cannot connect to 127.0.0.1:1"), "{error}");
}

/// Starts `top` in a terminal.
fn start(terminal: &Terminal, address: SocketAddr, variables: &str) {
    let program = crate::larder_binary();
    let program = program.display();
    terminal.enter(&format!(
        "clear; {variables} {program} top --address {address} --interval 1s; echo ended $?"
    ));
}

/// Expects the shell, with the terminal as it was.
async fn expect_restored(terminal: &Terminal, code: i32) {
    terminal.wait_for(&[&format!("ended {code}"), "ready$"]).await;
    // No screen of its own, and a visible cursor.
    assert_eq!(terminal.screen_flags(), "0 1");
    terminal.enter("stty -a");
    terminal.wait_for(&["isig icanon iexten echo "]).await;
}

#[tokio::test]
async fn top_fills_a_terminal_and_restores_it() {
    let larder = Larder::memory().start().await;
    cli(&larder, "set ns k v");
    cli(&larder, "set other k v");
    let terminal = Terminal::start(80, 24).await;
    start(&terminal, larder.address(), "");
    terminal.wait_for(&["larder top   127.0.0.1", "\n ns  ", "\n other ", "q quit   ? help"]).await;
    assert_eq!(terminal.screen_flags(), "1 0");
    let styled = terminal.styled_text();
    assert!(styled.contains("\u{1b}[38;5;2mok"), "no colour: {styled:?}");

    terminal.keys(&["f", "o", "t"]);
    let filtered = terminal.wait_for(&["filter: ot"]).await;
    assert!(filtered.contains("\n other ") && !filtered.contains("\n ns  "), "{filtered}");
    terminal.keys(&["Escape"]);
    terminal.wait_for(&["\n ns  ", "q quit"]).await;
    terminal.keys(&["s", "S", "End", "Enter"]);
    terminal.wait_for(&["NAMESPACE ", "policy ", "COUNTERS", "LATENCY 1 H", "MINUTE"]).await;
    for (key, part) in
        [("k", "HOT KEYS OF"), ("o", "CALLS/S"), ("r", "CONNS"), ("?", "Ctrl-C"), ("p", "paused")]
    {
        terminal.keys(&[key]);
        terminal.wait_for(&[part]).await;
    }
    // A letter right after Escape would be a key with Alt.
    terminal.keys(&["p", "Escape"]);
    terminal.wait_until("no help", |text| text.contains("CONNS") && !text.contains("paused")).await;
    terminal.keys(&["r"]);
    terminal.wait_for(&["NAMESPACE ", "STALE %", "LAST 60"]).await;

    terminal.resize(120, 40);
    terminal.wait_for(&["REPLICAS", "LAST 60 S"]).await;
    terminal.resize(50, 10);
    terminal.wait_for(&["needs at least 60x16"]).await;
    terminal.resize(80, 24);
    terminal.wait_for(&["NAMESPACE", "q quit"]).await;
    terminal.keys(&["q"]);
    expect_restored(&terminal, DONE).await;
}

#[tokio::test]
async fn top_shows_a_server_that_goes_away_and_comes_back() {
    let larder = Larder::memory().start().await;
    cli(&larder, "set ns k v");
    let mut proxy = Proxy::start(Upstream::Address(larder.address())).await;
    let terminal = Terminal::start(80, 24).await;
    start(&terminal, proxy.address(), "NO_COLOR=1");
    terminal.wait_for(&["larder top", "\n ns  "]).await;
    proxy.cut().await;
    let shown = terminal.wait_for(&["! server: figures are "]).await;
    assert!(shown.contains("\n ns  "), "the last figures are gone\n{shown}");
    // The codes of colours, in the foreground.
    let styled = terminal.styled_text();
    let has_color = styled.contains("\u{1b}[38;")
        || (30..38).any(|color| styled.contains(&format!("\u{1b}[{color}m")));
    assert!(!has_color, "{styled:?}");
    proxy.restore().await;
    terminal.wait_until("an answer", |text| !text.contains("figures are ")).await;
    terminal.keys(&["C-c"]);
    expect_restored(&terminal, DONE).await;
}

#[tokio::test]
async fn a_signal_ends_top_and_restores_the_terminal() {
    let larder = Larder::memory().start().await;
    let terminal = Terminal::start(80, 24).await;
    let folder = tempfile::tempdir().unwrap();
    terminal.enter(&format!("cd {}", folder.path().display()));
    let program = crate::larder_binary();
    let (program, address) = (program.display(), larder.address());
    terminal.enter(&format!(
        "sh -c 'echo $$ > pid; exec {program} top --address {address}'; echo ended $?"
    ));
    terminal.wait_for(&["larder top", "q quit"]).await;
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGTERM).unwrap();
    expect_restored(&terminal, DONE).await;
}
