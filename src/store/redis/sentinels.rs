//! The primary of a service, as its sentinels name it.
//!
//! All sentinels are asked at the same time, at each new connection and once a second. The newest
//! answer counts, by the configuration epoch that each failover raises: so a sentinel that is late,
//! or was cut off, is outvoted by any that is not. Their messages (`+switch-master`) only make the
//! replica ask at once. When another primary is named, all connections are left at once, whether or
//! not the former primary has noticed. While no sentinel answers, the last primary stays in use.
//!
//! The client library has a client for sentinels as well. It trusts the first sentinel that
//! answers, asks only when a connection is made, verifies the role on a connection of its own, and
//! does not pass on announcements. What happens at a failover is a promise of Larder, so it is
//! decided here.

mod choice;
mod node;

use std::{sync::Arc, time::Duration};

use redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, RedisResult,
};
use secrecy::ExposeSecret as _;
use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    outage_log::{Outage, OutageLog},
    stream::tcp_settings,
};
use crate::{
    planted::{self, Bug},
    sentinel_url::{Credentials, SentinelUrl},
    store::Topology,
    tls::ClientTls,
};
pub(super) use choice::Primary;
use choice::{Answer, Choice};
use node::Sentinel;

/// Time between two questions to the sentinels. With that of an answer, it bounds for how long a
/// former primary is read from, if the sentinels' messages are lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Time for which the other sentinels are waited for after the first answer.
const GRACE: Duration = Duration::from_millis(100);

/// The sentinels of a service.
pub(super) struct Sentinels {
    url: SentinelUrl,
    sentinels: Vec<Arc<Sentinel>>,
    /// Time to wait for an answer: a part of the time to connect.
    limit: Duration,
    last: Mutex<Last>,
    named: watch::Sender<Named>,
    news: Arc<Notify>,
    outage: OutageLog,
}

/// The last time that the sentinels were asked.
#[derive(Default)]
struct Last {
    began_at: Option<Instant>,
    error: Option<RedisError>,
}

#[derive(Default)]
struct Named {
    choice: Choice,
    /// Number of the primary among those that were named.
    term: u64,
}

// === impl Sentinels ===

impl Sentinels {
    /// Nothing is connected to before the sentinels are asked.
    pub(super) fn new(
        url: SentinelUrl,
        tls: Option<&ClientTls>,
        connect_timeout: Duration,
    ) -> RedisResult<Self> {
        let news = Arc::new(Notify::new());
        let settings = settings(&url.sentinel_credentials, 0);
        let sentinels = url.sentinels.iter().map(|address| {
            let info = info(address, &url, settings.clone())?;
            let service = url.service.clone();
            let tls = tls.cloned();
            let sentinel = Sentinel::new(info, tls, service, connect_timeout, &news);
            Ok(Arc::new(sentinel))
        });
        Ok(Self {
            sentinels: sentinels.collect::<RedisResult<_>>()?,
            limit: connect_timeout / 4,
            last: Mutex::default(),
            named: watch::Sender::default(),
            news,
            outage: OutageLog::new(Outage::Sentinels),
            url,
        })
    }

