//! The records of the audit log: pages that show keys, and what is changed.

use super::{Dashboard, visitor::Visitor};
use crate::{audit::Record, model::AuditEvent};

impl Dashboard {
    /// Records that a page with keys was shown, if the log has such records. `note` adds what it
    /// showed.
    pub(super) fn record_view(
        &self,
        visitor: &Visitor,
        action: &'static str,
        note: impl FnOnce(&mut Record),
    ) {
        if self.parts.audit.records(AuditEvent::Inspect) {
            let mut record = Record::new(AuditEvent::Inspect, action);
            record.caller(visitor.caller.clone()).code("OK");
            note(&mut record);
            self.parts.audit.record(record);
        }
    }
}
