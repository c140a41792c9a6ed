//! Names and values that try to be markup, or to turn the text around them.

use std::fs;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::Status;

use super::{Http, PAGES, act, address};
use crate::support::{
    client::{fetch, set, text},
    env::Env,
    grpc_origin::GrpcOrigin,
    server::Larder,
    wait::{SOON, eventually},
};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&\u{202e}";

/// Checks that a page has the text as text only. Fields of forms keep all characters.
fn assert_escaped(path: &str, body: &str) {
    for raw in ["<script>alert", "<img src=x", "\"><script>", "'&\u{202e}"] {
        assert!(!body.contains(raw), "{path}: {raw}: {body}");
    }
    let outside: String = body.split("value=\"").enumerate().map(of_part).collect();
    assert!(!outside.contains('\u{202e}'), "{path}: {body}");
}

/// A part of a page without the value of a field with which it begins.
fn of_part((index, part): (usize, &str)) -> &str {
    if index == 0 { part } else { part.split_once('"').map_or("", |(_, rest)| rest) }
}

on_both_stores!(
    hostile_names_and_values_are_shown_as_text,
    env: [("LARDER_AUDIT__TO", "stderr"), ("LARDER_AUDIT__KEYS", "plain")],
    |env| {
        let mut request = set(HOSTILE, text(HOSTILE));
        request.tags = vec![HOSTILE.to_owned()];
        env.cache.set(request).await.unwrap();
        // So many that some are sampled.
        for _ in 0..2000 {
            env.cache.read(HOSTILE).await;
        }
        let http = Http::to(&env.larder);
        let entry = [("namespace", "ns"), ("key", HOSTILE)];
        let confirmations = [
            vec![("action", "delete"), ("namespace", "ns"), ("key", HOSTILE)],
            vec![("action", "key"), ("namespace", "ns"), ("key", HOSTILE)],
            vec![("action", "tag"), ("namespace", "ns"), ("tags", HOSTILE)],
            vec![("action", "glob"), ("namespace", "ns"), ("glob", "*")],
            vec![("action", "event"), ("name", HOSTILE), ("attributes", HOSTILE)],
        ];
        let mut paths: Vec<String> = PAGES.iter().map(ToString::to_string).collect();
        paths.push(address("/entry", &entry));
        paths.push(address("/keys", &[("namespace", "ns")]));
        paths.push(address("/hot-keys", &[("namespace", "ns"), ("minutes", "60")]));
        paths.push("/namespaces/ns".to_owned());
        paths.extend(confirmations.iter().map(|parameters| address("/confirm", parameters)));
        let mut seen = 0;
        for path in &paths {
            let answer = http.get(path).await;
            assert!([200, 400].contains(&answer.status), "{path}: {answer:?}");
            assert_escaped(path, &answer.body);
            seen += usize::from(answer.body.contains("&lt;script&gt;alert(1)"));
        }
        assert!(seen >= 7, "{seen} pages show the name");
        let done = act(&http, &confirmations[2]).await;
        assert_escaped("the job", &done.body);
        let audit = eventually("the record is shown", SOON, async || {
            let body = http.get("/audit").await.body;
            body.contains("&lt;script&gt;alert(1)").then_some(body)
        })
        .await;
        assert_escaped("/audit", &audit);
    }
);

