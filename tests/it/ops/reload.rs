//! Reload of the configuration on SIGHUP.

use std::time::Duration;

use larder::pb::v1::SetRequest;
use nix::sys::signal::Signal;

use crate::support::{
    client::{duration, set, text},
    env::Env,
    wait::{SOON, eventually, throughout},
};

const BEFORE: &str = "[namespaces.user]\nttl = \"1m\"\nttl_jitter = 0.0\n";
const AFTER: &str = "[namespaces.user]\nttl = \"2m\"\nttl_jitter = 0.0\n[defaults]\nttl = \"3m\"\n";

on_both_stores!(a_changed_namespace_is_applied, config: BEFORE, |env| {
    assert_eq!(ttl(&env, "user").await, Duration::from_secs(60));
    assert_eq!(ttl(&env, "other").await, Duration::from_secs(1800));
    env.larder.rewrite_config(AFTER);
    env.larder.signal(Signal::SIGHUP);
    eventually("the new TTL applies", SOON, async || {
        (ttl(&env, "user").await == Duration::from_secs(120)).then_some(())
    })
    .await;
    assert_eq!(ttl(&env, "other").await, Duration::from_secs(180));
    let line = eventually("the reload is logged", SOON, async || {
        let logs = env.larder.logs();
        logs.lines().find(|line| line.contains("was read again")).map(str::to_owned)
    })
    .await;
    let changed = "\"changed\":\"defaults.ttl, namespaces.user.ttl\"";
    assert!(line.contains(changed), "{line}");
});

on_both_stores!(an_invalid_config_is_ignored, config: BEFORE, |env| {
    env.larder.rewrite_config("[namespaces.user]\nttl = \"soon\"\n");
    env.larder.signal(Signal::SIGHUP);
    eventually("the error is logged", SOON, async || {
        env.larder.logs().contains("namespaces.user.ttl").then_some(())
    })
    .await;
    assert_eq!(ttl(&env, "user").await, Duration::from_secs(60));
    // An unknown key does not stop the server either.
    env.larder.rewrite_config("no_such_key = 1\n");
    env.larder.signal(Signal::SIGHUP);
    eventually("the error is logged", SOON, async || {
        env.larder.logs().contains("no_such_key").then_some(())
    })
    .await;
    assert_eq!(ttl(&env, "user").await, Duration::from_secs(60));

    env.larder.rewrite_config(AFTER);
    env.larder.signal(Signal::SIGHUP);
    eventually("the valid config applies", SOON, async || {
        (ttl(&env, "user").await == Duration::from_secs(120)).then_some(())
    })
    .await;
});

on_both_stores!(a_changed_log_level_is_applied, config: "[log]\nlevel = \"info\"\n", |env| {
    let debug = |text: &str| text.contains("\"DEBUG\"");
    throughout(Duration::from_millis(100), async || {
        ttl(&env, "user").await;
    })
    .await;
    assert!(!debug(&env.larder.logs()));
    env.larder.rewrite_config("[log]\nlevel = \"larder=debug\"\n");
    env.larder.signal(Signal::SIGHUP);
    eventually("requests are logged", SOON, async || {
        ttl(&env, "user").await;
        debug(&env.larder.logs()).then_some(())
    })
    .await;
});

on_both_stores!(a_file_that_was_emptied_is_ignored, config: BEFORE, |env| {
    for (broken, what) in [
        ("", "it sets no key"),
        ("# written so far\n", "it sets no key"),
        ("[defaults]\nttl = \"3m\"\n", "all namespaces are gone"),
    ] {
        let refusals = || env.larder.logs().matches(what).count();
        let before = refusals();
        env.larder.rewrite_config(broken);
        env.larder.signal(Signal::SIGHUP);
        eventually("the error is logged", SOON, async || (refusals() > before).then_some(()))
            .await;
        assert_eq!(ttl(&env, "user").await, Duration::from_secs(60), "{broken:?}");
    }
    env.larder.rewrite_config(AFTER);
    env.larder.signal(Signal::SIGHUP);
    eventually("the complete config applies", SOON, async || {
        (ttl(&env, "user").await == Duration::from_secs(120)).then_some(())
    })
    .await;
});

async fn ttl(env: &Env, namespace: &str) -> Duration {
    let request = SetRequest { namespace: namespace.to_owned(), ..set("k", text("v")) };
    duration(env.cache.set(request).await.unwrap().ttl)
}
