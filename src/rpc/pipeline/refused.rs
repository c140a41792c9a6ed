//! Replies to calls that are refused.

use std::future::ready;

use futures_util::future::BoxFuture;
use tonic::{Status, body::Body};
use transport::{Reply, RequestBody};

use crate::rpc::{call::Call, load_limits::Holds, protocol::Refusal, slow_refusals::RefusalPause};

/// A call that is rejected.
pub(super) struct Refused {
    pub(super) status: Status,
    /// The part of its body that was not read.
    pub(super) unread: Option<RequestBody>,
}

impl Refused {
    /// Replies after a pause.
    #[cold]
    pub(super) fn reply_after(
        self,
        pause: Option<RefusalPause>,
        call: Call,
    ) -> BoxFuture<'static, Reply<Body>> {
        match pause {
            None => Box::pin(ready(self.reply(call))),
            Some(pause) => Box::pin(async move {
                pause.wait().await;
                self.reply(call)
            }),
        }
    }

    pub(super) fn reply(self, call: Call) -> Reply<Body> {
        let code = self.status.code();
        let response = call.respond(self.status.into_http(), Some(code), Holds::default());
        Reply { response, unread: self.unread, held: None }
    }
}

/// Replies to a request that is not a valid gRPC request.
#[cold]
pub(super) fn refuse_request(
    call: Call,
    refusal: Refusal,
    unread: RequestBody,
) -> BoxFuture<'static, Reply<Body>> {
    let code = refusal.code();
    let response = call.respond(refusal.into_response(), Some(code), Holds::default());
    Box::pin(ready(Reply { response, unread: Some(unread), held: None }))
}