#[tokio::test]
async fn hostile_parameters_are_refused_with_an_error_as_text() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    for (path, parameters, expected) in [
        ("/keys", vec![("namespace", HOSTILE)], 400),
        ("/keys", vec![("namespace", "ns"), ("glob", "[<script>alert(1)</script>")], 400),
        ("/keys", vec![("namespace", "ns"), ("after", HOSTILE)], 400),
        ("/entry", vec![("namespace", "ns"), ("key", "k"), ("digest", HOSTILE)], 400),
        ("/entry", vec![("namespace", HOSTILE), ("key", "k")], 400),
        ("/hot-keys", vec![("namespace", HOSTILE)], 400),
        ("/namespaces/%3Cscript%3Ealert(1)%3C%2Fscript%3E", vec![], 400),
        ("/confirm", vec![("action", HOSTILE)], 404),
        ("/jobs/%3Cscript%3Ealert(1)%3C%2Fscript%3E", vec![], 404),
        ("/audit", vec![("event", HOSTILE)], 200),
        ("/", vec![("span", HOSTILE)], 200),
        ("/analysis", vec![("namespace", HOSTILE)], 400),
        ("/invalidations", vec![("namespace", HOSTILE)], 200),
    ] {
        let answer = http.get(&address(path, &parameters)).await;
        assert_eq!(answer.status, expected, "{path} {parameters:?}: {answer:?}");
        assert_escaped(path, &answer.body);
        assert!(!answer.header("content-security-policy").is_empty(), "{path}");
    }
}

#[tokio::test]
async fn errors_of_origins_and_of_the_store_are_shown_as_text() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("<script>alert(1)<b>.txt");
    let config = format!(
        "[namespaces.ns.origin]\nurl = 'http://127.0.0.1:1/v/{{key}}'\n\
         [namespaces.ns.origin.warm]\nfile = \"{}\"\n",
        list.display()
    );
    fs::write(&list, "k\n").unwrap();
    let larder = Larder::memory().config(&config).start().await;
    fs::remove_file(&list).unwrap();
    let http = Http::to(&larder);
    let done = act(&http, &[("action", "warm"), ("namespace", "ns")]).await;
    assert!(done.body.contains("failed") && done.body.contains("&lt;script&gt;"), "{done:?}");
    assert_escaped("the job", &done.body);
    for path in ["/namespaces/ns", "/origins"] {
        assert_escaped(path, &http.get(path).await.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_origin_answers_is_shown_as_text() {
    let origin = GrpcOrigin::start().await;
    origin.answer(|_| Err(Status::internal(HOSTILE)));
    let config = format!(
        "[namespaces.ns.origin]\ngrpc = '{}'\nretries = 0\n\
         breaker_threshold = 3\nbreaker_cooldown = '60s'\n",
        origin.url()
    );
    for env in [Env::memory(&[], &config).await, Env::redis(&[], &config).await] {
        for index in 0..6 {
            env.cache.get_or_fetch(fetch(&format!("k{index}"), 10_000)).await.unwrap_err();
        }
        let http = Http::to(&env.larder);
        for path in ["/origins", "/"] {
            let shown = eventually(path, SOON, async || {
                let body = http.get(path).await.body;
                body.contains("&lt;script&gt;alert(1)").then_some(body)
            })
            .await;
            assert_escaped(path, &shown);
        }
        let origins = http.get("/origins").await.body;
        assert!(origins.contains(">open<") && origins.contains("ns opens"), "{origins}");
        assert_escaped("/namespaces/ns", &http.get("/namespaces/ns").await.body);
    }
}

/// A server that answers each command with the error.
async fn failing_redis(error: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut part = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut part).await {
                    let lines = part[..count].split(|byte| *byte == b'\n');
                    let commands = lines.filter(|line| line.starts_with(b"*")).count();
                    let answer = format!("-{error}\r\n").repeat(commands);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn what_the_store_answers_is_shown_as_text() {
    let url = failing_redis("NOAUTH \"><script>alert(1)</script><img src=x>'&\u{202e}").await;
    let larder = Larder::redis(&url).start().await;
    let http = Http::to(&larder);
    for path in ["/", "/replicas", "/namespaces/ns"] {
        let shown = eventually(path, SOON, async || {
            let body = http.get(path).await.body;
            let is_shown = body.contains("&lt;script&gt;alert(1)");
            (is_shown || path == "/namespaces/ns").then_some(body)
        })
        .await;
        assert_escaped(path, &shown);
    }
}
