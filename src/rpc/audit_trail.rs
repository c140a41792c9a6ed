//! The records of calls in the audit log. The pipeline begins a record for the methods in the
//! table, handlers add what the call touches, and the end of the call queues it.
//!
//! A refused call has its record where it is refused (`src/auth/refusals.rs`).

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use parking_lot::Mutex;
use tonic::{Code, Request};
use transport::ConnectionShare;

use super::{access::Access, method::Method, status};
use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    auth::MintRequest,
    cache::{DeleteResult, Durability, InvalidateTarget, TargetOutcome},
    model::{AuditEvent, EntryKey, Namespace, TargetKind, Verb},
    pb::code_name,
};

/// Header with an id that the caller gave its request.
const REQUEST_ID: &str = "x-request-id";
/// Header of the W3C Trace Context.
const TRACE_PARENT: &str = "traceparent";

/// The methods that are audited.
const EVENTS: [(&str, AuditEvent); 19] = [
    ("larder.v1.CacheService/Delete", AuditEvent::Delete),
    ("larder.v1.CacheService/BatchDelete", AuditEvent::Delete),
    ("larder.v1.CacheService/InvalidateNamespace", AuditEvent::Invalidate),
    ("larder.v1.CacheService/Invalidate", AuditEvent::Invalidate),
    ("larder.v1.AdminService/Warm", AuditEvent::Admin),
    ("larder.v1.AdminService/FlushNearCache", AuditEvent::Admin),
    ("larder.v1.AdminService/MintToken", AuditEvent::Admin),
    ("larder.v1.AdminService/PublishEvent", AuditEvent::Event),
    ("larder.v1.AdminService/ListNamespaces", AuditEvent::Inspect),
    ("larder.v1.AdminService/ListKeys", AuditEvent::Inspect),
    ("larder.v1.AdminService/InspectEntry", AuditEvent::Inspect),
    ("larder.v1.AdminService/HotKeys", AuditEvent::Inspect),
    ("larder.v1.AdminService/Distributions", AuditEvent::Inspect),
    ("larder.v1.AdminService/Analyze", AuditEvent::Inspect),
    ("larder.v1.AdminService/GetConfig", AuditEvent::Inspect),
    ("larder.v1.AdminService/ListEvents", AuditEvent::Inspect),
    ("larder.v1.AdminService/GetHistory", AuditEvent::Inspect),
    ("larder.v1.AdminService/ListReplicas", AuditEvent::Inspect),
    ("larder.v1.AdminService/TailAudit", AuditEvent::Inspect),
];
/// Also refuses by itself.
const MINT_TOKEN: &str = "larder.v1.AdminService/MintToken";

/// The methods that are audited by the configuration.
pub(super) struct AuditedMethods {
    log: AuditLog,
    events: [Option<AuditEvent>; Method::COUNT],
}

/// The record of a call. An extension of requests. Empty for a method that is not audited.
#[derive(Clone, Default)]
pub(super) struct AuditTrail(Option<Arc<Trail>>);

struct Trail {
    log: AuditLog,
    /// None once it is queued.
    record: Mutex<Option<Record>>,
}

impl AuditedMethods {
    pub(super) fn new(log: AuditLog) -> Self {
        let mut events = [None; Method::COUNT];
        for (name, event) in EVENTS {
            let refuses = name == MINT_TOKEN && log.records(AuditEvent::Refused);
            if log.records(event) || refuses {
                events[Method::of(name).index()] = Some(event);
            }
        }
        Self { log, events }
    }

    /// Begins the record of a call, if its method is audited.
    #[inline]
    pub(super) fn begin(
        &self,
        method: Method,
        access: &Access,
        headers: &HeaderMap,
        connection: &ConnectionShare,
    ) -> AuditTrail {
        match self.events[method.index()] {
            None => AuditTrail::default(),
            Some(event) => {
                let record = Record::new(event, method.name());
                self.trail(record, access, headers, connection)
            }
        }
    }

    #[cold]
    fn trail(
        &self,
        mut record: Record,
        access: &Access,
        headers: &HeaderMap,
        connection: &ConnectionShare,
    ) -> AuditTrail {
        let principal = access.principal();
        let identity = principal
            .map(|principal| principal.identity(headers.contains_key(http::header::AUTHORIZATION)));
        record.caller(AuditedCaller {
            principal: principal.map(|principal| principal.name().clone()),
            identity,
            is_identified: identity.is_some_and(|identity| identity != "none"),
            peer: Some(connection.peer().address),
        });
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(id) = header(REQUEST_ID) {
            record.text("request_id", id);
        }
        if let Some(id) = header(TRACE_PARENT).and_then(trace_id) {
            record.text("trace_id", id);
        }
        let record = Mutex::new(Some(record));
        AuditTrail(Some(Arc::new(Trail { log: self.log.clone(), record })))
    }
}

