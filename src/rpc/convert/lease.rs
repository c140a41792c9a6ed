//! Lease tokens, Renew, Abandon and the hold-off of Delete.

use std::time::Duration;

use super::{Checked, non_negative};
use crate::{
    cache::{LeaseLoss, LeaseToken, RenewResult},
    model::{SaturatingFrom as _, Violation, millis_ceil},
    pb::{from_duration, v1 as pb},
};

/// Longest reason of an Abandon, in bytes.
const MAX_REASON_BYTES: usize = 256;
/// Longest hold-off of a Delete.
const MAX_HOLD_OFF: Duration = Duration::from_secs(3600);

/// The lease that a token names. A token of another length is a mistake of the caller, such as one
/// that is encoded twice, and not a lease that is lost.
pub(in crate::rpc) fn required_token(lease_token: &[u8]) -> Checked<LeaseToken> {
    if lease_token.is_empty() {
        return Err(Violation::new("lease_token", "must be set"));
    }
    lease_token.try_into().map(LeaseToken).map_err(|_| {
        let (length, expected) = (lease_token.len(), LeaseToken::BYTES);
        let description = format!("has {length} bytes, expected the {expected} of Lease.token");
        Violation::new("lease_token", description)
    })
}

pub(in crate::rpc) fn abandon_reason(reason: &str) -> Checked<&str> {
    if reason.len() > MAX_REASON_BYTES {
        let description =
            format!("is {} bytes long, the limit is {MAX_REASON_BYTES}", reason.len());
        return Err(Violation::over_limit("reason", description, MAX_REASON_BYTES));
    }
    Ok(reason)
}

/// The hold-off of a Delete, in whole milliseconds; zero if unset.
pub(in crate::rpc) fn hold_off(duration: Option<prost_types::Duration>) -> Checked<Duration> {
    let hold_off = non_negative("hold_off", duration)?.unwrap_or_default();
    if hold_off > MAX_HOLD_OFF {
        let (given, limit) = (hold_off.as_secs(), MAX_HOLD_OFF.as_secs());
        let description = format!("is {given} s long, the limit is {limit} s");
        return Err(Violation::over_limit("hold_off", description, usize::saturating_from(limit)));
    }
    Ok(Duration::from_millis(millis_ceil(hold_off)))
}

pub(in crate::rpc) fn renew_response(renewed: RenewResult) -> pb::RenewResponse {
    let result = match renewed.status {
        None => pb::RenewResult::Unspecified,
        Some(Ok(())) => pb::RenewResult::Renewed,
        Some(Err(LeaseLoss::Expired)) => pb::RenewResult::LeaseLost,
        Some(Err(LeaseLoss::Invalidated)) => pb::RenewResult::Invalidated,
        Some(Err(LeaseLoss::Superseded)) => pb::RenewResult::Superseded,
    };
    let expires_in = (renewed.status == Some(Ok(()))).then(|| from_duration(renewed.expires_in));
    pb::RenewResponse { result: result.into(), expires_in, degraded: renewed.status.is_none() }
}

/// Why a fill is rejected.
pub(in crate::rpc) fn lease_loss(loss: LeaseLoss) -> pb::SetResult {
    match loss {
        LeaseLoss::Expired => pb::SetResult::LeaseLost,
        LeaseLoss::Invalidated => pb::SetResult::Invalidated,
        LeaseLoss::Superseded => pb::SetResult::Superseded,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn token_has_sixteen_bytes() {
        assert_eq!(required_token(&[7; 16]).unwrap(), LeaseToken([7; 16]));
        for length in [1, 15, 17, 24] {
            let violation = required_token(&vec![7; length]).unwrap_err();
            assert_eq!(violation.field(), "lease_token");
            assert!(
                violation.to_string().contains(&format!("has {length} bytes, expected the 16"))
            );
        }
        assert_eq!(required_token(&[]).unwrap_err().field(), "lease_token");
    }

    #[test]
    fn reason_is_bounded() {
        let longest = "r".repeat(MAX_REASON_BYTES);
        assert_eq!(abandon_reason(&longest).unwrap(), longest);
        assert_eq!(abandon_reason(&format!("{longest}r")).unwrap_err().limit(), Some(256));
    }

    #[test]
    fn hold_off_is_rounded_up_and_bounded() {
        let hold_off = |seconds, nanos| hold_off(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(super::hold_off(None).unwrap(), Duration::ZERO);
        assert_eq!(hold_off(0, 0).unwrap(), Duration::ZERO);
        assert_eq!(hold_off(0, 1).unwrap(), Duration::from_millis(1));
        assert_eq!(hold_off(3600, 0).unwrap(), MAX_HOLD_OFF);
        assert_eq!(hold_off(3600, 1).unwrap_err().limit(), Some(3600));
        assert_eq!(hold_off(-1, 0).unwrap_err().field(), "hold_off");
    }

    #[test]
    fn renewal_returns_until_when_the_lease_is_held_or_why_it_is_not() {
        let expires_in = Duration::from_secs(10);
        let respond = |status| renew_response(RenewResult { status, expires_in });
        let held = respond(Some(Ok(())));
        assert_eq!(held.result(), pb::RenewResult::Renewed);
        assert_eq!(held.expires_in, Some(from_duration(expires_in)));
        let unknown = respond(None);
        assert_eq!(unknown.result(), pb::RenewResult::Unspecified);
        assert!(unknown.degraded && unknown.expires_in.is_none());
        for (loss, result) in [
            (LeaseLoss::Expired, pb::RenewResult::LeaseLost),
            (LeaseLoss::Invalidated, pb::RenewResult::Invalidated),
            (LeaseLoss::Superseded, pb::RenewResult::Superseded),
        ] {
            let lost = respond(Some(Err(loss)));
            assert_eq!((lost.result(), lost.expires_in, lost.degraded), (result, None, false));
        }
    }
}
