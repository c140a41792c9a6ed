//! Values that were acknowledged as stored survive the end of any replica.

use super::KeyHistory;
use crate::{
    history::{Answer, Call, Violation},
    names::KEEP,
    weakening::may_have_vanished,
};

/// Only for the namespace without invalidations and with long lifetimes.
pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    if entry.key.namespace != KEEP {
        return None;
    }
    for read in &entry.records {
        let is_read = matches!(read.call, Call::Read { .. });
        if !is_read || read.answer != (Answer::Miss { degraded: false }) {
            continue;
        }
        let lost = entry.writes().find(|write| {
            write.is_stored()
                && write.record.ended < read.began
                && read.ended + entry.rules.margin < write.expires_from()
                && !may_have_vanished(entry.faults, write.record.began, read.ended)
        });
        if let Some(write) = lost {
            let text = format!("write {} was stored and is missing", write.id);
            return entry.violation("stored values survive", read, text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Loss},
        names::KEEP,
    };

    #[test]
    fn a_lost_value_is_found() {
        let miss = |degraded| {
            let miss = read_answer(20, 30, Answer::Miss { degraded });
            [in_namespace(KEEP, write(0, 5, 1, stored())), in_namespace(KEEP, miss)]
        };
        bad(check, &miss(false));
        good(check, &miss(true));
        assert_eq!(violation(check, &miss(false), &[fault(None, 8, 9, Loss::Vanished)]), None);
        assert!(violation(check, &miss(false), &[fault(Some(0), 8, 9, Loss::Nothing)]).is_some());
    }
}
