//! Converts Patch.

use super::{Checked, delete::version_condition, entry_key, ttl};
use crate::{
    cache::{Change, PatchCommand, PatchExpiry, PatchOutcome},
    model::Violation,
    pb::{
        from_duration,
        v1::{
            self as pb,
            patch_request::{Expiry, Patch},
        },
    },
};

pub(in crate::rpc) fn patch_command(request: pb::PatchRequest) -> Checked<PatchCommand> {
    let key = entry_key(&request.namespace, &request.key, &request.params)?;
    let change = match request.patch {
        None => {
            let description = "must be set, with one of merge_patch and json_patch";
            return Err(Violation::new("patch", description));
        }
        Some(Patch::MergePatch(text)) => Change::merge(text.as_bytes())?,
        Some(Patch::JsonPatch(text)) => Change::operations(text.as_bytes())?,
    };
    let expiry = match request.expiry {
        None => PatchExpiry::Ttl(None),
        Some(Expiry::Ttl(duration)) => PatchExpiry::Ttl(ttl(Some(duration))?),
        Some(Expiry::Keep(true)) => PatchExpiry::Keep,
        Some(Expiry::Keep(false)) => return Err(Violation::new("keep", "must be true when set")),
    };
    let condition = version_condition(request.if_version.as_deref())?;
    Ok(PatchCommand { key, change, condition, expiry, max_bytes: None })
}

pub(in crate::rpc) fn patch_response(outcome: PatchOutcome) -> pb::PatchResponse {
    let (result, version, ttl) = match outcome {
        PatchOutcome::Applied { version, ttl } => {
            (pb::PatchResult::Applied, version.to_text(), Some(from_duration(ttl)))
        }
        PatchOutcome::ConditionNotMet => (pb::PatchResult::ConditionNotMet, String::new(), None),
        PatchOutcome::Missing => (pb::PatchResult::Missing, String::new(), None),
    };
    pb::PatchResponse { result: result.into(), version, ttl }
}

/// Name of the outcome of a Patch in the access log.
pub(in crate::rpc) fn patch_result_name(outcome: PatchOutcome) -> &'static str {
    match outcome {
        PatchOutcome::Applied { .. } => "APPLIED",
        PatchOutcome::ConditionNotMet => "CONDITION_NOT_MET",
        PatchOutcome::Missing => "ABSENT",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{cache::VersionCondition, model::Version};

    fn request(patch: Patch) -> pb::PatchRequest {
        pb::PatchRequest {
            namespace: "ns".to_owned(),
            key: "k".to_owned(),
            patch: Some(patch),
            ..Default::default()
        }
    }

    fn merge(text: &str) -> pb::PatchRequest {
        request(Patch::MergePatch(text.to_owned()))
    }

    fn field_of(request: pb::PatchRequest) -> String {
        patch_command(request).unwrap_err().field().to_owned()
    }

    #[test]
    fn request_is_validated() {
        let command = patch_command(merge("{}")).unwrap();
        assert_eq!(command.condition, VersionCondition::Always);
        assert_eq!(command.expiry, PatchExpiry::Ttl(None));
        assert_eq!(field_of(pb::PatchRequest { patch: None, ..merge("{}") }), "patch");
        assert_eq!(field_of(merge("{")), "merge_patch");
        let json_patch = |text: &str| request(Patch::JsonPatch(text.to_owned()));
        assert!(patch_command(json_patch("[]")).is_ok());
        assert_eq!(field_of(json_patch("{}")), "json_patch");
        assert_eq!(field_of(json_patch(r#"[{"op":"add","path":""}]"#)), "json_patch[0]");
        let if_version = Some(String::new());
        assert_eq!(field_of(pb::PatchRequest { if_version, ..merge("{}") }), "if_version");
        let expiring = |expiry| pb::PatchRequest { expiry: Some(expiry), ..merge("{}") };
        assert_eq!(field_of(expiring(Expiry::Keep(false))), "keep");
        assert_eq!(field_of(expiring(Expiry::Ttl(from_duration(Duration::ZERO)))), "ttl");
        let kept = patch_command(expiring(Expiry::Keep(true))).unwrap();
        assert_eq!(kept.expiry, PatchExpiry::Keep);
    }

    #[test]
    fn response_has_a_version_only_if_the_patch_is_applied() {
        let applied = PatchOutcome::Applied { version: Version(7), ttl: Duration::from_secs(1) };
        let response = patch_response(applied);
        assert_eq!(response.result(), pb::PatchResult::Applied);
        assert_eq!((response.version, response.ttl.is_some()), (Version(7).to_text(), true));
        for (outcome, result, name) in [
            (PatchOutcome::ConditionNotMet, pb::PatchResult::ConditionNotMet, "CONDITION_NOT_MET"),
            (PatchOutcome::Missing, pb::PatchResult::Missing, "ABSENT"),
        ] {
            let response = patch_response(outcome);
            assert_eq!((response.result(), patch_result_name(outcome)), (result, name));
            assert!(response.version.is_empty() && response.ttl.is_none());
        }
    }
}
