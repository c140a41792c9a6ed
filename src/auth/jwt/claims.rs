//! Claims of tokens.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The claim that selects the issuer.
#[derive(Deserialize)]
pub(in crate::auth) struct IssuerClaim {
    pub(in crate::auth) iss: String,
}

/// All claims of a verified token.
#[derive(Deserialize)]
pub(in crate::auth) struct Claims(Map<String, Value>);

impl Claims {
    /// A claim that is a text.
    pub(in crate::auth) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A claim that is a list of texts, or one text with spaces between its parts, as `scope` is
    /// (RFC 8693, 4.2).
    pub(in crate::auth) fn texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(Value::String(text)) => text.split_whitespace().collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// When the token expires, with a tolerance. None if it has no such time, or one that is beyond
    /// those of the system.
    pub(in crate::auth) fn expiry(&self, leeway: Duration) -> Option<SystemTime> {
        let expiry = Duration::from_secs(self.seconds("exp")?).checked_add(leeway)?;
        SystemTime::UNIX_EPOCH.checked_add(expiry)
    }

    /// A claim that is a time, in seconds since 1970. Fractions are cut off.
    fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        // No time that a token can have is beyond the range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |seconds: f64| (seconds >= 0.0).then_some(seconds as u64);
        value.as_u64().or_else(|| value.as_f64().and_then(whole))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_by_their_types() {
        let json = r#"{"sub":"a","none":"","roles":["x",1,"y"],"scope":"x  y","exp":7.9,"n":3}"#;
        let claims: Claims = serde_json::from_str(json).unwrap();
        assert_eq!(claims.text("sub"), Some("a"));
        assert_eq!((claims.text("none"), claims.text("roles")), (None, None));
        assert_eq!(claims.texts("roles"), ["x", "y"]);
        assert_eq!(claims.texts("scope"), ["x", "y"]);
        assert!(claims.texts("n").is_empty() && claims.texts("no").is_empty());
        assert_eq!((claims.seconds("exp"), claims.seconds("n")), (Some(7), Some(3)));
        assert_eq!(claims.seconds("sub"), None);
    }

    #[test]
    fn expiry_beyond_the_times_of_the_system_is_none() {
        let expiry = |exp: &str| {
            let claims: Claims = serde_json::from_str(&format!(r#"{{"exp":{exp}}}"#)).unwrap();
            claims.expiry(Duration::from_secs(30))
        };
        let minute = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        assert_eq!((expiry("30"), expiry("30.9")), (Some(minute), Some(minute)));
        for exp in ["18446744073709551615", "18446744073709551600", "1e300", "-1", "\"7\"", "null"]
        {
            assert_eq!(expiry(exp), None, "{exp}");
        }
    }
}