impl AuditTrail {
    /// That of a request.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Whether the call is audited.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Adds to the record.
    pub(super) fn note(&self, change: impl FnOnce(&mut Record)) {
        if let Some(trail) = &self.0
            && let Some(record) = &mut *trail.record.lock()
        {
            change(record);
        }
    }

    /// Adds a namespace.
    pub(super) fn namespace(&self, namespace: &Namespace) {
        self.note(|record| record.touched().namespace(namespace));
    }

    /// Adds a key.
    pub(super) fn key(&self, key: &EntryKey) {
        self.keys([key]);
    }

    /// Adds keys.
    pub(super) fn keys<'a>(&self, keys: impl IntoIterator<Item = &'a EntryKey>) {
        self.note(|record| {
            let parts = |key: &'a EntryKey| (TargetKind::Key, key.namespace(), Some(key.key()));
            record.touched().extend(keys.into_iter().map(parts));
        });
    }

    /// Adds targets of an invalidation.
    pub(super) fn targets(&self, targets: &[InvalidateTarget]) {
        self.note(|record| {
            record.touched().extend(targets.iter().flat_map(InvalidateTarget::parts));
        });
    }

    /// Adds a list of keys. An invalid namespace has no record of its own.
    pub(super) fn listing(&self, namespace: &str, glob: &str) {
        self.note(|record| {
            let Ok(namespace) = Namespace::new(namespace) else { return };
            if glob.is_empty() {
                record.touched().namespace(&namespace);
            } else {
                record.touched().target(TargetKind::Glob, &namespace, Some(glob));
            }
        });
    }

    /// Sets the numbers of the result.
    pub(super) fn counts(&self, counts: impl FnOnce() -> Vec<(&'static str, u64)>) {
        self.note(|record| {
            record.counts(counts());
        });
    }

    /// Sets the numbers of the result of deletes.
    pub(super) fn deletes<'a>(&self, results: impl Iterator<Item = &'a DeleteResult>) {
        self.counts(|| {
            let (mut existed, mut deleted, mut queued) = (0, 0, 0);
            for result in results {
                existed += u64::from(result.existed);
                deleted += u64::from(result.deleted);
                queued += u64::from(result.durability == Durability::Queued);
            }
            vec![("existed", existed), ("deleted", deleted), ("queued", queued)]
        });
    }

    /// Sets the numbers of the result of an invalidation.
    pub(super) fn outcomes(&self, outcomes: impl Iterator<Item = TargetOutcome>) {
        self.counts(|| TargetOutcome::counts(outcomes).into());
    }

    /// Adds the permissions of a token to be made.
    pub(super) fn token(&self, request: &MintRequest) {
        self.note(|record| {
            let verbs: Vec<_> = request.verbs.iter().map(Verb::name).collect();
            let namespaces: Vec<_> = request.namespaces.iter().map(ToString::to_string).collect();
            record.list("token_verbs", &verbs).list("token_namespaces", &namespaces);
            record.number("token_ttl_s", request.ttl.as_secs());
            if !request.keys.is_empty() {
                record.touched().target_in_all(TargetKind::Prefix, &request.keys);
            }
        });
    }

    /// Makes it the record of a call that is refused by its handler.
    pub(super) fn refused(&self) {
        self.note(|record| {
            record.refused(status::PERMISSION_DENIED);
        });
    }

    /// Queues the record, if it is not queued yet.
    pub(super) fn end(&self, code: Code, took: Duration) {
        if let Some(trail) = &self.0 {
            trail.end(code, took);
        }
    }
}

impl Trail {
    #[cold]
    fn end(&self, code: Code, took: Duration) {
        let Some(mut record) = self.record.lock().take() else { return };
        let is_refused = matches!(code, Code::Unauthenticated | Code::PermissionDenied);
        if is_refused && record.event() != AuditEvent::Refused {
            return;
        }
        record.code(code_name(code)).took(took);
        self.log.record(record);
    }
}

/// The trace id of a `traceparent`.
fn trace_id(parent: &str) -> Option<&str> {
    let id = parent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rpc::permissions::Permission;

    #[test]
    fn every_call_of_an_operator_and_every_removal_is_in_the_table() {
        for method in Method::all() {
            let is_removal = [Verb::Delete, Verb::Invalidate]
                .contains(&Permission::of(method).verb().unwrap_or(Verb::Read));
            let is_operators = method.name().contains("AdminService");
            let is_listed = EVENTS.iter().any(|(name, _)| *name == method.name());
            assert_eq!(is_listed, is_removal || is_operators, "{}", method.name());
        }
        assert!(EVENTS.iter().all(|(name, _)| !Method::of(name).is_unknown()));
    }

    #[test]
    fn trace_ids_are_read() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for malformed in ["", "00", "00-xyz-1-1", &format!("00-{id}0-1")] {
            assert_eq!(trace_id(malformed), None, "{malformed}");
        }
    }
}
