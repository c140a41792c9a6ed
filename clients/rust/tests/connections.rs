//! Connections to the real server: `LARDER_BIN`, or `target/debug/larder`.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use larder_client::{
    Change, Client, ClientBuilder, Code, Error, Outcome, Preset, ResetReason, pb,
    testing::{LarderServer, ServerOptions},
};
use support::{LIMIT, binary};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};

type Tested = Result<(), Box<dyn std::error::Error>>;

fn options() -> ServerOptions {
    ServerOptions { binary: Some(binary()), ..ServerOptions::default() }
}

async fn server() -> LarderServer {
    LarderServer::start(options()).await.expect("the server starts: LARDER_BIN names its binary")
}

fn local(target: &str) -> ClientBuilder {
    Client::builder(target).preset(Preset::Local)
}

const TOKEN: &str = "a-token-of-the-app-with-32-characters";

/// A server that permits reads and watches with the token.
fn with_permissions() -> ServerOptions {
    let config = "[auth]\nmode = \"enforce\"\n\
        [auth.principals.app]\ntokens = [\"${env:APP_TOKEN}\"]\nroles = [\"reader\"]\n\
        [auth.roles.reader]\nallow = [{ verbs = [\"read\", \"watch\"], namespaces = [\"*\"] }]\n";
    let environment = vec![("APP_TOKEN".to_owned(), TOKEN.to_owned())];
    ServerOptions { config: config.to_owned(), environment, ..options() }
}

/// Carries bytes to a server; a silent one stops to carry what comes on the connections of now.
struct Proxy {
    target: String,
    accepted: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
}

impl Proxy {
    async fn to(server: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let target = listener.local_addr()?.to_string();
        let (accepted, silent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, is_silent, server) =
            (Arc::clone(&accepted), Arc::clone(&silent), server.to_owned());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                counter.fetch_add(1, SeqCst);
                let (is_silent, server) = (Arc::clone(&is_silent), server.clone());
                tokio::spawn(async move {
                    let mut upstream = TcpStream::connect(server).await?;
                    let silence = async {
                        while !is_silent.load(SeqCst) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    };
                    tokio::select! {
                        ended = copy_bidirectional(&mut client, &mut upstream) => ended.map(|_| ()),
                        // The connection stays open, and nothing comes.
                        () = silence => std::future::pending().await,
                    }
                });
            }
        });
        Ok(Self { target, accepted, silent })
    }
}

#[tokio::test]
async fn a_connection_that_died_in_silence_is_replaced_after_five_calls() -> Tested {
    let server = server().await;
    let proxy = Proxy::to(server.target()).await?;
    let client = local(&proxy.target).call_timeout(Duration::from_millis(100)).connect_lazy()?;
    let values = client.namespace::<u32>("values");
    client.connect().await?;
    proxy.silent.store(true, SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..5 {
        let error = values.delete("k").await.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded);
    }
    assert_eq!(proxy.accepted.load(SeqCst), 1);
    proxy.silent.store(false, SeqCst);
    values.delete("k").await?;
    assert_eq!(proxy.accepted.load(SeqCst), 2);
    Ok(())
}

async fn misses(target: &str, namespace: &str) -> Result<u64, Error> {
    let stats = local(target).connect_lazy()?.stats([namespace]).await?;
    let counted = stats.namespaces.first().and_then(|stats| stats.counted);
    Ok(counted.and_then(|counted| counted.total).map_or(0, |total| total.misses))
}