    /// Asks the sentinels, and returns the primary with its number. Concurrent calls share the
    /// question, if it was sent after they began.
    ///
    /// # Errors
    /// No sentinel has named a primary so far.
    pub(super) async fn resolve(&self) -> RedisResult<(Primary, u64)> {
        let called_at = Instant::now();
        let mut last = self.last.lock().await;
        if last.began_at.is_none_or(|began_at| began_at < called_at) {
            let began_at = Instant::now();
            let error = self.ask().await.err();
            *last = Last { began_at: Some(began_at), error };
        }
        let named = self.named.borrow();
        match (named.choice.primary(), &last.error) {
            (Some(primary), _) => Ok((primary.clone(), named.term)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(no_sentinel("none answered")),
        }
    }

    /// Waits until another primary is named than that of `term`.
    pub(super) async fn moved(&self, term: u64) {
        // The sender lives as long as this.
        let _ = self.named.subscribe().wait_for(|named| named.term > term).await;
    }

    /// Asks the sentinels once a second, and at once when one of them announces a change. Calls
    /// `on_move` with the number and the address of each other primary. Never returns.
    pub(super) async fn follow(&self, on_move: impl Fn(u64, &str)) {
        let mut named = self.named.subscribe();
        let mut term = named.borrow_and_update().term;
        loop {
            // Without a primary, the connections report the error.
            let _ = self.resolve().await;
            let pause = sleep(POLL_INTERVAL);
            tokio::pin!(pause);
            loop {
                let moved = {
                    let named = named.borrow_and_update();
                    let primary = named.choice.primary().map(Primary::address);
                    primary.filter(|_| named.term > term).map(|primary| (named.term, primary))
                };
                if let Some((number, primary)) = moved {
                    term = number;
                    on_move(number, &primary);
                }
                tokio::select! {
                    () = &mut pause => break,
                    () = self.news.notified() => break,
                    // The sender lives as long as this.
                    _ = named.changed() => {}
                }
            }
        }
    }

    /// How to connect to a server of the service.
    pub(super) fn server(&self, primary: &Primary) -> RedisResult<ConnectionInfo> {
        let settings = settings(&self.url.credentials, self.url.database);
        info(&(primary.host.clone(), primary.port), &self.url, settings)
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.url.tls && self.url.insecure
    }

    pub(super) fn topology(&self) -> Topology {
        let primary = self.named.borrow().choice.primary().map(Primary::address);
        let reachable = self.sentinels.iter().filter(|sentinel| sentinel.answers());
        Topology {
            name: "sentinel",
            service: self.url.service.clone(),
            primary: primary.unwrap_or_default(),
            sentinels: self.sentinels.len(),
            reachable_sentinels: reachable.count(),
        }
    }

    /// Asks all sentinels, and takes the newest answer, or that of most of them.
    async fn ask(&self) -> RedisResult<()> {
        let (sender, mut receiver) = mpsc::channel(self.sentinels.len());
        for sentinel in &self.sentinels {
            let (sentinel, sender) = (sentinel.clone(), sender.clone());
            // Not cancelled, so that a slow sentinel's connection is there the next time.
            tokio::spawn(async move {
                let answer = sentinel.ask().await;
                let _ = sender.try_send((sentinel.address(), answer));
            });
        }
        drop(sender);
        let is_known = self.named.borrow().choice.primary().is_some();
        // Without a known primary there is no other way.
        let limit = if is_known { self.limit } else { 2 * self.limit };
        let mut deadline = Instant::now() + limit;
        let (mut answers, mut errors) = (Vec::new(), Vec::new());
        while let Ok(Some((address, answer))) = timeout_at(deadline, receiver.recv()).await {
            match answer {
                Ok(answer) => {
                    deadline = deadline.min(Instant::now() + GRACE);
                    answers.push(answer);
                }
                Err(error) => errors.push(format!("{address}: {error}")),
            }
        }
        self.take(answers, &errors)
    }

    fn take(&self, answers: Vec<Answer>, errors: &[String]) -> RedisResult<()> {
        if planted::is(Bug::FormerPrimaryKept) && self.named.borrow().choice.primary().is_some() {
            return Ok(());
        }
        let is_silent = answers.is_empty();
        let primaries: Vec<Primary> = answers.into_iter().flatten().collect();
        if !primaries.is_empty() {
            self.outage.works();
            let count = self.sentinels.len();
            self.named.send_if_modified(|named| {
                let is_moved = named.choice.take(&primaries, count, Instant::now());
                named.term += u64::from(is_moved);
                is_moved
            });
            return Ok(());
        }
        let error = if is_silent {
            no_sentinel(&if errors.is_empty() { "no answer".to_owned() } else { errors.join("; ") })
        } else {
            unknown_service(&self.url.service)
        };
        if self.named.borrow().choice.primary().is_some() {
            self.outage.failed(&error);
        }
        Err(error)
    }
}

fn settings(Credentials { user, password }: &Credentials, database: u32) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(i64::from(database));
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.expose_secret());
    }
    settings
}

fn info(
    (host, port): &(String, u16),
    url: &SentinelUrl,
    settings: RedisConnectionInfo,
) -> RedisResult<ConnectionInfo> {
    let (host, port) = (host.clone(), *port);
    let address = if url.tls {
        ConnectionAddr::TcpTls { host, port, insecure: url.insecure, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let info = address.into_connection_info()?;
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
}

fn no_sentinel(cause: &str) -> RedisError {
    let words = format!("no sentinel of store.url names the primary: {cause}");
    (ErrorKind::InvalidClientConfig, "no sentinel", words).into()
}

fn unknown_service(service: &str) -> RedisError {
    let words = format!("the sentinels have no service of the name {service:?}");
    (ErrorKind::InvalidClientConfig, "no service", words).into()
}
