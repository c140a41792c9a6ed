//! The fields of reads that few callers set: those that leave out values or parts of them, and
//! sliding expiration.

use std::time::Duration;

use super::{
    Checked,
    get::{batch_get_result, found, get_response},
    touch,
};
use crate::{
    cache::{Content, Found, GetResult, Projected, Projection},
    model::{Version, Violation},
    pb::v1 as pb,
};

/// Most JSON pointers of a request.
const MAX_POINTERS: usize = 64;
/// Longest JSON pointer, in bytes.
const MAX_POINTER_BYTES: usize = 1024;

/// Options of reads that return less than the value.
pub(in crate::rpc) struct BatchReadOptions {
    projection: Projection,
    /// Sliding expiration.
    pub(in crate::rpc) touch: Option<Duration>,
    /// Versions that the caller has; empty, or one per key.
    if_versions_not: Vec<Option<Version>>,
}

/// Whether a Get has a field that few callers set.
#[inline]
pub(in crate::rpc) fn has_read_options(request: &pb::GetRequest) -> bool {
    let pb::GetRequest { if_version_not, omit_value, json_pointers, touch, .. } = request;
    *omit_value || touch.is_some() || !if_version_not.is_empty() || !json_pointers.is_empty()
}

pub(in crate::rpc) fn projection(request: pb::GetRequest) -> Checked<Projection> {
    // An unknown form is that of another release, and of no entry.
    let if_version_not = Version::parse(&request.if_version_not);
    Ok(Projection { if_version_not, content: content(request.omit_value, request.json_pointers)? })
}

/// The options of a BatchGet; `None` if it has none.
pub(in crate::rpc) fn batch_read_options(
    request: pb::BatchGetRequest,
) -> Checked<Option<BatchReadOptions>> {
    let touch = touch(request.touch)?;
    let pb::BatchGetRequest { keys, if_versions_not, omit_value, json_pointers, .. } = request;
    if touch.is_none() && !omit_value && if_versions_not.is_empty() && json_pointers.is_empty() {
        return Ok(None);
    }
    let content = content(omit_value, json_pointers)?;
    BatchReadOptions::new(keys.len(), &if_versions_not, content, touch).map(Some)
}

/// The options of a GetOrFetch, which are taken out of it; `None` if it has none.
#[inline]
pub(in crate::rpc) fn fetch_options(
    request: &mut pb::GetOrFetchRequest,
) -> Checked<Option<BatchReadOptions>> {
    let pb::GetOrFetchRequest { if_version_not, omit_value, json_pointers, touch, .. } = request;
    if !*omit_value && touch.is_none() && if_version_not.is_empty() && json_pointers.is_empty() {
        return Ok(None);
    }
    set_fetch_options(request).map(Some)
}

#[cold]
fn set_fetch_options(request: &mut pb::GetOrFetchRequest) -> Checked<BatchReadOptions> {
    let touch = touch(request.touch)?;
    let content = content(request.omit_value, std::mem::take(&mut request.json_pointers))?;
    let if_versions_not = [std::mem::take(&mut request.if_version_not)];
    BatchReadOptions::new(1, &if_versions_not, content, touch)
}

/// The options of a BatchGetOrFetch with `keys` keys, which are taken out of it; `None` if it has
/// none.
pub(in crate::rpc) fn batch_fetch_options(
    request: &mut pb::BatchGetOrFetchRequest,
    keys: usize,
) -> Checked<Option<BatchReadOptions>> {
    let touch = touch(request.touch)?;
    let if_versions_not = std::mem::take(&mut request.if_versions_not);
    let (omit_value, pointers) = (request.omit_value, std::mem::take(&mut request.json_pointers));
    if touch.is_none() && !omit_value && if_versions_not.is_empty() && pointers.is_empty() {
        return Ok(None);
    }
    let content = content(omit_value, pointers)?;
    BatchReadOptions::new(keys, &if_versions_not, content, touch).map(Some)
}

fn content(omit_value: bool, json_pointers: Vec<String>) -> Checked<Content> {
    if json_pointers.is_empty() {
        return Ok(if omit_value { Content::Nothing } else { Content::Whole });
    }
    if omit_value {
        return Err(Violation::new("json_pointers", "cannot be combined with omit_value"));
    }
    if json_pointers.len() > MAX_POINTERS {
        let description =
            format!("has {} elements, the limit is {MAX_POINTERS}", json_pointers.len());
        return Err(Violation::over_limit("json_pointers", description, MAX_POINTERS));
    }
    for (index, pointer) in json_pointers.iter().enumerate() {
        check_pointer(pointer)
            .map_err(|violation| violation.within(&format!("json_pointers[{index}]")))?;
    }
    Ok(Content::Parts(json_pointers))
}

