//! The dashboard: its pages, what protects them, its actions, and its live figures.

// Every page, and the headers that protect it.
mod pages;
// Names and values that try to be markup.
mod hostile;
// Invalidations that are remembered.
mod bans;
// Actions, and the requests that may cause them.
mod actions;
// Permissions of visitors.
mod visitors;
// Logins of principals.
mod principals;
// Records of visits and actions in the audit log.
mod trail;
// Live figures.
mod live;
// The store is away, and bounds are reached.
mod degraded;
// Many keys, long keys, large values.
mod large;

use crate::support::{
    env::Env,
    http::{Answer, Http},
};

/// The pages that need no parameters.
const PAGES: [&str; 11] = [
    "/",
    "/?span=24h",
    "/?span=7d",
    "/namespaces",
    "/keys",
    "/hot-keys",
    "/invalidations",
    "/origins",
    "/replicas",
    "/analysis",
    "/audit",
];

/// A page, which must be there.
async fn page(env: &Env, path: &str) -> String {
    let answer = Http::to(&env.larder).get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

/// The headers of a form that a page of the server sends.
fn own_headers(http: &Http) -> Vec<(&'static str, String)> {
    vec![("origin", http.origin()), ("sec-fetch-site", "same-origin".to_owned())]
}

/// The path and the parameters of a page.
fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs = url::form_urlencoded::Serializer::new(String::new());
    let mut pairs = pairs;
    format!("{path}?{}", pairs.extend_pairs(parameters).finish())
}

/// Does an action as a browser does: the confirmation, its form, and the page of the job.
async fn act(http: &Http, parameters: &[(&str, &str)]) -> Answer {
    let confirmation = http.get(&address("/confirm", parameters)).await;
    assert_eq!(confirmation.status, 200, "{confirmation:?}");
    let csrf = confirmation.field("csrf");
    let mut fields = parameters.to_vec();
    fields.push(("csrf", &csrf));
    let answer = http.form("/actions", &own_headers(http), &fields).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    http.get(answer.header("location")).await
}
