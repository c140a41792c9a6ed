//! Certificates that are replaced while connections are open.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use nix::sys::signal::Signal;

use super::{
    handshakes::{line, metric},
    pki::{BOTH, Pki, der, served},
};
use crate::support::{
    client::get,
    wait::{SOON, eventually},
    watch::{Watch, WatchEvent},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_used_by_new_connections_and_open_ones_go_on() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    let cache = pki.connect(&larder, None).await.unwrap();
    let mut watch = Watch::of_ns(&cache, true).await;
    let config = pki.client(None, BOTH, &["h2"]);
    for number in 0..2 {
        let pair = pki.sign("localhost", -1..60);
        pki.write_pair("server", &pair);
        // The second time, the signal is faster than the interval, or the interval is.
        if number == 1 {
            larder.signal(Signal::SIGHUP);
        }
        eventually("the new certificate is served", 3 * SOON, async || {
            (served(&larder, &config).await == der(&pair)).then_some(())
        })
        .await;
        // The connection from before, its calls and its stream.
        let key = format!("k{number}");
        cache.put(&key, "v").await;
        assert_eq!(cache.read(&key).await.as_deref(), Some("v"));
        loop {
            let event = watch.news().await;
            let WatchEvent::Keys(_, keys) = event else { panic!("{event:?}") };
            if keys.iter().any(|(changed, _)| *changed == key) {
                break;
            }
        }
    }
    line(&larder, &["a certificate was replaced", "\"certificate\":\"grpc\""]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_certificates_are_replaced_under_load() {
    let pki = Pki::new();
    let larder = Arc::new(pki.start(&[]).await);
    let (is_over, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let pki = Arc::new(pki);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (pki, larder) = (pki.clone(), larder.clone());
        let (is_over, calls) = (is_over.clone(), calls.clone());
        tasks.push(tokio::spawn(async move {
            while !is_over.load(SeqCst) {
                // A few calls per connection, so that there are handshakes all the time.
                let cache = pki.connect(&larder, None).await.unwrap();
                for _ in 0..20 {
                    cache.get(get("k")).await.unwrap();
                    calls.fetch_add(1, SeqCst);
                }
            }
        }));
    }
    let config = pki.client(None, BOTH, &["h2"]);
    for _ in 0..3 {
        let pair = pki.sign("localhost", -1..60);
        pki.write_pair("server", &pair);
        eventually("the new certificate is served", 3 * SOON, async || {
            (served(&larder, &config).await == der(&pair)).then_some(())
        })
        .await;
    }
    is_over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(calls.load(SeqCst) > 0);
}

#[tokio::test]
async fn files_that_do_not_fit_change_nothing_and_are_logged_once() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    let config = pki.client(None, BOTH, &["h2"]);
    let before = served(&larder, &config).await;
    let pair = pki.sign("localhost", -1..60);
    pki.write("server.key", &pair.key);
    let parts = ["are not used: the old ones stay", "tls.key: the key in the file"];
    line(&larder, &parts).await;
    assert_eq!(served(&larder, &config).await, before);
    // A signal reports it as well, and changes nothing.
    larder.signal(Signal::SIGHUP);
    line(&larder, &["the configuration stays as it was", "does not belong"]).await;
    assert_eq!(served(&larder, &config).await, before);
    assert_eq!(larder.logs().matches("are not used").count(), 1);
    pki.write("server.crt", &pair.certificate);
    eventually("the pair is served when it is complete", 3 * SOON, async || {
        (served(&larder, &config).await == der(&pair)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_logged_and_measured() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    let left = async || {
        metric(&larder, "larder_tls_certificate_expiry_seconds", "certificate=\"grpc\"").await
    };
    let days = left().await / 86_400.0;
    assert!((59.0..61.0).contains(&days), "{days}");
    assert!(!larder.logs().contains("expires soon"));
    pki.write_pair("server", &pki.sign("localhost", -1..20));
    line(&larder, &["a certificate expires soon", "\"certificate\":\"grpc\"", "\"days\":19"]).await;
    let days = left().await / 86_400.0;
    assert!((19.0..21.0).contains(&days), "{days}");
}
