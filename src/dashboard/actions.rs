//! The actions of the pages. Each is confirmed first: [`confirm`] shows what it would do, and
//! [`begin`] does it as a job, whose page shows its progress and its result.

mod action;
mod jobs;
mod preview;
mod run;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    Dashboard,
    error::Error,
    layout::{self, Page},
    query::{Query, exact_field},
    visitor::Visitor,
};
use crate::{
    admin::MAX_FORM_BYTES,
    audit::Record,
    model::{AuditEvent, Violation},
};
use action::Action;
use jobs::{Begun, Job, JobState, random_id};

pub(super) use jobs::Jobs;

/// Time for which the answer to an action waits for its end.
const SHORT: Duration = Duration::from_secs(1);
/// Name of the actions in the audit log.
const ACTION: &str = "POST /actions";
/// The field with the id of a form. A form that is sent twice does its action once.
const CONFIRMATION: &str = "confirmation";
/// Length of such an id.
const MAX_CONFIRMATION_BYTES: usize = 16;
const TITLE: &str = "Invalidations";
const PATH: &str = "/invalidations";

/// Shows what an action would do, with the button that does it. The script shows it as a dialog.
pub(super) async fn confirm(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let action = Action::parse(&Query::of(&uri))?;
    let preview = dashboard.preview(&visitor, &action).await?;
    let content = html! {
        h1.unseen { "Confirmation" }
        section.card.w12 #confirmation {
            h2 #dialog-title { (action.title()) }
            (preview)
            form method="post" action="/actions" {
                @if let Some(token) = &visitor.csrf_token {
                    input type="hidden" name="csrf" value=(token);
                }
                input type="hidden" name=(CONFIRMATION) value=(random_id());
                @for (name, value) in action.fields() {
                    @let (name, value) = exact_field(name, value);
                    input type="hidden" name=(name) value=(value);
                }
                div.buttons {
                    a.button href=(PATH) data-close { "Cancel" }
                    button.danger type="submit" { (action.verb()) }
                }
            }
        }
    };
    Ok(layout::page(&frame(&visitor, None), &content))
}

/// Begins a confirmed action, and leads to its page.
pub(super) async fn begin(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    body: Body,
) -> Result<Response, Error> {
    // The port records the refusal.
    Error::unless_operator(&visitor)?;
    let mut record = Record::new(AuditEvent::Admin, ACTION);
    let confirmed = confirmed(&dashboard, body, &mut record).await;
    let (action, begun) = confirmed.inspect_err(|error| {
        record.caller(visitor.caller.clone()).code(error.code());
        dashboard.parts.audit.record(record);
    })?;
    let job = match begun {
        Begun::Known(job) => job,
        Begun::New(job) => {
            let task = run::run(dashboard.clone(), action, visitor.caller, job.clone());
            // The job goes on if the browser leaves, and is recorded before the audit log closes.
            let task = dashboard.parts.ending.spawn(task);
            let _ = tokio::time::timeout(SHORT, task).await;
            job
        }
    };
    Ok(Redirect::to(&format!("/jobs/{}", job.id())).into_response())
}

/// The action of a form, and its job. `record` gets what an action that does not begin would have
/// touched.
async fn confirmed(
    dashboard: &Dashboard,
    body: Body,
    record: &mut Record,
) -> Result<(Action, Begun), Error> {
    let form = to_bytes(body, MAX_FORM_BYTES).await;
    let too_long = || format!("has more than {} KiB", MAX_FORM_BYTES / 1024);
    let form = form.map_err(|_| Violation::new("form", too_long()))?;
    let query = Query::parse(&form);
    let action = Action::parse(&query)?;
    *record = run::record_of(&action);
    let confirmation = Some(query.text(CONFIRMATION)).filter(|id| !id.is_empty());
    if confirmation.is_some_and(|id| id.len() > MAX_CONFIRMATION_BYTES) {
        let too_long = format!("has more than {MAX_CONFIRMATION_BYTES} bytes");
        return Err(Violation::new(CONFIRMATION, too_long).into());
    }
    let begun = dashboard.jobs.begin(action.title(), confirmation.map(str::to_owned))?;
    Ok((action, begun))
}

/// The page of a job.
pub(super) async fn job(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    Error::unless_operator(&visitor)?;
    let job = dashboard.jobs.find(&id).ok_or(Error::NotFound("such job: it ended long ago"))?;
    if job.is_new_viewer(&visitor.caller) {
        dashboard.record_view(&visitor, "GET /jobs", |record| {
            record.text("job", job.id());
        });
    }
    let state = job.state();
    let is_running = matches!(state, JobState::Running { .. });
    let content = html! {
        section.card.w12.message data-poll[is_running] {
            h1 { (job.title()) }
            (shown_state(&job, &state))
            p { a href=(PATH) { "Invalidations" } }
        }
    };
    let refresh = is_running.then_some(1);
    Ok(layout::page(&frame(&visitor, refresh), &content))
}

fn shown_state(job: &Job, state: &JobState) -> Markup {
    let took = format!("{:.1} s", job.took().as_secs_f64());
    html! {
        @match state {
            JobState::Running { done, total } => {
                // Without the time, which would be announced each time that it is asked for.
                p { span role="status" { b.chip.plain { "running" } } " for " (took) }
                @if *total > 0 {
                    progress value=(done) max=(total) aria-label="Progress" {}
                    p { (done) " of " (total) " keys" }
                }
            }
            JobState::Failed(error) => {
                p { span role="status" { b.chip.worse { "failed" } " " (error) } }
            }
            JobState::Done(rows) => {
                p { span role="status" { b.chip.better { "done" } } " in " (took) }
                dl { @for (name, value) in rows { div { dt { (name) } dd { bdi { (value) } } } } }
            }
        }
    }
}

fn frame(visitor: &Visitor, refresh: Option<u8>) -> Page<'_> {
    Page { title: TITLE, path: PATH, span: None, live: None, refresh, visitor }
}
