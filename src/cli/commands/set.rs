//! `larder set` stores a value from an argument, a file or stdin.

use std::time::Duration;

use data_encoding::BASE64;
use serde::Serialize;

use super::{
    arguments::{CallArgs, EntryArgs, duration},
    display::{EntryName, phrase, seconds, show, word},
    failure::{Ending, Error},
    output::Output,
    session,
    value::{ValueKind, ValueSource},
};
use crate::pb::{
    from_duration,
    v1::{KeyRef, SetRequest, SetResponse, SetResult, set_request::Condition},
};

const PREFIX: &str = "SET_RESULT_";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    entry: EntryArgs,
    #[command(flatten)]
    source: ValueSource,
    /// Kind of the value
    #[arg(long, value_enum, default_value_t = ValueKind::Text)]
    kind: ValueKind,
    /// How long the value is fresh, such as 5m [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// A tag of the entry; can be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    #[command(flatten)]
    condition: ConditionArgs,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct ConditionArgs {
    /// Store only if there is no fresh entry
    #[arg(long)]
    if_absent: bool,
    /// Store only if there is a fresh entry
    #[arg(long)]
    if_present: bool,
    /// Store only if the entry has this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
    /// Store only under this lease, as `fetch` printed it
    #[arg(long, value_name = "TOKEN")]
    lease: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: EntryName<'a>,
    result: &'a str,
    version: Option<&'a str>,
    ttl: Option<f64>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let key = self.entry.key_ref()?;
        let request = self.request(&key)?;
        session::run(&self.call, async |session| {
            let response = session.answer(session.cache().set(session.request(request))).await?;
            match (response.result(), response.degraded) {
                (SetResult::NotStored | SetResult::Unspecified, true) => {
                    let cause = &response.cause;
                    return Err(Error::Degraded(
                        format!("the value is not stored: {cause}").into(),
                    ));
                }
                (SetResult::NotStored | SetResult::Unspecified, false) => {
                    return Err(Error::Degraded("it is out of memory".into()));
                }
                _ => self.print(&key, &response)?,
            }
            let is_stored = response.result() == SetResult::Stored;
            Ok(if is_stored { Ending::Done } else { Ending::Miss })
        })
    }

    fn request(&self, key: &KeyRef) -> Result<SetRequest, Error> {
        let lease_token = match &self.condition.lease {
            Some(token) => lease_token(token)?,
            None => Vec::new(),
        };
        let condition = if self.condition.if_absent {
            Some(Condition::IfAbsent(true))
        } else if self.condition.if_present {
            Some(Condition::IfPresent(true))
        } else {
            self.condition.if_version.clone().map(Condition::IfVersion)
        };
        Ok(SetRequest {
            namespace: key.namespace.clone(),
            key: key.key.clone(),
            params: key.params.clone(),
            value: Some(self.source.read(self.kind)?),
            ttl: self.ttl.map(from_duration),
            tags: self.tags.clone(),
            condition,
            lease_token: lease_token.into(),
        })
    }

    fn print(&self, key: &KeyRef, response: &SetResponse) -> Result<(), Error> {
        let name = response.result().as_str_name();
        let is_stored = response.result() == SetResult::Stored;
        let line = Line {
            name: EntryName::new(key),
            result: &word(name, PREFIX),
            version: is_stored.then_some(&response.version),
            ttl: seconds(response.ttl),
        };
        Output::stdout(self.call.json).line(&line, || {
            if is_stored {
                format!("stored  version {}  ttl {}", response.version, show(response.ttl))
            } else {
                phrase(name, PREFIX)
            }
        })
    }
}

fn lease_token(text: &str) -> Result<Vec<u8>, Error> {
    match BASE64.decode(text.trim().as_bytes()) {
        Ok(token) if !token.is_empty() => Ok(token),
        Ok(_) | Err(_) => Err(Error::Usage("--lease must be a token in base64".to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::pb::v1::{Value, value::Kind};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<SetRequest, String> {
        let words = std::iter::once("set").chain(line.split(' '));
        let args = Line::try_parse_from(words).map_err(|error| error.to_string())?.args;
        let key = args.entry.key_ref().map_err(|error| error.to_string())?;
        args.request(&key).map_err(|error| error.to_string())
    }

    #[test]
    fn request_has_all_options_of_the_line() {
        let request = parse(
            "ns k 1 --param b=2 --param a=1 --ttl 5m --tag x --tag y --kind json --if-version v",
        );
        let request = request.unwrap();
        assert_eq!((&*request.namespace, &*request.key), ("ns", "k"));
        assert_eq!(request.params.into_values().collect::<String>(), "12");
        assert_eq!(request.value, Some(Value { kind: Some(Kind::Json("1".into())) }));
        assert_eq!(request.ttl, Some(from_duration(Duration::from_secs(300))));
        assert_eq!(request.tags, ["x", "y"]);
        assert_eq!(request.condition, Some(Condition::IfVersion("v".to_owned())));
    }

    #[test]
    fn conditions_exclude_each_other() {
        let condition = |line: &str| parse(line).unwrap().condition;
        assert_eq!(condition("ns k v --if-absent"), Some(Condition::IfAbsent(true)));
        assert_eq!(condition("ns k v --if-present"), Some(Condition::IfPresent(true)));
        assert_eq!(condition("ns k v"), None);
        for line in [
            "ns k v --if-absent --if-present",
            "ns k v --if-absent --lease AAAA",
            "ns k v --lease A*A",
            "ns k v --lease=",
            "ns k",
            "ns k v --file f",
            "ns k --file /nonexistent/value",
            "ns k v --ttl fast",
            "ns k v --param p",
            "ns k v --no-such-flag",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn lease_and_negative_number_are_read() {
        let request = parse("ns k -5 --lease AAEC").unwrap();
        assert_eq!(request.lease_token, &[0, 1, 2][..]);
        assert_eq!(request.value, Some(Value { kind: Some(Kind::Text("-5".into())) }));
    }
}