#[tokio::test]
async fn several_addresses_share_the_calls_and_one_that_is_away_is_left_out() -> Tested {
    let (one, mut two) = (server().await, server().await);
    let both = format!("{},{}", one.target(), two.target());
    let client = local(&both).connect_lazy()?;
    let values = client.namespace::<u32>("shared");
    let begun = Instant::now();
    loop {
        for _ in 0..10 {
            values.get("k").await?;
        }
        let counts = (misses(one.target(), "shared").await?, misses(two.target(), "shared").await?);
        if counts.0 > 0 && counts.1 > 0 {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "one server is not asked: {counts:?}");
    }
    two.stop().await?;
    while values.get("k").await?.degraded {
        assert!(begun.elapsed() < 2 * LIMIT, "the other server does not answer");
    }
    for _ in 0..20 {
        assert!(!values.get("k").await?.degraded);
    }
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket() -> Tested {
    let server = server().await;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("larder.sock");
    let listener = tokio::net::UnixListener::bind(&path)?;
    let target = server.target().to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut upstream = TcpStream::connect(&target).await?;
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut upstream).await });
        }
        Ok::<_, std::io::Error>(())
    });
    let target = format!("unix:{}", path.display());
    let client = local(&target).token("may-be-sent-here").connect_lazy()?;
    assert!(client.namespace::<u32>("values").set("k", &1).await?.is_stored());
    Ok(())
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_with_a_certificate_of_the_client() -> Tested {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let made = Command::new(binary())
        .args(["certs", "--force", "--client", "one", "--out"])
        .arg(directory.path())
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = format!(
        "[tls]\ncert = {:?}\nkey = {:?}\nclient_ca = {:?}\nclient_cert = \"required\"\n",
        at("server.crt"),
        at("server.key"),
        at("ca.crt"),
    );
    let server = LarderServer::start(ServerOptions { config, ..options() }).await?;
    let with = |target: &str| {
        local(target)
            .ca_file(at("ca.crt"))
            .cert_file(at("client-one.crt"))
            .key_file(at("client-one.key"))
    };
    let client = with(server.target()).token("secret").connect().await?;
    assert!(client.namespace::<u32>("values").set("k", &1).await?.is_stored());
    let without = local(server.target()).ca_file(at("ca.crt")).connect_lazy()?;
    let read = without.namespace::<u32>("values").get("k").await?;
    assert!(read.degraded, "a client without a certificate is refused");
    let plain = local(server.target()).connect_lazy()?;
    assert!(plain.namespace::<u32>("values").get("k").await?.degraded);
    let error = local(server.target()).cert_file(at("client-one.crt")).connect_lazy().unwrap_err();
    assert!(error.message().contains("key_file"), "{error}");
    let error = local(server.target()).ca_file("/none").connect_lazy().unwrap_err();
    assert!(error.message().starts_with("ca_file: /none"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_server_with_permissions() -> Tested {
    let server = LarderServer::start(with_permissions()).await?;
    let reader = local(server.target()).token(TOKEN).connect_lazy()?.namespace::<u32>("n");
    assert_eq!(reader.get("k").await?.outcome, Outcome::Miss);
    let error = reader.set("k", &1).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    let unnamed = local(server.target()).connect_lazy()?.namespace::<u32>("n");
    assert_eq!(unnamed.get("k").await.unwrap_err().code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn a_provider_is_asked_again_for_a_token_that_is_refused() -> Tested {
    let server = LarderServer::start(with_permissions()).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let client = local(server.target())
        .token_provider(move || {
            let is_first = counter.fetch_add(1, SeqCst) == 0;
            async move { Ok(if is_first { "expired" } else { TOKEN }) }
        })
        .connect_lazy()?;
    assert_eq!(client.namespace::<u32>("n").get("k").await?.outcome, Outcome::Miss);
    assert_eq!(asked.load(SeqCst), 2);
    Ok(())
}

#[tokio::test]
async fn changes_go_on_with_another_token() -> Tested {
    let server = LarderServer::start(with_permissions()).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let client = local(server.target())
        .token_provider(move || {
            let is_first = counter.fetch_add(1, SeqCst) == 0;
            async move { Ok(if is_first { "expired" } else { TOKEN }) }
        })
        .connect_lazy()?;
    let mut watch = client.namespace::<u32>("n").watch(true)?;
    assert_eq!(watch.next().await?, Some(Change::Ready { resumed: false }));
    let wrong = local(server.target()).token("of-nobody").connect_lazy()?;
    let error = wrong.namespace::<u32>("n").watch(true)?.next().await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn changes_leave_a_connection_that_died_in_silence() -> Tested {
    let server = server().await;
    let proxy = Proxy::to(server.target()).await?;
    let client = local(&proxy.target).connect_lazy()?;
    let mut watch = client.namespace::<u32>("values").watch(true)?;
    assert_eq!(watch.next().await?, Some(Change::Ready { resumed: false }));
    proxy.silent.store(true, SeqCst);
    let next = tokio::time::timeout(LIMIT, watch.next()).await??;
    assert_eq!(next, Some(Change::Reset(ResetReason::Disconnected)));
    proxy.silent.store(false, SeqCst);
    let next = tokio::time::timeout(LIMIT, watch.next()).await??;
    assert!(matches!(next, Some(Change::Ready { .. })), "{next:?}");
    Ok(())
}

#[tokio::test]
async fn tokens_are_not_sent_over_plain_text() -> Tested {
    for target in ["10.0.0.1:50051", "127.0.0.1:5,10.0.0.1:5"] {
        let error = Client::builder(target).token("secret").connect_lazy().unwrap_err();
        assert!(error.message().contains("plain text"), "{error}");
    }
    Client::builder("10.0.0.1:5").token("secret").allow_plaintext_token(true).connect_lazy()?;
    Client::builder("127.0.0.1:5").token("secret").connect_lazy()?;
    let error = Client::builder("127.0.0.1:5").token("line\nbreak").connect_lazy().unwrap_err();
    assert!(error.message().starts_with("token: expected"), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_generated_stubs_use_the_connections_of_the_client() -> Tested {
    let server = server().await;
    let client = local(server.target()).namespace_prefix("app.").connect_lazy()?;
    let users = client.namespace::<String>("users");
    assert_eq!(users.wire_name(), "app.users");
    users.set("k", &"v".to_owned()).await?;
    let request = pb::GetRequest {
        namespace: "app.users".to_owned(),
        key: "k".to_owned(),
        ..Default::default()
    };
    let answer = client.cache_stub().get(request).await?.into_inner();
    assert_eq!(answer.outcome(), pb::Outcome::Hit);
    Ok(())
}

#[tokio::test]
async fn the_end_of_the_last_handle_ends_the_connections() -> Tested {
    let server = server().await;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let target = listener.local_addr()?.to_string();
    let upstream = server.target().to_owned();
    let carried = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await?;
        let mut upstream = TcpStream::connect(upstream).await?;
        copy_bidirectional(&mut client, &mut upstream).await
    });
    let values = local(&target).connect_lazy()?.namespace::<u32>("values");
    values.get("k").await?;
    assert!(!carried.is_finished());
    drop(values);
    tokio::time::timeout(LIMIT, carried).await??.ok();
    Ok(())
}

#[test]
fn a_client_can_be_used_on_several_runtimes() -> Tested {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let serving =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = serving.block_on(server());
    let first = runtime()?;
    let client = local(server.target()).connect_lazy()?;
    let values = client.namespace::<u32>("values");
    assert!(!first.block_on(values.get("k"))?.degraded);
    let second = runtime()?;
    drop(first);
    let begun = Instant::now();
    while second.block_on(values.get("k"))?.degraded {
        assert!(begun.elapsed() < LIMIT, "the second runtime has no connection");
    }
    Ok(())
}
