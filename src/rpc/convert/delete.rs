//! Converts Delete and BatchDelete.

use super::{Checked, get::found, lease::hold_off};
use crate::{
    cache::{DeleteResult, Deletion, Durability, VersionCondition},
    model::{Version, Violation},
    pb::v1 as pb,
};

/// The parameters of a Delete besides its key.
pub(in crate::rpc) fn deletion(request: &pb::DeleteRequest) -> Checked<Deletion> {
    let condition = version_condition(request.if_version.as_deref())?;
    let hold_off = hold_off(request.hold_off)?;
    Ok(Deletion { hold_off, condition, returns_entry: request.return_value })
}

/// The field `if_version` of a request.
pub(super) fn version_condition(version: Option<&str>) -> Checked<VersionCondition> {
    match version {
        None => Ok(VersionCondition::Always),
        Some("") => Err(Violation::new("if_version", "must not be empty when set")),
        Some(version) => Ok(if_version(version)),
    }
}

/// The parameters for each of `keys` keys of a BatchDelete.
pub(in crate::rpc) fn deletions(request: &pb::BatchDeleteRequest) -> Checked<Vec<Deletion>> {
    let hold_off = hold_off(request.hold_off)?;
    let (keys, versions) = (request.keys.len(), request.if_versions.len());
    if versions != 0 && versions != keys {
        let description = format!("has {versions} elements for {keys} keys");
        return Err(Violation::new("if_versions", description));
    }
    let version_of = |index| request.if_versions.get(index).map_or("", String::as_str);
    let deletion = |index| {
        let condition = match version_of(index) {
            "" => VersionCondition::Always,
            version => if_version(version),
        };
        Deletion { hold_off, condition, returns_entry: false }
    };
    Ok((0..keys).map(deletion).collect())
}

fn if_version(version: &str) -> VersionCondition {
    Version::parse(version).map_or(VersionCondition::UnknownVersion, VersionCondition::IfVersion)
}

pub(in crate::rpc) fn delete_response(result: DeleteResult) -> pb::DeleteResponse {
    let DeleteResult { existed, deleted, removed, durability } = result;
    let durability = super::durability(durability);
    pb::DeleteResponse { existed, deleted, removed: removed.map(found), durability }
}

/// Name of the outcome of a Delete in the access log.
pub(in crate::rpc) fn delete_result_name(result: &DeleteResult) -> &'static str {
    match (result.durability, result.existed, result.deleted) {
        (Durability::Queued, ..) => "QUEUED",
        (_, _, true) => "DELETED",
        (_, true, false) => "CONDITION_NOT_MET",
        (_, false, false) => "ABSENT",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::{Outcome, Tier};

    fn if_version(version: &str) -> Checked<VersionCondition> {
        let if_version = Some(version.to_owned());
        let request = pb::DeleteRequest { if_version, ..Default::default() };
        deletion(&request).map(|deletion| deletion.condition)
    }

    #[test]
    fn condition_is_validated() {
        let plain = deletion(&pb::DeleteRequest::default()).unwrap();
        let (hold_off, condition) = (Duration::ZERO, VersionCondition::Always);
        assert_eq!(plain, Deletion { hold_off, condition, returns_entry: false });
        assert_eq!(if_version("").unwrap_err().field(), "if_version");
        assert_eq!(if_version("x").unwrap(), VersionCondition::UnknownVersion);
        let known = Version(255);
        assert_eq!(if_version(&known.to_text()).unwrap(), VersionCondition::IfVersion(known));
    }

    #[test]
    fn batch_has_no_version_or_one_per_key() {
        let batch = |versions: &[&str]| {
            let request = pb::BatchDeleteRequest {
                keys: vec![pb::KeyRef::default(); 2],
                if_versions: versions.iter().map(|&version| version.to_owned()).collect(),
                ..Default::default()
            };
            let deletions = deletions(&request)?;
            Ok(deletions.into_iter().map(|deletion| deletion.condition).collect::<Vec<_>>())
        };
        let always = VersionCondition::Always;
        assert_eq!(batch(&[]), Ok(vec![always; 2]));
        assert_eq!(batch(&["", "x"]), Ok(vec![always, VersionCondition::UnknownVersion]));
        for versions in [&["x"][..], &["x", "x", "x"]] {
            let violation: Violation = batch(versions).unwrap_err();
            assert_eq!(violation.field(), "if_versions", "{violation}");
        }
    }

    #[test]
    fn response_has_what_existed_and_what_was_removed() {
        let removed = Some(super::super::get::tests::found_text(Outcome::Hit, Tier::Store));
        let (existed, deleted, durability) = (true, true, Durability::Applied);
        let result = DeleteResult { existed, deleted, removed, durability };
        assert_eq!(delete_result_name(&result), "DELETED");
        let response = delete_response(result);
        assert!(response.existed && response.deleted);
        let found = response.removed.unwrap();
        assert_eq!(found.outcome(), pb::Outcome::Hit);
        assert!(found.value.is_some() && found.entry.is_some());
        let unmet = DeleteResult { existed: true, ..Default::default() };
        assert_eq!(delete_result_name(&unmet), "CONDITION_NOT_MET");
        assert_eq!(delete_result_name(&DeleteResult::default()), "ABSENT");
        let queued = DeleteResult { durability: Durability::Queued, ..Default::default() };
        assert_eq!(delete_result_name(&queued), "QUEUED");
        assert_eq!(delete_response(queued).durability(), pb::Durability::Queued);
    }
}
