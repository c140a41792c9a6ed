//! `larder namespaces` lists the namespaces with their figures.

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    display::{seconds, show},
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::figures::{dash, percent},
    pb::v1::{ListNamespacesRequest, NamespacePolicy, NamespaceSummary},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    call: CallArgs,
}

/// Fields without a value are null.
#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    configured: bool,
    policy: Option<PolicyJson>,
    keys: Option<u64>,
    bytes: Option<u64>,
    sampled: Option<bool>,
    hits: u64,
    misses: u64,
    hit_rate: Option<f64>,
    sets: u64,
}

#[derive(Serialize)]
struct PolicyJson {
    ttl: Option<f64>,
    max_ttl: Option<f64>,
    ttl_jitter: f64,
    max_value_bytes: u64,
    stale_while_revalidate: Option<f64>,
    stale_if_error: Option<f64>,
    lease_ttl: Option<f64>,
    has_origin: bool,
    near_cache_bytes: u64,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let mut request = ListNamespacesRequest::default();
            let (mut namespaces, mut is_degraded) = (Vec::new(), false);
            loop {
                let call = session.request(request.clone());
                let page = session.answer(session.admin().list_namespaces(call)).await?;
                namespaces.extend(page.namespaces);
                is_degraded |= page.degraded;
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                for summary in &namespaces {
                    output.line(&Line::new(summary), String::new)?;
                }
            } else {
                output.line(&(), || text(&namespaces))?;
            }
            if is_degraded {
                remark(
                    "the store did not answer: sizes are missing, and counters are of one replica",
                );
            }
            Ok(Ending::Done)
        })
    }
}

fn text(namespaces: &[NamespaceSummary]) -> String {
    let header = [
        "namespace",
        "ttl",
        "stale",
        "origin",
        "near",
        "keys",
        "bytes",
        "hit rate",
        "hits",
        "misses",
        "sets",
    ];
    table(&header, namespaces.iter().map(row))
}

fn row(summary: &NamespaceSummary) -> Vec<String> {
    let policy = summary.policy.as_ref();
    let yes = |is: bool| if is { "yes".to_owned() } else { dash() };
    let counted = summary.counted.unwrap_or_default();
    let size = summary.size.as_ref();
    // Estimates from a sample are marked.
    let mark = if size.is_some_and(|size| size.sampled) { "~" } else { "" };
    vec![
        summary.namespace.clone(),
        policy.map_or_else(|| "refused".to_owned(), |policy| show(policy.ttl)),
        policy.map_or_else(dash, |policy| show(policy.stale_while_revalidate)),
        yes(policy.is_some_and(|policy| policy.has_origin)),
        yes(policy.is_some_and(|policy| policy.near_cache_bytes > 0)),
        size.map_or_else(dash, |size| format!("{mark}{}", size.keys)),
        size.map_or_else(dash, |size| format!("{mark}{}", ByteSize(size.bytes))),
        counted.hit_rate.map_or_else(dash, percent),
        counted.hits.to_string(),
        counted.misses.to_string(),
        counted.sets.to_string(),
    ]
}

impl<'a> Line<'a> {
    fn new(summary: &'a NamespaceSummary) -> Self {
        let counted = summary.counted.unwrap_or_default();
        let size = summary.size.as_ref();
        Self {
            namespace: &summary.namespace,
            configured: summary.configured,
            policy: summary.policy.as_ref().map(PolicyJson::new),
            keys: size.map(|size| size.keys),
            bytes: size.map(|size| size.bytes),
            sampled: size.map(|size| size.sampled),
            hits: counted.hits,
            misses: counted.misses,
            hit_rate: counted.hit_rate,
            sets: counted.sets,
        }
    }
}

impl PolicyJson {
    fn new(policy: &NamespacePolicy) -> Self {
        Self {
            ttl: seconds(policy.ttl),
            max_ttl: seconds(policy.max_ttl),
            ttl_jitter: policy.ttl_jitter,
            max_value_bytes: policy.max_value_bytes,
            stale_while_revalidate: seconds(policy.stale_while_revalidate),
            stale_if_error: seconds(policy.stale_if_error),
            lease_ttl: seconds(policy.lease_ttl),
            has_origin: policy.has_origin,
            near_cache_bytes: policy.near_cache_bytes,
        }
    }
}
