//! Records of visits, of refused visits and of actions in the audit log.

use serde_json::Value;
use tempfile::TempDir;

use super::{Http, act, address, own_headers};
use crate::{
    admin_access::{Browser, principal, token_of},
    support::{
        server::Larder,
        wait::{SOON, eventually},
    },
};

const ROLES: &str = "anonymous = ['all']\n\
    [auth.roles.all]\nallow = [{ verbs = ['*'], namespaces = ['*'] }]\n\
    [auth.roles.operator]\nallow = [{ verbs = ['admin'], namespaces = ['*'] }]\n\
    [auth.roles.viewer]\nallow = [{ verbs = ['stats'], namespaces = ['*'] }]\n";
const RULES: &str = "[[events.user_changed]]\nnamespace = 'ns'\nkey = 'user:{id}'\n\
    [[events.user_changed]]\nnamespace = 'ns'\ntags = ['user:{id}']\n";
const EVENT: &str =
    r#"{"specversion":"1.0","type":"user_changed","id":"1","source":"/s","data":{"id":"7"}}"#;

/// A server with an audit log.
struct Audited {
    larder: Larder,
    http: Http,
    directory: TempDir,
}

impl Audited {
    async fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = format!("[audit]\nto = '{}'\nkeys = 'plain'\n", path.display());
        let larder = Larder::memory().config(&format!("{config}{audit}")).start().await;
        let http = Http::to(&larder);
        Self { larder, http, directory }
    }

    /// A server with an `operator` and a `viewer`, and without a token of the port.
    async fn with_principals() -> Self {
        let principals = ["operator", "viewer"].map(|name| principal(name, name)).concat();
        Self::start(&format!("{RULES}[auth]\n{ROLES}{principals}")).await
    }

    /// The records of an action, as soon as there are so many.
    async fn records(&self, action: &str, count: usize) -> Vec<Value> {
        let path = self.directory.path().join("audit.jsonl");
        eventually(action, SOON, async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let found: Vec<_> = records.filter(|record| record["action"] == action).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// Opens live figures, and leaves them.
    async fn watch(&self, page: &str) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let address = self.larder.admin_address();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /live?page={page} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK", "{page}");
    }
}

