//! The commands that are sent to Redis in one round trip.

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use crate::store::{Error, ErrorKind};

/// The commands that are sent in one round trip.
pub(super) trait Request: Sync {
    type Answer: Send;

    fn send(
        &self,
        connection: MultiplexedConnection,
    ) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

/// A command.
pub(super) struct One<'a>(pub(super) &'a Cmd);

/// Commands, the first error of which is the result.
pub(super) struct All<'a>(pub(super) &'a Pipeline);

/// Commands with one result each, which may be an error.
pub(super) struct Each<'a>(pub(super) &'a Pipeline);

/// The error of one or of several commands that are sent together.
pub(super) struct Refusal {
    pub(super) error: RedisError,
    /// Whether none of the commands before it was applied.
    pub(super) is_of_all: bool,
}

/// Turns a server error into an error: the client library returns it as a value.
pub(super) fn error_or_value(value: Value) -> RedisResult<Value> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// The error of an answer that does not have the form of the command's answers.
pub(super) fn unexpected(command: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("unexpected answer to {command}"))
}

// === impl Request ===

impl Request for One<'_> {
    type Answer = Value;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Value, Refusal> {
        let answer = connection.send_packed_command(self.0).await;
        answer.and_then(error_or_value).map_err(Refusal::of_all)
    }
}

impl Request for All<'_> {
    type Answer = Vec<Value>;

    async fn send(&self, connection: MultiplexedConnection) -> Result<Vec<Value>, Refusal> {
        let answers = Each(self.0).send(connection).await?.into_iter().enumerate();
        let checked = answers.map(|(index, answer)| {
            error_or_value(answer).map_err(|error| Refusal { error, is_of_all: index == 0 })
        });
        checked.collect()
    }
}

impl Request for Each<'_> {
    type Answer = Vec<Value>;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Vec<Value>, Refusal> {
        let answers = connection.send_packed_commands(self.0, 0, self.0.len()).await;
        answers.map_err(Refusal::of_all)
    }
}

// === impl Refusal ===

impl Refusal {
    fn of_all(error: RedisError) -> Self {
        Self { error, is_of_all: true }
    }
}
