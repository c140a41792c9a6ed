//! Set, and the fill of a FetchStream.

use super::{
    Checked, entry_key,
    lease::{lease_loss, required_token},
    ttl,
    value::{required_value, tags},
};
use crate::{
    cache::{Condition, LeaseLoss, SetCommand, SetMode, SetOutcome, SetResult},
    model::{EntryKey, Version, Violation},
    pb::{from_duration, v1 as pb},
};

pub(in crate::rpc) fn set_command(request: pb::SetRequest) -> Checked<SetCommand> {
    let key = entry_key(&request.namespace, &request.key, &request.params)?;
    let (kind, data) = required_value(request.value)?;
    Ok(SetCommand {
        key,
        kind,
        data,
        ttl: ttl(request.ttl)?,
        tags: tags(request.tags)?,
        mode: mode(request.condition, &request.lease_token)?,
    })
}

/// The value that a stream computed for its key.
pub(in crate::rpc) fn fill_command(
    key: EntryKey,
    fill: pb::FetchStreamFill,
    mode: SetMode,
) -> Checked<SetCommand> {
    let (kind, data) = required_value(fill.value)?;
    Ok(SetCommand { key, kind, data, ttl: ttl(fill.ttl)?, tags: tags(fill.tags)?, mode })
}

fn mode(condition: Option<pb::set_request::Condition>, lease_token: &[u8]) -> Checked<SetMode> {
    use pb::set_request::Condition as Pb;
    if !lease_token.is_empty() {
        if condition.is_some() {
            return Err(Violation::new("lease_token", "cannot be combined with a condition"));
        }
        return required_token(lease_token).map(SetMode::Under);
    }
    let condition = match condition {
        None => Condition::Always,
        Some(Pb::IfAbsent(true)) => Condition::IfAbsent,
        Some(Pb::IfPresent(true)) => Condition::IfPresent,
        Some(Pb::IfAbsent(false)) => {
            return Err(Violation::new("if_absent", "must be true when set"));
        }
        Some(Pb::IfPresent(false)) => {
            return Err(Violation::new("if_present", "must be true when set"));
        }
        Some(Pb::IfVersion(version)) if version.is_empty() => {
            return Err(Violation::new("if_version", "must not be empty when set"));
        }
        Some(Pb::IfVersion(version)) => match Version::parse(&version) {
            Some(version) => Condition::IfVersion(version),
            None => return Ok(SetMode::OnUnknownVersion),
        },
    };
    Ok(SetMode::On(condition))
}

pub(in crate::rpc) fn set_response(result: SetResult) -> pb::SetResponse {
    let (version, ttl) = match result.outcome {
        SetOutcome::Stored { version, ttl } => (version.to_text(), Some(from_duration(ttl))),
        SetOutcome::ConditionNotMet | SetOutcome::LeaseLost(_) | SetOutcome::NotStored(_) => {
            (String::new(), None)
        }
    };
    pb::SetResponse {
        result: set_result(result.outcome).into(),
        version,
        ttl,
        degraded: result.degraded,
        cause: result.outcome.cause(),
    }
}

fn set_result(outcome: SetOutcome) -> pb::SetResult {
    match outcome {
        SetOutcome::Stored { .. } => pb::SetResult::Stored,
        SetOutcome::ConditionNotMet => pb::SetResult::ConditionNotMet,
        SetOutcome::LeaseLost(loss) => lease_loss(loss),
        SetOutcome::NotStored(_) => pb::SetResult::NotStored,
    }
}

/// Name of the outcome of a Set in the access log.
pub(in crate::rpc) fn set_result_name(outcome: SetOutcome) -> &'static str {
    match outcome {
        SetOutcome::Stored { .. } => "STORED",
        SetOutcome::ConditionNotMet => "CONDITION_NOT_MET",
        SetOutcome::LeaseLost(LeaseLoss::Expired) => "LEASE_LOST",
        SetOutcome::LeaseLost(LeaseLoss::Invalidated) => "INVALIDATED",
        SetOutcome::LeaseLost(LeaseLoss::Superseded) => "SUPERSEDED",
        SetOutcome::NotStored(_) => "NOT_STORED",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{cache::LeaseToken, store::ErrorKind};

    #[test]
    fn lease_token_and_condition_exclude_each_other() {
        use pb::set_request::Condition as Pb;
        assert_eq!(mode(Some(Pb::IfAbsent(true)), &[0; 16]).unwrap_err().field(), "lease_token");
        assert_eq!(mode(None, &[7; 16]).unwrap(), SetMode::Under(LeaseToken([7; 16])));
        assert_eq!(mode(None, &[0; 15]).unwrap_err().field(), "lease_token");
    }

    #[test]
    fn condition_is_validated() {
        use pb::set_request::Condition as Pb;
        let on = |condition| mode(Some(condition), &[]);
        assert_eq!(mode(None, &[]).unwrap(), SetMode::On(Condition::Always));
        assert_eq!(on(Pb::IfAbsent(true)).unwrap(), SetMode::On(Condition::IfAbsent));
        assert_eq!(on(Pb::IfPresent(true)).unwrap(), SetMode::On(Condition::IfPresent));
        assert_eq!(on(Pb::IfAbsent(false)).unwrap_err().field(), "if_absent");
        assert_eq!(on(Pb::IfPresent(false)).unwrap_err().field(), "if_present");
        let version = |version: &str| on(Pb::IfVersion(version.to_owned()));
        assert_eq!(version("").unwrap_err().field(), "if_version");
        assert_eq!(version("x").unwrap(), SetMode::OnUnknownVersion);
        let known = Version(255);
        let expected = SetMode::On(Condition::IfVersion(known));
        assert_eq!(version(&known.to_text()).unwrap(), expected);
    }

    #[test]
    fn only_a_stored_value_has_version_and_ttl() {
        let ttl = Duration::from_secs(2);
        let stored = SetOutcome::Stored { version: Version(255), ttl };
        let response = set_response(SetResult { outcome: stored, degraded: false });
        assert_eq!(response.result(), pb::SetResult::Stored);
        assert_eq!(
            (response.version, response.ttl),
            (Version(255).to_text(), Some(from_duration(ttl)))
        );
        assert_eq!(response.cause, "");
        let outcome = SetOutcome::NotStored(ErrorKind::Timeout);
        let response = set_response(SetResult { outcome, degraded: true });
        assert_eq!(response.result(), pb::SetResult::NotStored);
        assert_eq!(response.cause, "the store did not answer in time (store.timeout)");
        assert!(response.version.is_empty() && response.ttl.is_none() && response.degraded);
    }

    #[test]
    fn access_log_names_results_like_the_proto() {
        for outcome in [
            SetOutcome::Stored { version: Version(1), ttl: Duration::ZERO },
            SetOutcome::ConditionNotMet,
            SetOutcome::LeaseLost(LeaseLoss::Expired),
            SetOutcome::LeaseLost(LeaseLoss::Invalidated),
            SetOutcome::LeaseLost(LeaseLoss::Superseded),
            SetOutcome::NotStored(ErrorKind::Full),
        ] {
            let name = set_result(outcome).as_str_name();
            assert_eq!(name.strip_prefix("SET_RESULT_"), Some(set_result_name(outcome)));
        }
    }
}