fn texts<const N: usize>(record: &Value, names: [&str; N]) -> [String; N] {
    names.map(|name| record[name].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn live_figures_with_keys_are_one_view_each() {
    let audited = Audited::start("").await;
    for page in ["replicas", "namespaces", "overview", "origins"] {
        audited.watch(page).await;
    }
    // As a browser that connects again.
    for _ in 0..3 {
        audited.watch("hot-keys&namespace=shop").await;
        audited.watch("namespace&namespace=shop").await;
    }
    audited.watch("hot-keys&namespace=user").await;
    let records = audited.records("GET /live", 5).await;
    let found = records.iter().map(|record| {
        assert_eq!(texts(record, ["event", "code"]), ["inspect", "OK"], "{record}");
        record["namespaces"][0].as_str().unwrap_or_default()
    });
    assert_eq!(found.collect::<Vec<_>>(), ["", "", "shop", "shop", "user"]);
}

#[tokio::test]
async fn refused_visits_of_keys_are_counted_and_recorded() {
    let audited = Audited::with_principals().await;
    let http = &audited.http;
    let refused = [
        "/keys?namespace=ns",
        "/entry?namespace=ns&key=k",
        "/hot-keys?namespace=ns",
        "/invalidations",
        "/audit",
        "/confirm?action=flush",
        "/jobs/0",
        "/live?page=hot-keys&namespace=ns",
    ];
    let browser = [("accept", "text/html".to_owned())];
    for path in refused {
        let first = http.send("GET", path, &browser, "").await;
        assert!(first.status == 403 && first.body.contains("href=\"/login\""), "{first:?}");
    }
    for path in refused {
        assert_eq!(http.get(path).await.status, 403, "{path}");
        let action = format!("GET {}", path.split('?').next().unwrap());
        let records = audited.records(&action, 1).await;
        assert_eq!(records.len(), 1, "the visit of a browser is none: {records:?}");
        assert_eq!(
            texts(&records[0], ["event", "reason", "code"]),
            ["refused", "no_credentials", "UNAUTHENTICATED"]
        );
    }
    let csrf = [("csrf", "x")];
    assert_eq!(http.form("/actions", &own_headers(http), &csrf).await.status, 403, "forged");
    assert_eq!(http.get("/").await.status, 200);
    let metrics = http.get("/metrics").await.body;
    for counted in ["no_credentials\"} 8", "no_csrf_token\"} 1"] {
        let line = format!("larder_admin_refusals_total{{reason=\"{counted}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn forged_and_malformed_actions_of_an_operator_have_its_name() {
    let audited = Audited::with_principals().await;
    let http = &audited.http;
    let browser = Browser::log_in_with(http, &token_of("operator")).await;
    let mut own = browser.headers();
    own.push(("origin", http.origin()));
    let mut foreign = browser.headers();
    foreign.push(("origin", "http://evil.example".to_owned()));
    let long = "x".repeat(256 * 1024);
    let flush = [("action", "flush")];
    assert_eq!(http.form("/actions", &own, &flush).await.status, 403);
    assert_eq!(http.form("/actions", &foreign, &flush).await.status, 403);
    assert_eq!(http.form("/actions", &own, &[("keys", long.as_str())]).await.status, 400);
    let headers = browser.headers_of_change();
    let many = (0..1001).map(|key| format!("{key}\n")).collect::<String>();
    for (fields, expected) in [
        (&[("action", "nothing")][..], 404),
        (&[("action", "warm"), ("namespace", "ns"), ("keys", many.as_str())], 400),
        (&[("action", "event"), ("name", "user_changed"), ("attributes", "id=7")], 303),
    ] {
        let answer = http.form("/actions", &headers, fields).await;
        assert_eq!(answer.status, expected, "{fields:?} {answer:?}");
    }
    let records = audited.records("POST /actions", 6).await;
    let found = records.iter().map(|it| texts(it, ["event", "principal", "reason", "code"]));
    let expected = [
        ["refused", "operator", "no_csrf_token", "PERMISSION_DENIED"],
        ["refused", "operator", "cross_origin", "PERMISSION_DENIED"],
        ["refused", "operator", "bad_form", "INVALID_ARGUMENT"],
        ["admin", "operator", "", "NOT_FOUND"],
        ["admin", "operator", "", "INVALID_ARGUMENT"],
        ["event", "operator", "", "OK"],
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(records[5]["target_count"], 2, "{}", records[5]);
    assert_eq!(records[5]["targets"][0]["name"], "user:7", "{}", records[5]);
}

#[tokio::test]
async fn events_of_a_bearer_have_its_name_on_an_open_port() {
    let audited = Audited::with_principals().await;
    let kind = ("content-type", "application/cloudevents+json".to_owned());
    let (operator, viewer) = (token_of("operator"), token_of("viewer"));
    for (authorization, expected) in [
        (None, 200),
        (Some(format!("Bearer {operator}")), 200),
        (Some(format!("Bearer {operator}x")), 401),
        (Some(format!("Bearer {viewer}")), 403),
        // Such as a proxy sends.
        (Some("Basic dXNlcjpwYXNz".to_owned()), 200),
    ] {
        let mut headers = vec![kind.clone()];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let answer = audited.http.send("POST", "/events", &headers, EVENT).await;
        assert_eq!(answer.status, expected, "{headers:?} {answer:?}");
    }
    let records = audited.records("POST /events", 5).await;
    let found = records.iter().map(|it| texts(it, ["event", "principal", "identity", "reason"]));
    let expected = [
        ["event", "", "", ""],
        ["event", "operator", "token", ""],
        ["refused", "", "", "unknown_token"],
        ["refused", "viewer", "", "no_permission"],
        ["event", "", "", ""],
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_flush_and_the_view_of_its_job_are_shown() {
    let audited = Audited::start("").await;
    act(&audited.http, &[("action", "flush")]).await;
    let records = audited.records("POST /actions", 1).await;
    assert_eq!(texts(&records[0], ["event", "what"]), ["admin", "flush"]);
    let job = texts(&audited.records("GET /jobs", 1).await[0], ["job"]).concat();
    let shown = audited.http.get("/audit").await.body;
    for expected in ["<bdi>flush</bdi>".to_owned(), format!("<bdi>{job}</bdi>")] {
        assert!(shown.contains(&expected), "{expected}: {shown}");
    }
}

#[tokio::test]
async fn as_many_keys_and_tags_as_an_action_may_have_are_confirmed_and_done() {
    let origin = "[namespaces.ns.origin]\nurl = 'http://127.0.0.1:1/{key}'\n";
    let audited = Audited::start(origin).await;
    let keys: String = (0..1000).map(|key| format!("\u{fc}ser:{key:022}\r\n")).collect();
    let tags: String = (0..100).map(|tag| format!("{}{tag:03}\r\n", "t/".repeat(60))).collect();
    for (fields, title) in [
        (
            [("action", "warm"), ("namespace", "ns"), ("keys", keys.as_str())],
            "Warm 1000 keys of ns".to_owned(),
        ),
        (
            [("action", "tag"), ("namespace", "ns"), ("tags", tags.as_str())],
            format!("Invalidate tag {}000 and 99 more of ns", "t/".repeat(60)),
        ),
    ] {
        let shown = audited.http.get(&address("/confirm", &fields)).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        let name = format!("{}.encoded", fields[2].0);
        let sent = shown.field(&name);
        assert!(sent.len() > 16 * 1024, "{}", sent.len());
        let csrf = shown.field("csrf");
        let form = [fields[0], fields[1], (name.as_str(), sent.as_str()), ("csrf", csrf.as_str())];
        let done = audited.http.form("/actions", &own_headers(&audited.http), &form).await;
        assert_eq!(done.status, 303, "{done:?}");
        let job = audited.http.get(done.header("location")).await;
        assert!(job.body.contains(&title), "{title}: {job:?}");
    }
}