fn check_pointer(pointer: &str) -> Checked<()> {
    if pointer.len() > MAX_POINTER_BYTES {
        let description =
            format!("is {} bytes long, the limit is {MAX_POINTER_BYTES}", pointer.len());
        return Err(Violation::over_limit("", description, MAX_POINTER_BYTES));
    }
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Violation::new("", "must be empty or begin with a slash"));
    }
    let mut escapes = pointer.split('~').skip(1);
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err(Violation::new("", "has a tilde that is not part of ~0 or ~1"));
    }
    Ok(())
}

pub(in crate::rpc) fn projected_get_response(
    result: GetResult,
    projected: Projected,
) -> pb::GetResponse {
    let mut response = get_response(result);
    match projected {
        Projected::Whole => {}
        Projected::NotModified => {
            response.value = None;
            response.not_modified = true;
        }
        Projected::Nothing => response.value = None,
        Projected::Parts(parts) => {
            response.value = None;
            response.parts = parts.into_iter().map(|json| pb::JsonPart { json }).collect();
        }
    }
    response
}

impl BatchReadOptions {
    fn new(
        keys: usize,
        if_versions_not: &[String],
        content: Content,
        touch: Option<Duration>,
    ) -> Checked<Self> {
        let versions = if_versions_not.len();
        if versions != 0 && versions != keys {
            let description = format!("has {versions} elements for {keys} keys");
            return Err(Violation::new("if_versions_not", description));
        }
        let projection = Projection { if_version_not: None, content };
        // An unknown form is that of another release, and of no entry.
        let if_versions_not = if_versions_not.iter().map(|version| Version::parse(version));
        Ok(Self { projection, touch, if_versions_not: if_versions_not.collect() })
    }

    /// The answer for an entry that was found for the key with the number `index`.
    pub(in crate::rpc) fn found(&mut self, index: usize, entry: Found) -> pb::Found {
        self.projection.if_version_not = self.if_versions_not.get(index).copied().flatten();
        let projected = self.projection.of(Some(&entry));
        let mut message = found(entry);
        match projected {
            Ok(Projected::Whole) => return message,
            Ok(Projected::Nothing) => {}
            Ok(Projected::NotModified) => message.not_modified = true,
            Ok(Projected::Parts(parts)) => {
                message.parts = parts.into_iter().map(|json| pb::JsonPart { json }).collect();
            }
            Err(_not_json) => message.not_json = true,
        }
        message.value = None;
        message
    }

    /// The result for the key with the number `index`, and whether it is degraded.
    pub(in crate::rpc) fn result(
        &mut self,
        index: usize,
        result: GetResult,
    ) -> (pb::BatchGetResult, bool) {
        self.projection.if_version_not = self.if_versions_not.get(index).copied().flatten();
        let degraded = result.degraded;
        let result = match self.projection.of(result.found.as_ref()) {
            Ok(projected) => {
                let response = projected_get_response(result, projected);
                let pb::GetResponse { outcome, value, entry, not_modified, parts, .. } = response;
                pb::BatchGetResult { outcome, value, entry, not_modified, parts, not_json: false }
            }
            Err(_not_json) => {
                pb::BatchGetResult { value: None, not_json: true, ..batch_get_result(result) }
            }
        };
        (result, degraded)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::{Found, Outcome, Tier},
        model::{Entry, Kind},
        rpc::convert::get::tests::found_text,
    };

