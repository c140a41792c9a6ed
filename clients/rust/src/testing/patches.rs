//! Patches of JSON values.

use tonic::{Code, Status};

use super::checks::{invalid, status};
use crate::pb::patch_request::Patch;

/// The JSON after the change.
pub(crate) fn patched(json: &str, change: &Patch) -> Result<String, Status> {
    let wrong = |error: serde_json::Error| invalid("patch", error);
    let mut value: serde_json::Value = serde_json::from_str(json).map_err(wrong)?;
    match change {
        Patch::MergePatch(patch) => {
            json_patch::merge(&mut value, &serde_json::from_str(patch).map_err(wrong)?);
        }
        Patch::JsonPatch(patch) => {
            let patch: json_patch::Patch = serde_json::from_str(patch).map_err(wrong)?;
            json_patch::patch(&mut value, &patch).map_err(|error| {
                let message = format!("the patch does not apply: {error}");
                status(Code::FailedPrecondition, "PATCH_NOT_APPLICABLE", message)
            })?;
        }
    }
    Ok(value.to_string())
}
