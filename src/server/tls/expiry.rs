//! When certificates expire.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::tls::Validity;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Time before the end in which a warning is logged once a day.
const WARNING_TIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The expiry of each certificate in use.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<BTreeMap<&'static str, Expiry>>);

#[derive(Debug)]
struct Expiry {
    not_after: SystemTime,
    warned: LogInterval,
}

impl Expiries {
    pub(super) fn set(&self, name: &'static str, validity: Option<Validity>) {
        let mut expiries = self.0.lock();
        match validity {
            // One that is read again is not logged again.
            Some(Validity { not_after, .. })
                if expiries.get(name).is_some_and(|known| known.not_after == not_after) => {}
            Some(Validity { not_after, .. }) => {
                let expiry = Expiry { not_after, warned: LogInterval::new(DAY) };
                expiries.insert(name, expiry);
            }
            None => drop(expiries.remove(name)),
        }
    }

    /// The seconds that each certificate is still valid; negative after that.
    pub(super) fn seconds_left(&self) -> Vec<(&'static str, f64)> {
        let now = SystemTime::now();
        let left = |expiry: &Expiry| seconds_from(now, expiry.not_after);
        self.0.lock().iter().map(|(name, expiry)| (*name, left(expiry))).collect()
    }

    /// Logs a warning for each certificate that expires soon, once a day.
    pub(super) fn warn(&self) {
        let now = SystemTime::now();
        for (certificate, expiry) in &mut *self.0.lock() {
            let left = seconds_from(now, expiry.not_after);
            if left > WARNING_TIME.as_secs_f64() || expiry.warned.occurred().is_none() {
                continue;
            }
            let expires = humantime::format_rfc3339_seconds(expiry.not_after).to_string();
            if left < 0.0 {
                tracing::error!(
                    certificate,
                    expires,
                    "a certificate has expired: replace its files"
                );
            } else {
                let days = (left / DAY.as_secs_f64()).floor();
                tracing::warn!(certificate, expires, days, "a certificate expires soon");
            }
        }
    }
}

fn seconds_from(now: SystemTime, then: SystemTime) -> f64 {
    match then.duration_since(now) {
        Ok(left) => left.as_secs_f64(),
        Err(past) => -past.duration().as_secs_f64(),
    }
}
