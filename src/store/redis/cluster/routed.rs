//! A request to one primary, whose answer may be that another one has the slot.

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection,
};

use crate::store::redis::{
    fault::Fault,
    request::{Refusal, Request, error_or_value},
};

/// Commands on keys of one slot that run in order on one connection.
#[derive(Clone, Copy)]
pub(super) enum Unit<'a> {
    One(&'a Cmd),
    Two(&'a Cmd, &'a Cmd),
}

/// A unit as it is sent.
pub(super) struct Routed<'a> {
    pub(super) unit: Unit<'a>,
    /// Whether the slot is being moved to this server, so that it must be asked to answer.
    pub(super) asking: bool,
}

/// Commands on keys of any slots, with an answer each, which may be an error: also a redirection.
/// An error of the server itself is the answer to all of them.
pub(super) struct RoutedEach<'a>(pub(super) &'a Pipeline);

/// The answer of a primary.
pub(super) enum RoutedAnswer {
    /// The answer to the last command.
    Value(Value),
    /// The last command was not applied.
    Redirect(Redirect, RedisError),
}

/// Why a primary does not serve a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// Another server has the slot.
    Moved { slot: u16, address: String },
    /// The slot is being moved, and this server may have the keys.
    Ask { address: String },
    /// The slot is being moved, and two servers have a part of the keys each.
    TryAgain,
    /// No server has the slot.
    NotServed,
}

impl Redirect {
    /// The redirection that an error stands for.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let ErrorKind::Server(kind) = error.kind() else { return None };
        match kind {
            ServerErrorKind::Moved => {
                let (address, slot) = error.redirect_node()?;
                Some(Self::Moved { slot, address: address.to_owned() })
            }
            ServerErrorKind::Ask => {
                let (address, _) = error.redirect_node()?;
                Some(Self::Ask { address: address.to_owned() })
            }
            ServerErrorKind::TryAgain => Some(Self::TryAgain),
            // With any other text, the server itself is cut off from the cluster.
            ServerErrorKind::ClusterDown if error.detail()?.contains("slot not served") => {
                Some(Self::NotServed)
            }
            _ => None,
        }
    }
}

// === impl Routed ===

impl Request for Routed<'_> {
    type Answer = RoutedAnswer;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<RoutedAnswer, Refusal> {
        let of_all = |error| Refusal { error, is_of_all: true };
        if let (Unit::One(command), false) = (self.unit, self.asking) {
            let answer = connection.send_packed_command(command).await.map_err(of_all)?;
            return last_or_redirect([answer]);
        }
        // Sent together, so that nothing comes between ASKING and its command.
        let mut together = redis::pipe();
        let commands = match self.unit {
            Unit::One(command) => [Some(command), None],
            Unit::Two(one, two) => [Some(one), Some(two)],
        };
        for command in commands.into_iter().flatten() {
            if self.asking {
                together.cmd("ASKING");
            }
            together.add_command(command.clone());
        }
        let answers = connection.send_packed_commands(&together, 0, together.len()).await;
        last_or_redirect(answers.map_err(of_all)?)
    }
}

impl Request for RoutedEach<'_> {
    type Answer = Vec<Value>;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Vec<Value>, Refusal> {
        let answers = connection.send_packed_commands(self.0, 0, self.0.len()).await;
        let answers = answers.map_err(|error| Refusal { error, is_of_all: true })?;
        for (index, answer) in answers.iter().enumerate() {
            if let Value::ServerError(error) = answer {
                let error = RedisError::from(error.clone());
                if Redirect::of(&error).is_none() && Fault::of(&error).kind().is_outage() {
                    return Err(Refusal { error, is_of_all: index == 0 });
                }
            }
        }
        Ok(answers)
    }
}

/// The last answer, or the first error.
fn last_or_redirect(answers: impl IntoIterator<Item = Value>) -> Result<RoutedAnswer, Refusal> {
    let mut last = Value::Nil;
    for (index, answer) in answers.into_iter().enumerate() {
        match error_or_value(answer) {
            Ok(value) => last = value,
            Err(error) => {
                return match Redirect::of(&error) {
                    Some(redirect) => Ok(RoutedAnswer::Redirect(redirect, error)),
                    None => Err(Refusal { error, is_of_all: index == 0 }),
                };
            }
        }
    }
    Ok(RoutedAnswer::Value(last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(text: &str) -> Value {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn redirections_differ_from_other_errors() {
        let redirect = |text| Redirect::of(&error_or_value(error(text)).unwrap_err());
        let address = || "10.0.0.1:7000".to_owned();
        let moved = Redirect::Moved { slot: 3999, address: address() };
        assert_eq!(redirect("MOVED 3999 10.0.0.1:7000"), Some(moved));
        let ask = Redirect::Ask { address: address() };
        assert_eq!(redirect("ASK 3999 10.0.0.1:7000"), Some(ask));
        assert_eq!(redirect("TRYAGAIN Multiple keys"), Some(Redirect::TryAgain));
        let not_served = redirect("CLUSTERDOWN Hash slot not served");
        assert_eq!(not_served, Some(Redirect::NotServed));
        for other in ["CLUSTERDOWN The cluster is down", "ERR no", "MOVED nonsense"] {
            assert_eq!(redirect(other), None, "{other}");
        }
    }

    #[test]
    fn the_first_error_of_several_answers_counts() {
        let ok = || Value::Okay;
        let values = last_or_redirect([ok(), Value::Int(7)]);
        assert!(matches!(values, Ok(RoutedAnswer::Value(Value::Int(7)))));
        let ask = last_or_redirect([error("ASK 1 a:1"), error("TRYAGAIN x")]);
        assert!(matches!(ask, Ok(RoutedAnswer::Redirect(Redirect::Ask { .. }, _))));
        let refused = last_or_redirect([ok(), error("OOM x")]);
        assert!(matches!(refused, Err(Refusal { is_of_all: false, .. })));
    }
}
