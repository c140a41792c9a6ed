//! One sentinel: the connection on which it is asked, and announces failovers.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo, PushKind,
    RedisError, RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::{Mutex, Notify},
    time::timeout,
};

use super::{
    super::{fault::words, request::error_or_value, stream},
    choice::{Answer, Primary},
};
use crate::tls::ClientTls;

/// Announcements of a sentinel when another primary is, or is about to be, named. The first comes
/// from the sentinel that leads a failover, before it names the new primary itself.
const CHANNELS: [&str; 2] = ["+promoted-slave", "+switch-master"];

pub(super) struct Sentinel {
    info: ConnectionInfo,
    tls: Option<ClientTls>,
    service: String,
    config: AsyncConnectionConfig,
    timeout: Duration,
    news: Arc<Notify>,
    connection: Mutex<Option<MultiplexedConnection>>,
    answers: AtomicBool,
}

// === impl Sentinel ===

impl Sentinel {
    /// `timeout` limits a question, connecting included. `news` is notified of announcements.
    pub(super) fn new(
        info: ConnectionInfo,
        tls: Option<ClientTls>,
        service: String,
        timeout: Duration,
        news: &Arc<Notify>,
    ) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Self {
            info,
            tls,
            service,
            config,
            timeout,
            news: news.clone(),
            connection: Mutex::default(),
            answers: AtomicBool::new(false),
        }
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// Whether it answered when it was last asked.
    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Asks for the primary.
    ///
    /// # Errors
    /// Why there is no answer, in words. A sentinel is not asked while a question is under way.
    pub(super) async fn ask(&self) -> Result<Answer, String> {
        let Ok(mut connection) = self.connection.try_lock() else {
            return Err("no answer in time".to_owned());
        };
        let asked = timeout(self.timeout, self.ask_on(&mut connection)).await;
        let answer = asked.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        if answer.is_err() {
            *connection = None;
        }
        self.answers.store(answer.is_ok(), Ordering::Relaxed);
        answer.map_err(|error| words(&error))
    }

    async fn ask_on(&self, connection: &mut Option<MultiplexedConnection>) -> RedisResult<Answer> {
        // A connection that was there may have ended since.
        if let Some(open) = connection
            && let Ok(answers) = self.query(open).await
        {
            return answer(answers);
        }
        let open = connection.insert(self.connect().await?);
        answer(self.query(open).await?)
    }

    async fn query(&self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<Value>> {
        let mut questions = redis::pipe();
        questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        questions.cmd("SENTINEL").arg("MASTER").arg(&self.service);
        connection.send_packed_commands(&questions, 0, 2).await
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let client = |protocol| {
            let settings = self.info.redis_settings().clone().set_protocol(protocol);
            Client::open(self.info.clone().set_redis_settings(settings))
        };
        let news = self.news.clone();
        let config = self.config.clone().set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Message {
                news.notify_one();
            }
            Result::<(), redis::aio::SendError>::Ok(())
        });
        let opening = client(ProtocolVersion::RESP3)?;
        let (tls, limit) = (self.tls.as_ref(), self.timeout);
        let opened = stream::connect(&opening, &config, tls, limit).await;
        let mut connection = match opened {
            // It is asked once a second, and announces nothing.
            Err(error) if error.kind() == ErrorKind::RESP3NotSupported => {
                let opening = client(ProtocolVersion::RESP2)?;
                return stream::connect(&opening, &self.config, tls, limit).await;
            }
            opened => opened?,
        };
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(&CHANNELS);
        if let Err(error) =
            connection.send_packed_command(&subscribe).await.and_then(error_or_value)
        {
            tracing::debug!(sentinel = self.address(), %error, "the sentinel announces nothing");
        }
        Ok(connection)
    }
}

/// The primary, by the answers to both questions. Only the first of them is needed.
fn answer(answers: Vec<Value>) -> RedisResult<Answer> {
    let mut answers = answers.into_iter().map(error_or_value);
    let address = answers.next().unwrap_or(Ok(Value::Nil))?;
    if address == Value::Nil {
        return Ok(None);
    }
    let (host, port): (String, String) =
        redis::from_redis_value(address).map_err(RedisError::from)?;
    let Ok(port) = port.parse::<u16>() else {
        return Err((ErrorKind::UnexpectedReturnType, "a sentinel names no port").into());
    };
    let details = answers.next().and_then(RedisResult::ok);
    let details: HashMap<String, String> =
        details.and_then(|details| redis::from_redis_value(details).ok()).unwrap_or_default();
    let epoch = details.get("config-epoch").and_then(|epoch| epoch.parse().ok());
    // While a failover is under way, the flags are those of the former primary.
    let is_of = details.get("ip") == Some(&host) && details.get("port") == Some(&port.to_string());
    let is_down = details.get("flags").is_some_and(|flags| flags.contains("_down"));
    Ok(Some(Primary { host, port, epoch: epoch.unwrap_or(0), is_down: is_of && is_down }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().into())).collect())
    }

    #[test]
    fn both_answers_are_read_and_the_second_may_be_refused() {
        let address = || texts(&["10.0.0.1", "6379"]);
        let details = |flags: &str| {
            let ip = ["name", "m", "ip", "10.0.0.1", "port", "6379"];
            texts(&[&ip[..], &["flags", flags, "config-epoch", "7"]].concat())
        };
        let read = |answers: Vec<Value>| answer(answers).unwrap().unwrap();
        let primary = Primary { host: "10.0.0.1".to_owned(), port: 6379, epoch: 7, is_down: false };
        assert_eq!(read(vec![address(), details("master")]), primary);
        assert!(read(vec![address(), details("s_down,master,disconnected")]).is_down);
        let map = Value::Map(vec![(
            Value::SimpleString("config-epoch".into()),
            Value::SimpleString("7".into()),
        )]);
        assert_eq!(read(vec![address(), map]), primary);
        assert_eq!(read(vec![address()]), Primary { epoch: 0, ..primary.clone() });
        let promoted = texts(&["10.0.0.2", "6379"]);
        let read = read(vec![promoted, details("o_down,master")]);
        assert_eq!((read.host.as_str(), read.is_down), ("10.0.0.2", false), "the new one is up");
        assert_eq!(answer(vec![Value::Nil]).unwrap(), None, "an unknown service");
        assert!(answer(vec![texts(&["10.0.0.1", "x"])]).is_err());
    }
}
