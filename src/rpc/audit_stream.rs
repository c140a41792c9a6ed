//! TailAudit: the records of the audit log, as a stream.

use futures_util::stream;
use tonic::Status;

use super::{batch_stream::ResponseStream, status};
use crate::{
    audit::{AuditLog, Tail, TailPart},
    cache::Error,
    pb::v1 as pb,
};

/// Records from before the call, unless it names a number.
const DEFAULT_RECORDS: u32 = 100;

enum State {
    Open(Box<Tail>),
    Ended,
}

/// Serves one stream. One that is not read is not polled, and holds nothing but its position.
pub(super) fn serve(
    log: &AuditLog,
    request: &pb::TailAuditRequest,
) -> Result<ResponseStream<pb::TailAuditResponse>, Status> {
    let count = request.records.unwrap_or(DEFAULT_RECORDS);
    let tail = log.tail(count.into(), request.follow).ok_or_else(status::no_audit_log)?;
    let parts = stream::unfold(State::Open(Box::new(tail)), async |state| {
        let State::Open(mut tail) = state else { return None };
        match tail.next().await {
            Some(TailPart { records, missed }) => {
                let records = records.iter().map(|record| record.as_ref().to_owned()).collect();
                let response = pb::TailAuditResponse { records, missed };
                Some((Ok(response), State::Open(tail)))
            }
            None if tail.follows() => Some((Err(Status::from(Error::ShuttingDown)), State::Ended)),
            None => None,
        }
    });
    Ok(Box::pin(parts))
}
