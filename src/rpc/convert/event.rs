//! Converts events and their rules.

use std::collections::BTreeMap;

use prost::Message as _;

use super::{Checked, invalidate::target_result};
use crate::{
    cache::{EventResult, InvalidateTarget, TargetOutcome},
    config::EventRuleConfig,
    event_template::EventTemplate,
    model::{Event, SaturatingFrom as _, Violation, check_event_name},
    pb::v1 as pb,
};

/// Most events in one response.
const MAX_EVENTS: usize = 100;
/// Size at which a page ends, in bytes. Clients take messages of 4 MiB by default.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// An event of a request.
pub(in crate::rpc) fn event(name: String, attributes: BTreeMap<String, String>) -> Checked<Event> {
    Event::new(name, attributes)
}

/// Outcomes of the targets of an event.
pub(in crate::rpc) fn event_target_results(result: EventResult) -> Vec<pb::EventTargetResult> {
    let convert = |(target, outcome): (InvalidateTarget, TargetOutcome)| pb::EventTargetResult {
        target: Some(pb_target(&target)),
        result: Some(target_result(outcome)),
    };
    result.into_iter().map(convert).collect()
}

fn pb_target(target: &InvalidateTarget) -> pb::Target {
    use pb::target::Target as Kind;
    let namespace = target.namespace().to_string();
    let kind = match target {
        InvalidateTarget::Namespace(_) => Kind::Namespace(namespace),
        InvalidateTarget::Tags(_, tags) => {
            Kind::Tags(pb::TagTarget { namespace, tags: tags.clone() })
        }
        InvalidateTarget::Pattern(_, glob) => {
            Kind::Pattern(pb::PatternTarget { namespace, glob: glob.to_string() })
        }
        // Only the digest of the params is known.
        InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => {
            let key = key.key().to_owned();
            Kind::Key(pb::KeyRef { namespace, key, params: BTreeMap::new() })
        }
    };
    pb::Target { target: Some(kind) }
}

/// The name after which a page of events begins, and its size.
pub(in crate::rpc) fn event_page(request: pb::ListEventsRequest) -> Checked<(String, usize)> {
    if !request.page_token.is_empty() {
        check_event_name(&request.page_token)
            .map_err(|_| Violation::new("page_token", "must be a next_page_token of this call"))?;
    }
    let limit = match request.page_size {
        0 => MAX_EVENTS,
        size => usize::saturating_from(size).min(MAX_EVENTS),
    };
    Ok((request.page_token, limit))
}

/// A page of events, which ends early if it becomes large.
pub(in crate::rpc) fn events_response(
    events: Vec<(String, Vec<EventRuleConfig>)>,
    mut has_more: bool,
) -> pb::ListEventsResponse {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for (name, rules) in events {
        if bytes >= MAX_PAGE_BYTES {
            has_more = true;
            break;
        }
        let event = pb::EventRules { name, rules: rules.into_iter().map(rule).collect() };
        bytes += event.encoded_len();
        page.push(event);
    }
    let last = page.last().filter(|_| has_more).map(|event| event.name.clone());
    pb::ListEventsResponse { events: page, next_page_token: last.unwrap_or_default() }
}

fn rule(rule: EventRuleConfig) -> pb::EventRule {
    let text = |template: &EventTemplate| template.to_string();
    pb::EventRule {
        namespace: rule.namespace,
        pattern: rule.pattern.as_ref().map(text).unwrap_or_default(),
        key: rule.key.as_ref().map(text).unwrap_or_default(),
        params: rule.params.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        tags: rule.tags.iter().flatten().map(text).collect(),
        when: rule.when,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_with_the_name_of_their_last_event() {
        let rules = |name: &str| (name.to_owned(), vec![EventRuleConfig::default()]);
        let page = events_response(vec![rules("a"), rules("b")], true);
        assert_eq!((page.events.len(), page.next_page_token.as_str()), (2, "b"));
        assert_eq!(events_response(vec![rules("a")], false).next_page_token, "");
        let large =
            EventRuleConfig { namespace: "n".repeat(600_000), ..EventRuleConfig::default() };
        let large = |name: &str| (name.to_owned(), vec![large.clone()]);
        let page = events_response(vec![large("a"), large("b"), large("c")], false);
        assert_eq!((page.events.len(), page.next_page_token.as_str()), (2, "b"));
        let request = |token: &str, page_size| pb::ListEventsRequest {
            page_size,
            page_token: token.to_owned(),
        };
        assert_eq!(event_page(request("b", 2)).unwrap(), ("b".to_owned(), 2));
        assert_eq!(event_page(request("", 0)).unwrap().1, MAX_EVENTS);
        assert_eq!(event_page(request("", 1_000)).unwrap().1, MAX_EVENTS);
        assert_eq!(event_page(request("\n", 0)).unwrap_err().field(), "page_token");
    }
}
