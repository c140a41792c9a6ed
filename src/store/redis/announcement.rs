//! The announcement that a namespace was invalidated. The removal of its markers is announced by
//! Redis itself, but not if there are none.

use super::{key_schema::KeySchema, pool::Retry, router::Router, script::ANNOUNCE};
use crate::{model::Namespace, store::Result};

/// Announces to the watches of a namespace, in all replicas, that all of its entries are invalid.
pub(super) async fn announce_invalidation(
    router: &Router,
    schema: &KeySchema,
    namespace: &Namespace,
) -> Result<()> {
    let call = ANNOUNCE.call(&[schema.invalidation(namespace)]);
    router.eval(&ANNOUNCE, &call, Retry::Idempotent).await.map(|_| ())
}
