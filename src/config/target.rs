//! The URL of an origin, by whose scheme it is HTTP or gRPC.

use config::ValueKind;
use url::Url;

use super::redact::redact;
use super::toml::quoted;
use super::value::{as_text, mismatch};
use crate::url_template::UrlTemplate;

/// The address of an origin, which also decides on its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `url`: the template of the URL of each key, with `{key}`, `{namespace}`, `{params.<name>}`
    /// and, in the query, `{params}`; without user and password. An origin has this or `grpc`.
    Http(UrlTemplate),
    /// `grpc`: scheme, host and port of a service that implements Larder's origin protocol. An
    /// origin has this or `url`.
    Grpc(Url),
}

const NO_USER_INFO: &str =
    "it must not hold a user or password: write them into the table `headers`";

impl Target {
    pub(super) const URL: &str = "url";
    pub(super) const GRPC: &str = "grpc";

    /// The keys of a target, of which an origin has exactly one.
    pub(super) const KEYS: [&str; 2] = [Self::URL, Self::GRPC];

    /// The key of this target.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Http(_) => Self::URL,
            Self::Grpc(_) => Self::GRPC,
        }
    }

    /// The address, with secret query parameters as `***`.
    pub fn shown(&self) -> String {
        match self {
            Self::Http(template) => redact(&template.to_string()),
            Self::Grpc(url) => url.to_string(),
        }
    }

    /// Parses the value of `key`. The message repeats no text that may contain a password.
    pub(super) fn parse(key: &str, raw: &ValueKind) -> Result<Self, String> {
        if key == Self::GRPC { Self::parse_grpc(raw) } else { Self::parse_url(raw) }
    }

    /// Renders the target as TOML, secret query parameters as `***`.
    pub(super) fn render(&self) -> String {
        quoted(&self.shown())
    }

    fn parse_url(raw: &ValueKind) -> Result<Self, String> {
        let expected = "a URL such as http://users.internal/api/users/{key}";
        let text = as_text(raw).ok_or_else(|| mismatch(expected, raw))?;
        if has_user_info(text) {
            return Err(format!("expected {expected}, but {NO_USER_INFO}"));
        }
        let template = UrlTemplate::parse(text)
            .map_err(|problem| format!("expected {expected}, but {problem}"))?;
        if template.depends_on_entry() {
            return Ok(Self::Http(template));
        }
        Err(format!(
            "expected {expected}, but it has neither {{key}} nor params: all keys would have the \
             same value"
        ))
    }

    fn parse_grpc(raw: &ValueKind) -> Result<Self, String> {
        let expected = "a URL such as http://users.internal:50051";
        let text = as_text(raw).ok_or_else(|| mismatch(expected, raw))?;
        let but = |problem: &str| format!("expected {expected}, but {problem}");
        if has_user_info(text) {
            return Err(but(NO_USER_INFO));
        }
        let url = Url::parse(text).map_err(|error| but(&format!("it cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(but("it must begin with http:// or https://"));
        }
        let bare = url.path().len() <= 1 && url.query().is_none() && url.fragment().is_none();
        if bare { Ok(Self::Grpc(url)) } else { Err(but("it must end after host and port")) }
    }
}

/// Whether a URL has a user or password. It is refused then, because URLs are logged and shown.
fn has_user_info(url: &str) -> bool {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(AUTHORITY_ENDS).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

const AUTHORITY_ENDS: [char; 4] = ['/', '?', '#', '\\'];
