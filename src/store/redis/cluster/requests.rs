//! Requests: each goes to the primary of its slot, and follows redirections.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::{Instant, sleep};

use super::{
    Cluster,
    node::Node,
    routed::{Redirect, Routed, RoutedAnswer, RoutedEach, Unit},
    slots::{keys_of_mget, slot_of, slot_of_key},
};
use crate::{
    model::SaturatingFrom as _,
    store::{
        Error, ErrorKind, Result,
        redis::{
            pool::{Retry, is_unknown_script},
            request::{One, error_or_value},
            script::Script,
        },
    },
};

/// Redirections of one command; slots that are moved from one server to another in turns.
const MAX_REDIRECTS: u32 = 16;
/// Those of them that are followed at once.
const QUICK_REDIRECTS: u32 = 3;
/// Pause before a command is tried again, the first and the longest one.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(40);

/// The commands for one primary.
struct Part {
    node: Arc<Node>,
    indices: Vec<usize>,
    commands: Pipeline,
}

impl Part {
    fn new(node: Arc<Node>) -> Self {
        Self { node, indices: Vec::new(), commands: redis::pipe() }
    }
}

/// A request for the primary of a slot.
#[derive(Clone, Copy)]
struct SlotRequest<'a> {
    slot: u16,
    unit: Unit<'a>,
    /// The script that the unit calls.
    script: Option<&'a Script>,
    retry: Retry,
}

impl<'a> SlotRequest<'a> {
    /// A command that may be applied twice.
    fn idempotent(slot: u16, command: &'a Cmd) -> Self {
        Self { slot, unit: Unit::One(command), script: None, retry: Retry::Idempotent }
    }
}

/// The redirections of one command.
#[derive(Default)]
struct Redirects {
    count: u32,
    began_at: Option<Instant>,
    has_loaded: u32,
}

impl Redirects {
    /// Counts a redirection. Whether it may be followed.
    fn may_follow(&mut self, limit: Duration) -> bool {
        self.count += 1;
        let began_at = *self.began_at.get_or_insert_with(Instant::now);
        self.count <= MAX_REDIRECTS && began_at.elapsed() < limit
    }

    /// Counts a script that was not known. It may be lost again between two commands.
    fn may_load(&mut self) -> bool {
        self.has_loaded += 1;
        self.has_loaded <= 3
    }

    /// Servers that name each other have not agreed yet.
    async fn pause_if_many(&self) {
        if self.count > QUICK_REDIRECTS {
            self.pause().await;
        }
    }

    async fn pause(&self) {
        let pause = MIN_PAUSE * 2_u32.saturating_pow(self.count.saturating_sub(1).min(8));
        sleep(pause.min(MAX_PAUSE)).await;
    }
}

impl Cluster {
    /// Sends a command to the primary of its first key.
    pub(in crate::store::redis) async fn query(
        &self,
        command: &Cmd,
        retry: Retry,
    ) -> Result<Value> {
        let slot = slot_of(command).ok_or_else(without_key)?;
        let request = SlotRequest { slot, unit: Unit::One(command), script: None, retry };
        self.route(request, None).await
    }

    /// Sends a command that may be applied twice to one primary.
    pub(in crate::store::redis) async fn query_node(
        &self,
        node: &Arc<Node>,
        command: &Cmd,
    ) -> Result<Value> {
        let answer = node.send(One(command), Retry::Idempotent).await;
        answer.map_err(|error| self.failed(node, error))
    }

    /// Calls a script, and loads it first if the server lacks it.
    pub(in crate::store::redis) async fn eval(
        &self,
        script: &Script,
        call: &Cmd,
        retry: Retry,
    ) -> Result<Value> {
        let slot = slot_of(call).ok_or_else(without_key)?;
        let request = SlotRequest { slot, unit: Unit::One(call), script: Some(script), retry };
        self.route(request, None).await
    }

    /// Calls a script in one round trip with a command that must run before it. All keys are in one
    /// slot.
    pub(in crate::store::redis) async fn eval_after(
        &self,
        before: &Cmd,
        script: &Script,
        call: &Cmd,
    ) -> Result<Value> {
        let slot = slot_of(call).ok_or_else(without_key)?;
        let (unit, retry) = (Unit::Two(before, call), Retry::Never);
        self.route(SlotRequest { slot, unit, script: Some(script), retry }, None).await
    }

