//! `larder invalidate` invalidates namespaces, tags, patterns, keys and the targets of events.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{
    arguments::{CallArgs, duration},
    display::{durability_name, escape, is_queued},
    failure::{Ending, Error},
    output::{Output, remark},
    session,
};
use crate::pb::{
    from_duration,
    v1::{
        InvalidateNamespaceRequest, InvalidateRequest, InvalidateResponse, PatternTarget,
        TagTarget, Target, target::Target as Kind,
    },
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace whose entries become invalid: all of them, or those that --tag or --glob select. A
    /// glob such as 'user-*' stands for all namespaces that match
    namespace: String,
    /// Invalidate the entries with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Invalidate the entries whose key matches this glob (`*`, `?`, `[a-z]`, `\`); may be repeated
    #[arg(long = "glob", value_name = "GLOB")]
    globs: Vec<String>,
    /// Reject values that were computed before or shortly after, for this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    hold_off: Option<Duration>,
    #[command(flatten)]
    call: CallArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let mut cache = session.cache();
            let is_everything = self.tags.is_empty() && self.globs.is_empty();
            if is_everything && self.hold_off.is_none() && !self.has_namespaces() {
                let request = InvalidateNamespaceRequest {
                    namespace: self.namespace.clone(),
                    ..InvalidateNamespaceRequest::default()
                };
                let answer = cache.invalidate_namespace(session.request(request));
                let response = session.answer(answer).await?;
                return self.print(true, response.durability);
            }
            let hold_off = self.hold_off.map(from_duration);
            let request = InvalidateRequest {
                targets: self.targets(),
                hold_off,
                ..InvalidateRequest::default()
            };
            let response = session.answer(cache.invalidate(session.request(request))).await?;
            if self.has_namespaces() {
                return self.print_each(&response);
            }
            let is_whole = response.results.iter().any(|result| result.namespace_invalidated);
            self.print(is_whole, response.durability)
        })
    }

    /// Whether the namespace is a glob.
    fn has_namespaces(&self) -> bool {
        self.namespace.contains(['*', '?', '[', '\\'])
    }

    /// Prints a line per namespace. The targets match the same ones.
    fn print_each(&self, response: &InvalidateResponse) -> Result<Ending, Error> {
        let mut namespaces = BTreeMap::<&str, bool>::new();
        for result in response.results.iter().flat_map(|result| &result.namespaces) {
            *namespaces.entry(&result.namespace).or_default() |= result.namespace_invalidated;
        }
        let mut output = Output::stdout(self.call.json);
        let (durability, verb) = (durability_name(response.durability), verb(response.durability));
        for (namespace, is_whole) in &namespaces {
            let line = json!({
                "namespace": namespace, "result": verb, "namespace_invalidated": is_whole,
                "durability": durability,
            });
            output.line(&line, || format!("{verb} {namespace}"))?;
        }
        if namespaces.is_empty() {
            remark("no namespace matches");
        }
        Ok(if namespaces.is_empty() { Ending::Miss } else { Ending::Done })
    }

    fn targets(&self) -> Vec<Target> {
        let namespace = || self.namespace.clone();
        let tags = (!self.tags.is_empty())
            .then(|| Kind::Tags(TagTarget { namespace: namespace(), tags: self.tags.clone() }));
        let globs = self.globs.iter().map(|glob| {
            Kind::Pattern(PatternTarget { namespace: namespace(), glob: glob.clone() })
        });
        let mut kinds: Vec<Kind> = tags.into_iter().chain(globs).collect();
        if kinds.is_empty() {
            kinds.push(Kind::Namespace(namespace()));
        }
        kinds.into_iter().map(|kind| Target { target: Some(kind) }).collect()
    }

    /// `is_whole`: all entries of the namespace are invalid, also if only some were selected.
    fn print(&self, is_whole: bool, durability: i32) -> Result<Ending, Error> {
        let is_more = is_whole && !(self.tags.is_empty() && self.globs.is_empty());
        let verb = verb(durability);
        let line = json!({
            "namespace": self.namespace, "result": verb, "namespace_invalidated": is_whole,
            "durability": durability_name(durability),
        });
        Output::stdout(self.call.json).line(&line, || {
            if is_more {
                let namespace = escape(&self.namespace);
                format!("invalidated all of {namespace}: it has too many banned tags or patterns")
            } else {
                verb.to_owned()
            }
        })?;
        Ok(Ending::Done)
    }
}

/// Name of the outcome.
fn verb(durability: i32) -> &'static str {
    if is_queued(durability) { "queued" } else { "invalidated" }
}
