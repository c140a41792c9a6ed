//! Records calls that are refused, or would be.

use std::{collections::HashMap, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use parking_lot::Mutex;
use repeated_events::LogInterval;

use super::{error::AuthError, grants::Scope, principal::ANONYMOUS};
use crate::{
    audit::{AuditLog, AuditedCaller, Record, Touched},
    metric_list,
    model::{AuditEvent, Namespace, SaturatingFrom as _, TargetKind, Verb},
};

/// Time between two log lines about the same caller, method and namespace.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Callers, methods and namespaces that are distinguished in the log. Any caller can cause more.
const MAX_LOGGED: usize = 1024;

/// A call that is refused, or would be if the mode were not `shadow`.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The name of the caller; none if its credentials are not accepted.
    pub principal: Option<&'a str>,
    /// As above, for metrics.
    pub label: &'a str,
    /// The gRPC method.
    pub method: &'static str,
    /// The missing permission; none if the credentials are not accepted.
    pub missing: Option<(Verb, Option<&'a str>)>,
    /// The part of the namespace that the call touches.
    pub scope: Option<Scope<'a>>,
    /// The position in a batch.
    pub index: Option<usize>,
    /// The reason, as in the error.
    pub reason: &'static str,
    /// Whether it is refused.
    pub is_enforced: bool,
    /// The address of the caller.
    pub peer: std::net::SocketAddr,
}

/// Counts and logs refusals, and records them in the audit log.
pub struct Refusals {
    counter: Counter<u64>,
    audit: AuditLog,
    log: Mutex<HashMap<u64, LogInterval>>,
}

impl Refusals {
    /// Registers the counter.
    pub fn new(meter: &Meter, audit: AuditLog) -> Self {
        let counter = metric_list::AUTH_REFUSALS.counter(meter);
        Self { counter, audit, log: Mutex::default() }
    }

    /// Records a refusal.
    #[cold]
    pub fn record(&self, refusal: &Refusal<'_>) {
        let &Refusal { principal, label, method, missing, reason, is_enforced, peer, .. } = refusal;
        let mode = if is_enforced { "enforce" } else { "shadow" };
        self.counter.add(
            1,
            &[
                KeyValue::new("reason", reason),
                KeyValue::new("principal", label.to_owned()),
                KeyValue::new("mode", mode),
            ],
        );
        if self.audit.records(AuditEvent::Refused) {
            self.audit.record(audit_record(refusal, mode));
        }
        let Some(count) = self.due_line(refusal) else { return };
        let (verb, namespace) = match missing {
            Some((verb, namespace)) => (verb.name(), namespace.unwrap_or("*")),
            None => ("", ""),
        };
        tracing::warn!(
            target: "larder::auth",
            principal = principal.unwrap_or("unknown"),
            method,
            verb,
            namespace,
            reason,
            %peer,
            mode,
            count,
            "{}",
            if is_enforced { "calls are refused" } else { "calls would be refused" }
        );
    }

    /// The number of refusals like this one since the last line about them, if one is due.
    fn due_line(&self, refusal: &Refusal<'_>) -> Option<u64> {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let Refusal { principal, method, missing, reason, .. } = refusal;
        let mut hasher = DefaultHasher::new();
        (principal, method, missing, reason).hash(&mut hasher);
        let mut log = self.log.lock();
        if log.len() >= MAX_LOGGED {
            log.retain(|_, interval| !interval.is_over());
        }
        // Without room, they share one line.
        let key = if log.len() >= MAX_LOGGED { 0 } else { hasher.finish() };
        log.entry(key).or_insert_with(|| LogInterval::new(LOG_INTERVAL)).occurred()
    }
}

fn audit_record(refusal: &Refusal<'_>, mode: &'static str) -> Record {
    let &Refusal { principal, method, missing, scope, reason, is_enforced, peer, .. } = refusal;
    let mut record = Record::new(AuditEvent::Refused, method);
    let is_identified = principal.is_some_and(|name| name != ANONYMOUS);
    let (principal, peer) = (principal.map(Into::into), Some(peer));
    record.caller(AuditedCaller { principal, identity: None, is_identified, peer });
    record.text("reason", reason).text("mode", mode);
    if let Some((verb, namespace)) = missing {
        record.text("verb", verb.name());
        // Names of namespaces are valid, as their permission was checked.
        let namespace = namespace.and_then(|name| Namespace::new(name).ok());
        namespace.iter().for_each(|namespace| add_scope(record.touched(), namespace, scope));
    }
    if let Some(index) = refusal.index {
        record.number("index", u64::saturating_from(index));
    }
    if is_enforced {
        let unavailable = AuthError::KeysUnavailable.reason();
        record.code(match missing {
            Some(_) => "PERMISSION_DENIED",
            None if reason == unavailable => "UNAVAILABLE",
            None => "UNAUTHENTICATED",
        });
    }
    record
}

/// Adds the part of a namespace for which a permission is missing.
fn add_scope(touched: &mut Touched, namespace: &Namespace, scope: Option<Scope<'_>>) {
    match scope {
        Some(Scope::Key(key)) => touched.target(TargetKind::Key, namespace, Some(key)),
        Some(Scope::Prefix(begin)) if !begin.is_empty() => {
            touched.target(TargetKind::Prefix, namespace, Some(begin));
        }
        Some(Scope::Prefix(_)) | None => touched.namespace(namespace),
    }
}
