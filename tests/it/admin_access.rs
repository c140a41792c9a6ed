//! The admin port with credentials: bearers, the login of people, and the limits on wrong tokens.

// Bearers of tokens.
mod tokens;
// The login, the logout, and forged requests.
mod login;
// How sessions end.
mod sessions;
// Wrong tokens are slowed down.
mod limits;
// Principals with the verb `admin`.
mod principals;

use data_encoding::HEXLOWER;
use larder::pb::v1::MintTokenRequest;
use sha2::{Digest as _, Sha256};
use tonic::Request;

use crate::support::{
    http::{Answer, Http},
    server::{Builder, Larder},
};

const TOKEN: &str = "test-token-of-the-admin-port-0123456789";
const OTHER: &str = "another-token-of-the-admin-port-0123456789";
const WRONG: &str = "wrong-token-of-the-admin-port-0123456789";
/// The secret of a form, which a browser has from its page.
const SECRET: &str = "0123456789012345678901234567890123456789abc";

fn builder() -> Builder {
    Larder::memory().env("TOKEN", TOKEN).env("OTHER", OTHER)
}

/// A server with [`TOKEN`], and further lines of `[admin]`.
async fn server(admin: &str) -> Larder {
    builder().config(&format!("[admin]\ntoken = '${{env:TOKEN}}'\n{admin}")).start().await
}

fn digest(token: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(token)))
}

/// A token of a principal, by its name.
pub(crate) fn token_of(name: &str) -> String {
    format!("test-token-of-more-than-32-characters-{name}")
}

/// A principal with [`token_of`] its name.
pub(crate) fn principal(name: &str, role: &str) -> String {
    let digest = digest(&token_of(name));
    format!("[auth.principals.{name}]\ntokens = ['{digest}']\nroles = ['{role}']\n")
}

/// A token that an operator mints, with all of its permissions for some seconds.
pub(crate) async fn minted(larder: &Larder, operator: &str, seconds: i64) -> String {
    let request = MintTokenRequest {
        verbs: vec!["admin".into()],
        namespaces: vec!["*".into()],
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    let mut request = Request::new(request);
    let bearer = format!("Bearer {}", token_of(operator)).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    larder.client().await.admin().mint_token(request).await.unwrap().into_inner().token
}

/// A session of a browser.
pub(crate) struct Browser {
    http: Http,
    cookie: String,
    /// The token against forged requests.
    pub(crate) csrf: String,
}

impl Browser {
    /// Logs in with [`TOKEN`].
    async fn log_in(http: &Http) -> Self {
        Self::log_in_with(http, TOKEN).await
    }

    /// Logs in with a token.
    pub(crate) async fn log_in_with(http: &Http, token: &str) -> Self {
        let answer = send_login(http, token).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        let http = http.clone();
        let cookie = answer.cookie("larder_session").expect("a cookie").0;
        let mut browser = Self { http, cookie, csrf: String::new() };
        let home = browser.get("/replicas").await;
        assert_eq!(home.status, 200, "{home:?}");
        browser.csrf = home.field("csrf");
        browser
    }

    pub(crate) fn headers(&self) -> Vec<(&str, String)> {
        vec![("cookie", self.cookie.clone())]
    }

    /// The headers of a request that changes something.
    pub(crate) fn headers_of_change(&self) -> Vec<(&str, String)> {
        let mut headers = self.headers();
        headers.push(("origin", self.http.origin()));
        headers.push(("x-csrf-token", self.csrf.clone()));
        headers
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.http.send("GET", path, &self.headers(), "").await
    }

    pub(crate) async fn log_out(&self) -> Answer {
        let mut headers = self.headers();
        headers.push(("origin", self.http.origin()));
        self.http.form("/logout", &headers, &[("csrf", &self.csrf)]).await
    }
}

/// Sends the form of the login, as a browser does.
pub(crate) async fn send_login(http: &Http, token: &str) -> Answer {
    let cookie = format!("{}={SECRET}", http.cookie_name("larder_login"));
    let headers = [("cookie", cookie), ("origin", http.origin())];
    http.form("/login", &headers, &[("csrf", SECRET), ("token", token)]).await
}
