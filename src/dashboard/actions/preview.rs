//! The entries that an action would hit.

use std::time::Duration;

use maud::{Markup, html};
use tokio::time::Instant;

use super::action::Action;
use crate::{
    cache::{EventRoute, InvalidateTarget, KeyListPosition, KeyQuery},
    dashboard::{Dashboard, error::Error, numbers, span::Span, text::visible, visitor::Visitor},
    model::{EntryKey, Glob, Namespace, TargetKind},
};

/// Time for which matching keys are counted.
const COUNT_TIME: Duration = Duration::from_secs(2);
/// Keys and targets that are shown.
const MAX_SHOWN: usize = 10;
/// Keys of one step of the count.
const STEP: usize = 1000;

/// Keys that match a glob.
struct Matching {
    first: Vec<EntryKey>,
    count: usize,
    /// Whether all keys of the namespace were seen.
    is_complete: bool,
}

impl Dashboard {
    /// Shows what an action would hit.
    ///
    /// # Errors
    /// Those of the action, as far as they are known before it.
    pub(super) async fn preview(
        &self,
        visitor: &Visitor,
        action: &Action,
    ) -> Result<Markup, Error> {
        Ok(match action {
            Action::Delete(key) => {
                html! { p { "Removes this entry of " (key.namespace()) " for all replicas." } }
            }
            Action::Invalidate(InvalidateTarget::Pattern(namespace, glob)) => {
                self.record_view(visitor, "GET /confirm", |record| {
                    record.touched().target(TargetKind::Glob, namespace, Some(glob.as_str()));
                });
                matching(&self.matching(visitor, namespace, glob).await?)
            }
            Action::Invalidate(InvalidateTarget::Namespace(namespace)) => {
                let figures = self.figures_of(namespace.clone(), Span::Hour).await?;
                let keys = figures.namespace.usage.map(|usage| usage.keys);
                html! {
                    p {
                        "All " @if let Some(keys) = keys { "about " (numbers::count(keys)) " " }
                        "entries of " b { (namespace) } " become invalid, and its lease holders' \
                         values are refused. Reads compute all values again."
                    }
                }
            }
            Action::Invalidate(InvalidateTarget::Tags(namespace, tags)) => html! {
                p { "All entries of " b { (namespace) } " with one of these tags become invalid. "
                    "How many there are is not known before." }
                ul.tags {
                    @for tag in tags.iter().take(MAX_SHOWN) { li { bdi { (visible(tag)) } } }
                }
            },
            Action::Invalidate(
                InvalidateTarget::Key(_) | InvalidateTarget::KeyOfAllVersions(_),
            ) => {
                html! {
                    p { "The entry becomes invalid, and so do those with this key and other "
                        "params, of other releases and clients." }
                }
            }
            Action::Publish(event) => {
                let plan = self.parts.cache.plan_event(event, EventRoute::Http)?;
                self.record_view(visitor, "GET /confirm", |record| {
                    record.text("event_name", event.name());
                    record.touched().extend(plan.parts());
                });
                targets(plan.targets())
            }
            Action::FlushNear(_) => html! {
                p { "Copies in the memory of this replica are removed. The store keeps its "
                    "entries, and other replicas keep their copies." }
            },
            Action::Warm { namespace, keys, refresh } => {
                self.parts.cache.warm_config(namespace)?;
                html! {
                    p {
                        @if keys.is_empty() { "The keys of the warm list" }
                        @else { (keys.len()) " keys" }
                        " are fetched from the origin of " b { (namespace) }
                        @if *refresh { ", also where an entry is fresh." }
                        @else { ", where no entry is fresh." }
                    }
                }
            }
        })
    }

    async fn matching(
        &self,
        visitor: &Visitor,
        namespace: &Namespace,
        glob: &Glob,
    ) -> Result<Matching, Error> {
        let _permit = self.begin_listing(visitor).await?;
        let (started, mut first, mut count) = (Instant::now(), Vec::new(), 0);
        let mut query = KeyQuery {
            namespace: namespace.clone(),
            glob: Some(glob.clone()),
            position: KeyListPosition::default(),
        };
        loop {
            let (keys, next) = self.parts.directory.list_keys(query.clone(), STEP).await?;
            count += keys.len();
            let missing = MAX_SHOWN - first.len();
            first.extend(keys.into_iter().take(missing));
            let Some(position) = next else {
                return Ok(Matching { first, count, is_complete: true });
            };
            if started.elapsed() >= COUNT_TIME {
                return Ok(Matching { first, count, is_complete: false });
            }
            query.position = position;
        }
    }
}

fn matching(found: &Matching) -> Markup {
    html! {
        p {
            @if !found.is_complete { "At least " }
            b { (found.count) } " keys match now"
            @if !found.is_complete { "; the count ended after " (numbers::span(COUNT_TIME)) }
            ". Entries that match and are written before the end of the action become invalid too."
        }
        @if !found.first.is_empty() {
            ul.keys { @for key in &found.first { li { bdi { (visible(key.key())) } } } }
        }
    }
}

fn targets(targets: &[InvalidateTarget]) -> Markup {
    html! {
        p { "By the rules of the event, " b { (targets.len()) } " targets are invalidated." }
        ul.keys {
            @for target in targets.iter().take(MAX_SHOWN) {
                @for (kind, namespace, name) in target.parts() {
                    li {
                        (kind.name()) " " (namespace)
                        @if let Some(name) = name { " " bdi { (visible(name)) } }
                    }
                }
            }
        }
    }
}