    fn found_json() -> Found {
        let found = found_text(Outcome::Hit, Tier::Store);
        let entry = Entry { kind: Kind::Json, data: r#"{"a":null}"#.into(), ..found.entry };
        Found { entry, ..found }
    }

    fn projected(request: pb::GetRequest, found: Found) -> pb::GetResponse {
        assert!(has_read_options(&request));
        let projected = projection(request).unwrap().of(Some(&found)).unwrap();
        projected_get_response(GetResult { found: Some(found), degraded: false }, projected)
    }

    #[test]
    fn response_has_facts_without_the_value() {
        assert!(!has_read_options(&pb::GetRequest::default()));
        let omit = pb::GetRequest { omit_value: true, ..Default::default() };
        let response = projected(omit, found_json());
        assert!(response.value.is_none() && !response.not_modified && response.parts.is_empty());
        assert_eq!((response.outcome(), response.entry.is_some()), (pb::Outcome::Hit, true));

        let version =
            |if_version_not: String| pb::GetRequest { if_version_not, ..Default::default() };
        let same = projected(version(Version(255).to_text()), found_json());
        assert!(same.value.is_none() && same.not_modified && same.entry.is_some());
        for other in [Version(1).to_text(), "x".to_owned()] {
            let other = projected(version(other), found_json());
            assert!(other.value.is_some() && !other.not_modified);
        }
    }

    #[test]
    fn response_has_a_part_per_pointer() {
        let json_pointers = vec!["/a".to_owned(), "/b".to_owned()];
        let request = pb::GetRequest { json_pointers, ..Default::default() };
        let response = projected(request, found_json());
        let parts: Vec<_> = response.parts.iter().map(|part| part.json.as_deref()).collect();
        assert_eq!((parts, response.value), (vec![Some("null"), None], None));
    }

    #[test]
    fn pointers_are_validated() {
        let pointers = |pointers: &[&str]| {
            let json_pointers = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
            projection(pb::GetRequest { json_pointers, ..Default::default() })
        };
        let violation = |list: &[&str]| pointers(list).unwrap_err();
        assert!(pointers(&["", "/", "/a~0b~1c/~01", &"/".repeat(1024)]).is_ok());
        assert!(pointers(&["/a"; 64]).is_ok());
        let many = violation(&["/a"; 65]);
        assert_eq!((many.field(), many.limit()), ("json_pointers", Some(64)));
        let long = violation(&["", &"/".repeat(1025)]);
        assert_eq!((long.field(), long.limit()), ("json_pointers[1]", Some(1024)));
        for invalid in ["a", "a/b", "/a~", "/~2", "/~~0", "#/a"] {
            assert_eq!(violation(&[invalid]).field(), "json_pointers[0]", "{invalid}");
        }
        let both = pb::GetRequest {
            omit_value: true,
            json_pointers: vec![String::new()],
            ..Default::default()
        };
        assert_eq!(projection(both).unwrap_err().field(), "json_pointers");
    }

    #[test]
    fn entry_that_is_found_or_fetched_is_projected() {
        let options = |request: pb::GetOrFetchRequest| {
            let mut request = request;
            fetch_options(&mut request).unwrap()
        };
        assert!(options(pb::GetOrFetchRequest::default()).is_none());
        let omit = pb::GetOrFetchRequest { omit_value: true, ..Default::default() };
        let message = options(omit).unwrap().found(0, found_json());
        assert!(message.value.is_none() && message.entry.is_some() && !message.not_modified);
        let if_version_not = Version(255).to_text();
        let same = pb::GetOrFetchRequest { if_version_not, ..Default::default() };
        assert!(options(same).unwrap().found(0, found_json()).not_modified);
        let json_pointers = vec!["/a".to_owned()];
        let parts = pb::GetOrFetchRequest { json_pointers, ..Default::default() };
        let mut parts = options(parts).unwrap();
        let message = parts.found(0, found_json());
        assert_eq!((message.parts[0].json.as_deref(), &message.value), (Some("null"), &None));
        let text = parts.found(0, found_text(Outcome::Stale, Tier::Store));
        assert!(text.not_json && text.value.is_none() && text.parts.is_empty());
        let negative = parts.found(0, found_text(Outcome::Negative, Tier::Store));
        assert!(!negative.not_json && negative.outcome() == pb::Outcome::Negative);
        let touch = Some(prost_types::Duration::default());
        let mut never = pb::GetOrFetchRequest { touch, ..Default::default() };
        assert!(fetch_options(&mut never).is_err_and(|violation| violation.field() == "touch"));
    }

    #[test]
    fn fetched_batch_has_one_version_per_key() {
        let request = |versions: &[&str]| pb::BatchGetOrFetchRequest {
            if_versions_not: versions.iter().map(|&version| version.to_owned()).collect(),
            ..Default::default()
        };
        assert!(batch_fetch_options(&mut request(&[]), 2).unwrap().is_none());
        assert!(batch_fetch_options(&mut request(&["x"]), 2).is_err());
        let version = Version(255).to_text();
        let mut options = batch_fetch_options(&mut request(&["x", &version]), 2).unwrap().unwrap();
        assert!(!options.found(0, found_json()).not_modified);
        assert!(options.found(1, found_json()).not_modified);
    }

    #[test]
    fn results_of_a_batch_have_options_of_their_own() {
        let request = pb::BatchGetRequest {
            keys: vec![pb::KeyRef::default(); 3],
            if_versions_not: [&Version(255).to_text(), "", "x"].map(str::to_owned).to_vec(),
            json_pointers: vec!["/a".to_owned()],
            ..Default::default()
        };
        let two = pb::BatchGetRequest { keys: request.keys[1..].to_vec(), ..request.clone() };
        assert!(batch_read_options(two).is_err_and(|error| error.field() == "if_versions_not"));
        let plain = pb::BatchGetRequest { keys: request.keys.clone(), ..Default::default() };
        assert!(batch_read_options(plain).unwrap().is_none());
        let mut options = batch_read_options(request).unwrap().unwrap();
        let mut result = |index, found| {
            let (result, degraded) =
                options.result(index, GetResult { found, degraded: index == 2 });
            assert_eq!((degraded, result.value), (index == 2, None));
            (result.not_modified, result.parts.len(), result.not_json)
        };
        assert_eq!(result(0, Some(found_json())), (true, 0, false));
        assert_eq!(result(1, Some(found_json())), (false, 1, false));
        assert_eq!(result(1, Some(found_text(Outcome::Hit, Tier::Store))), (false, 0, true));
        assert_eq!(result(2, None), (false, 0, false));
    }
}
