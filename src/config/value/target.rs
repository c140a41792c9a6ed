use config::ValueKind;
use url::Url;

use super::super::Target;
use super::super::origin::has_user_info;
use super::super::toml::quoted;
use super::{Form, as_text, mismatch};
use crate::url_template::UrlTemplate;

const NO_USER_INFO: &str =
    "it must not hold a user or password: write them into the table `headers`";

/// The template of the URLs of an HTTP origin. Its messages do not repeat what may hold a password.
pub(crate) struct UrlForm;

impl Form<Target> for UrlForm {
    fn name(&self) -> &'static str {
        "url"
    }

    fn parse(&self, raw: &ValueKind) -> Result<Target, String> {
        let expected = "a URL such as http://users.internal/api/users/{key}";
        let text = as_text(raw).ok_or_else(|| mismatch(expected, raw))?;
        if has_user_info(text) {
            return Err(format!("expected {expected}, but {NO_USER_INFO}"));
        }
        let template = UrlTemplate::parse(text);
        template.map(Target::Http).map_err(|problem| format!("expected {expected}, but {problem}"))
    }

    fn render(&self, value: &Target) -> Option<String> {
        match value {
            Target::Http(template) => Some(quoted(&template.to_string())),
            Target::Grpc(_) => None,
        }
    }
}

/// The address of a gRPC origin. Its messages do not repeat what may hold a password.
pub(crate) struct GrpcForm;

impl Form<Target> for GrpcForm {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn parse(&self, raw: &ValueKind) -> Result<Target, String> {
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
        if !bare {
            return Err(but("it must end after host and port"));
        }
        Ok(Target::Grpc(url))
    }

    fn render(&self, value: &Target) -> Option<String> {
        match value {
            Target::Http(_) => None,
            Target::Grpc(url) => Some(quoted(url.as_str())),
        }
    }
}
