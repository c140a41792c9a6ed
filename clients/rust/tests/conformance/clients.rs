//! Options of clients and handles, as the cases name them.

use std::time::Duration;

use larder_client::{ClientBuilder, Error, Namespace, OnError, Preset, Token, TokenError};

use crate::{
    grammar::duration,
    loaders::{texts, ttl},
    value::Value,
};

fn text<'v>(options: &'v Value, name: &str) -> Option<&'v str> {
    options.field(name).and_then(Value::as_text)
}

/// A builder with the options of a case.
pub fn builder_with(mut builder: ClientBuilder, options: &Value) -> Result<ClientBuilder, Error> {
    let time = |name| -> Option<Duration> { options.field(name).and_then(duration) };
    builder = builder.preset(text(options, "preset").unwrap_or("local").parse::<Preset>()?);
    if let Some(timeout) = time("call_timeout") {
        builder = builder.call_timeout(timeout);
    }
    if let Some(timeout) = time("connect_timeout") {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(prefix) = text(options, "namespace_prefix") {
        builder = builder.namespace_prefix(prefix);
    }
    if let Some(version) = text(options, "schema_version") {
        builder = builder.schema_version(version);
    }
    if let Some(on_error) = text(options, "on_error") {
        builder = builder.on_error(on_error.parse::<OnError>()?);
    }
    match options.field("token") {
        Some(Value::Text(token)) => builder = builder.token(token),
        Some(provider) => {
            let token = text(provider, "$callable").unwrap_or_default().to_owned();
            builder = builder.token_provider(move || {
                let token = Token::new(token.clone());
                async move { Ok::<_, TokenError>(token) }
            });
        }
        None => {}
    }
    Ok(builder)
}

/// A handle with the settings of a case.
pub fn handle_with(
    mut handle: Namespace<Value>,
    settings: &Value,
) -> Result<Namespace<Value>, Error> {
    if let Some(ttl) = settings.field("ttl").and_then(ttl) {
        handle = handle.ttl(ttl);
    }
    if let Some(on_error) = text(settings, "on_error") {
        handle = handle.on_error(on_error.parse()?);
    }
    Ok(handle.tags(texts(settings.field("tags"))))
}