    /// Sends commands that may be applied twice, each to the primary of its first key, all at the
    /// same time. The results are in their order. Those that are sent to one primary together, and
    /// no others, fail together. An answer may be an error of its command alone.
    pub(in crate::store::redis) async fn each(&self, commands: Vec<Cmd>) -> Vec<Result<Value>> {
        let mut results: Vec<Option<Result<Value>>> = commands.iter().map(|_| None).collect();
        let mut parts: Vec<Part> = Vec::new();
        {
            let map = self.0.map.load();
            for (index, command) in commands.into_iter().enumerate() {
                let owner = slot_of(&command).and_then(|slot| map.owner(slot));
                let Some(owner) = owner else {
                    results[index] = Some(Err(self.without_owner()));
                    continue;
                };
                let part = match parts.iter_mut().find(|part| Arc::ptr_eq(&part.node, owner)) {
                    Some(part) => part,
                    None => {
                        parts.push(Part::new(owner.clone()));
                        let last = parts.len() - 1;
                        &mut parts[last]
                    }
                };
                part.indices.push(index);
                part.commands.add_command(command);
            }
        }
        for (indices, answers) in join_all(parts.into_iter().map(|part| self.part(part))).await {
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = Some(answer);
            }
        }
        let missing = || Err(ErrorKind::Refused.into());
        results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
    }

    async fn part(&self, part: Part) -> (Vec<usize>, Vec<Result<Value>>) {
        let Part { node, indices, commands } = part;
        if node.is_suspect() && node.is_available() {
            // Each by itself, as the slots may have other primaries.
            let routed = commands.cmd_iter().map(async |command| {
                let slot = slot_of(command).ok_or_else(without_key)?;
                Box::pin(self.route(SlotRequest::idempotent(slot, command), None)).await
            });
            let answers = join_all(routed).await;
            return (indices, answers);
        }
        let answers = match node.send(RoutedEach(&commands), Retry::Idempotent).await {
            Ok(answers) => answers,
            Err(error) => {
                let error = self.failed(&node, error);
                let failures = indices.iter().map(|_| Err(error.clone())).collect();
                return (indices, failures);
            }
        };
        let answers = commands.cmd_iter().zip(answers).map(async |(command, answer)| {
            let Value::ServerError(error) = &answer else { return Ok(answer) };
            let error = RedisError::from(error.clone());
            match (Redirect::of(&error), slot_of(command)) {
                (Some(redirect), Some(slot)) => {
                    let first = Some((node.clone(), redirect, error));
                    Box::pin(self.route(SlotRequest::idempotent(slot, command), first)).await
                }
                _ => Ok(answer),
            }
        });
        let answers = join_all(answers).await;
        (indices, answers)
    }

    /// Sends a request to the primary of its slot, and follows redirections. `redirected` is the
    /// first of them.
    async fn route(
        &self,
        SlotRequest { slot, unit, script, retry }: SlotRequest<'_>,
        mut redirected: Option<(Arc<Node>, Redirect, RedisError)>,
    ) -> Result<Value> {
        let mut redirects = Redirects::default();
        loop {
            let mut asked = None;
            if let Some((node, redirect, error)) = redirected.take() {
                if !redirects.may_follow(self.timeout()) {
                    return Err(Error {
                        kind: ErrorKind::PartUnavailable,
                        source: Some(Arc::new(error)),
                    });
                }
                match redirect {
                    Redirect::Moved { slot, address } => {
                        self.moved(slot, &address, &node);
                        redirects.pause_if_many().await;
                    }
                    Redirect::Ask { address } => asked = self.asked(&address, &node),
                    Redirect::TryAgain => {
                        self.0.counts.tried_again.fetch_add(1, Ordering::Relaxed);
                        if let Unit::One(command) = unit
                            && let Some(keys) = keys_of_mget(command)
                        {
                            return Box::pin(self.single_gets(keys)).await;
                        }
                        redirects.pause().await;
                    }
                    Redirect::NotServed => {
                        self.0.refresh.notify_one();
                        redirects.pause().await;
                    }
                }
            }
            let asking = asked.is_some();
            let node = match asked {
                Some(node) => node,
                None => self.trusted_owner(slot).await?,
            };
            let adjusted = script.and_then(|script| self.adjusted(script, unit, &node));
            let sent = match (unit, &adjusted) {
                (Unit::One(_), Some(call)) => Unit::One(call),
                (Unit::Two(before, _), Some(call)) => Unit::Two(before, call),
                (unit, None) => unit,
            };
            match node.send(Routed { unit: sent, asking }, retry).await {
                Ok(RoutedAnswer::Value(value)) => return Ok(value),
                Ok(RoutedAnswer::Redirect(redirect, error)) => {
                    redirected = Some((node, redirect, error));
                }
                Err(error) => match script {
                    Some(script) if is_unknown_script(&error) && redirects.may_load() => {
                        let loaded = node.pool.query(&script.load(), Retry::Idempotent).await;
                        loaded.map_err(|error| self.failed(&node, error))?;
                    }
                    _ => return Err(self.failed(&node, error)),
                },
            }
        }
    }

    /// The primary of a slot. If it has failed since the map was read, the map is read again first.
    async fn trusted_owner(&self, slot: u16) -> Result<Arc<Node>> {
        let owner = || self.0.map.load().owner(slot).cloned();
        let Some(node) = owner() else { return Err(self.without_owner()) };
        // One that is known to be down is not asked.
        if !node.is_suspect() || !node.is_available() {
            return Ok(node);
        }
        Box::pin(self.refreshed(self.timeout())).await;
        owner().ok_or_else(|| self.without_owner())
    }

    /// The call of a script for a primary with a clock of its own; none if it fits as it is.
    fn adjusted(&self, script: &Script, unit: Unit<'_>, node: &Arc<Node>) -> Option<Cmd> {
        if self.has_clock(node) {
            return None;
        }
        let (Unit::One(call) | Unit::Two(_, call)) = unit;
        script.call_with_ahead(call, self.ahead_of(node))
    }

    /// Milliseconds by which the time of the store is ahead of the clock of a primary.
    fn ahead_of(&self, node: &Node) -> i64 {
        let server_time = node.pool.clock().server_time();
        let store_time = self.0.clock.now();
        i64::saturating_from(store_time.0).saturating_sub(i64::saturating_from(server_time.0))
    }

    /// Reads keys one by one, because they are not all at one place.
    async fn single_gets(&self, keys: impl Iterator<Item = &[u8]>) -> Result<Value> {
        let gets = keys.map(async |key| {
            let mut get = redis::cmd("GET");
            get.arg(key);
            let slot = slot_of_key(key);
            let value = self.route(SlotRequest::idempotent(slot, &get), None).await;
            match value {
                // As MGET, which has no value for a key of another type.
                Err(error) if error.kind == ErrorKind::Refused => Ok(Value::Nil),
                other => other,
            }
        });
        let values: Result<Vec<Value>> = join_all(gets).await.into_iter().collect();
        values.map(Value::Array)
    }

    fn moved(&self, slot: u16, address: &str, sender: &Arc<Node>) {
        self.0.counts.moved.fetch_add(1, Ordering::AcqRel);
        if let Some(node) = self.named(address, sender) {
            self.set_owner(slot, sender, &node);
        }
        self.0.refresh.notify_one();
    }

    fn asked(&self, address: &str, sender: &Arc<Node>) -> Option<Arc<Node>> {
        self.0.counts.asked.fetch_add(1, Ordering::AcqRel);
        self.named(address, sender)
    }

    #[cold]
    fn without_owner(&self) -> Error {
        self.0.refresh.notify_one();
        let map = self.0.map.load();
        let kind = if map.nodes().iter().any(|node| node.is_available()) {
            ErrorKind::PartUnavailable
        } else {
            ErrorKind::Unreachable
        };
        Error::new(kind, "no primary of the Redis Cluster serves the slot of the key")
    }

    /// The error of an operation on a primary. An outage is that of its keys while others work.
    #[cold]
    fn failed(&self, node: &Arc<Node>, error: Error) -> Error {
        if !error.kind.is_outage() {
            return error;
        }
        self.0.refresh.notify_one();
        let map = self.0.map.load();
        let mut others = map.nodes().iter().filter(|other| !Arc::ptr_eq(other, node));
        if !others.any(|other| other.is_available()) {
            return error;
        }
        match error.source {
            Some(_) => Error { kind: ErrorKind::PartUnavailable, ..error },
            None => {
                let cause = format!("{}: {}", node.address, error.kind);
                Error::new(ErrorKind::PartUnavailable, cause)
            }
        }
    }
}

fn without_key() -> Error {
    Error::new(ErrorKind::Refused, "a command without a key has no slot")
}

/// Turns answers that are errors into errors.
pub(in crate::store::redis) fn values(answers: Vec<Result<Value>>) -> Result<Vec<Value>> {
    answers.into_iter().map(|answer| Ok(error_or_value(answer?)?)).collect()
}
