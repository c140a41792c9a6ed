//! CloudEvents 1.0 over HTTP on the admin port: `POST /events`, in binary, structured and batch
//! mode.

mod fault;
mod message;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use http_body_util::LengthLimitError;
use serde_json::json;

use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    cache::{Cache, EventPlan, EventRoute, TargetOutcome},
    model::{AuditEvent, Event},
};
use fault::Fault;
use message::CloudEvent;

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Most events of a batch.
const MAX_BATCH: usize = 1000;
/// Most targets of all events of a batch.
const MAX_TARGETS: usize = 10_000;
/// Prefix of the names of context attributes, such as `ce.source`.
const CONTEXT: &str = "ce.";

/// Name of the route in the audit log.
const ACTION: &str = "POST /events";

#[derive(Clone)]
struct Parts {
    cache: Arc<Cache>,
    audit: AuditLog,
}

/// The route for events, which `cache` applies.
pub fn router(cache: Arc<Cache>, audit: AuditLog) -> Router {
    Router::new().route("/events", post(publish)).with_state(Parts { cache, audit })
}

async fn publish(State(parts): State<Parts>, request: Request) -> Response {
    match applied(&parts, request).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

/// Applies all events of a request. Answers only when that is done.
async fn applied(parts: &Parts, request: Request) -> Result<Response, Fault> {
    let Parts { cache, audit } = parts;
    let caller = caller(&request);
    let is_audited = audit.records(AuditEvent::Event);
    let (types, plans) = planned(cache, request).await.inspect_err(|_| {
        if is_audited {
            let mut record = event_record(caller.clone());
            record.code("INVALID_ARGUMENT");
            audit.record(record);
        }
    })?;
    let targets: Vec<usize> = plans.iter().map(|plan| plan.targets().len()).collect();
    let audited = types.iter().zip(&plans).filter(|_| is_audited);
    let records: Vec<_> =
        audited.map(|(name, plan)| record_of(name, plan, caller.clone())).collect();
    let results = cache.apply_events(plans, EventRoute::Http).await;
    for (mut record, result) in records.into_iter().zip(&results) {
        record.code(if result.is_ok() { "OK" } else { "UNAVAILABLE" });
        if let Ok(outcomes) = result {
            let outcomes = outcomes.iter().map(|(_, outcome)| *outcome);
            record.counts(TargetOutcome::counts(outcomes).into());
        }
        audit.record(record);
    }
    let failed: Vec<usize> = results
        .iter()
        .enumerate()
        .filter_map(|(index, result)| result.is_err().then_some(index))
        .collect();
    if let Some(error) = results.into_iter().find_map(Result::err) {
        return Err(Fault::not_applied(error, failed));
    }
    let events = types.iter().zip(targets);
    let events: Vec<_> =
        events.map(|(name, targets)| json!({ "type": name, "targets": targets })).collect();
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::OK, content_type, json!({ "events": events }).to_string()).into_response())
}

/// Reads the events of a request, and plans them.
async fn planned(cache: &Cache, request: Request) -> Result<(Vec<String>, Vec<EventPlan>), Fault> {
    let (parts, body) = request.into_parts();
    let mode = message::mode(&parts.headers)?;
    let body = read(body).await?;
    plan(cache, mode, &parts.headers, &body)
}

/// The caller whose credentials the admin port has checked. Without credentials, its address.
fn caller(request: &Request) -> AuditedCaller {
    let extensions = request.extensions();
    extensions.get::<AuditedCaller>().cloned().unwrap_or_else(|| AuditedCaller {
        peer: extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
        ..AuditedCaller::default()
    })
}

fn event_record(caller: AuditedCaller) -> Record {
    let mut record = Record::new(AuditEvent::Event, ACTION);
    record.caller(caller);
    record
}

fn record_of(name: &str, plan: &EventPlan, caller: AuditedCaller) -> Record {
    let mut record = event_record(caller);
    record.text("event_name", name).touched().extend(plan.parts());
    record
}

async fn read(body: Body) -> Result<Vec<u8>, Fault> {
    to_bytes(body, MAX_BODY_BYTES).await.map(Into::into).map_err(|error| {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = source {
            if cause.is::<LengthLimitError>() {
                return Fault::too_large(format!(
                    "the limit of the body is {MAX_BODY_BYTES} bytes"
                ));
            }
            source = cause.source();
        }
        Fault::invalid("body", format!("cannot be read: {error}"))
    })
}

/// The plans of the events of a request, with their types. An invalid event fails all of them.
fn plan(
    cache: &Cache,
    mode: message::Mode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Vec<String>, Vec<EventPlan>), Fault> {
    let (events, is_batch) = match mode {
        message::Mode::Binary => (vec![CloudEvent::binary(headers, body)?], false),
        message::Mode::Structured => (vec![CloudEvent::structured(body)?], false),
        message::Mode::Batch => (CloudEvent::batch(body, MAX_BATCH)?, true),
    };
    let (mut types, mut plans, mut targets) = (Vec::new(), Vec::new(), 0);
    for (index, event) in events.iter().enumerate() {
        let within =
            |fault: Fault| if is_batch { fault.within(&format!("[{index}].")) } else { fault };
        let attributes = cache.event_attributes(event.name()).into_iter().filter_map(|name| {
            let value = match name.strip_prefix(CONTEXT) {
                Some(context) => event.context(context),
                None => event.member(&name),
            };
            Some((name, value?))
        });
        let attributes: BTreeMap<String, String> = attributes.collect();
        let event = Event::new(event.name().to_owned(), attributes)
            .map_err(|violation| within(Fault::from_violation(&violation)))?;
        let plan = cache
            .plan_event(&event, EventRoute::Http)
            .map_err(|error| within(Fault::refused(&error)))?;
        targets += plan.targets().len();
        if targets > MAX_TARGETS {
            let message = format!("the events have more than {MAX_TARGETS} targets together");
            return Err(Fault::too_large(message));
        }
        types.push(event.name().to_owned());
        plans.push(plan);
    }
    Ok((types, plans))
}
