//! A handle with the type of its values.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Codec, Failure, Outcome, Read,
    codec::{CodecId, Encoded},
    core::Scope,
    near::{Near, Pending},
    options::ReadOptions,
    pb,
};

/// A handle's settings with its codec and its near cache.
pub(crate) struct Typed<V> {
    pub(crate) scope: Scope,
    pub(crate) codec: Arc<dyn Codec<V>>,
    /// Equal for handles with the same codec.
    pub(crate) codec_id: CodecId,
    pub(crate) near: Option<Arc<Near<V>>>,
}

impl<V> Clone for Typed<V> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            codec: Arc::clone(&self.codec),
            codec_id: self.codec_id,
            near: self.near.clone(),
        }
    }
}

impl<V: Send + Sync + 'static> Typed<V> {
    /// The near cache that a read may use.
    pub(crate) fn near(&self, options: &ReadOptions) -> Option<&Arc<Near<V>>> {
        self.near.as_ref().filter(|_| options.near())
    }

    /// Begins a read whose result may be kept.
    pub(crate) fn begin(&self, options: &ReadOptions, key: &str) -> Option<Pending<V>> {
        self.near(options).and_then(|near| near.begin(key))
    }

    /// The result of a read that the server has answered, with its counters.
    pub(crate) fn read(
        &self,
        outcome: pb::Outcome,
        value: Option<pb::Value>,
        entry: Option<pb::EntryInfo>,
        degraded: bool,
    ) -> Read<V> {
        let count = &self.scope.count;
        let outcome = match outcome {
            pb::Outcome::Hit => Outcome::Hit,
            pb::Outcome::Stale => Outcome::Stale,
            pb::Outcome::Negative => {
                count.negatives.add();
                return Read::entry(Outcome::Negative, None, entry, degraded);
            }
            pb::Outcome::Miss | pb::Outcome::Unspecified => {
                count.misses.add();
                return Read::miss(degraded, None);
            }
        };
        match Encoded::from_wire(value).and_then(|encoded| self.codec.decode(encoded)) {
            Ok(value) => {
                if outcome == Outcome::Hit { &count.hits } else { &count.stale }.add();
                Read::entry(outcome, Some(value), entry, degraded)
            }
            Err(error) => {
                count.undecodable.add();
                count.misses.add();
                Read::miss(degraded, Some(Failure::Undecodable(error)))
            }
        }
    }

    /// The result of an entry of GetOrFetch or Delete.
    pub(crate) fn found(&self, found: pb::Found, degraded: bool) -> Read<V> {
        self.read(found.outcome(), found.value, found.entry, degraded)
    }
}

/// The value of an answer, with memory of its own if it may go into the near cache. Bytes of an
/// answer share the buffer of the connection, which a small value would hold.
pub(crate) fn kept(value: Option<pb::Value>, is_kept: bool) -> Option<pb::Value> {
    if is_kept { detached(value) } else { value }
}

fn detached(mut value: Option<pb::Value>) -> Option<pb::Value> {
    if let Some(pb::Value { kind: Some(pb::value::Kind::Data(data)) }) = &mut value {
        *data = Bytes::copy_from_slice(data);
    }
    value
}

/// Bytes that a value takes.
pub(crate) fn value_bytes(value: Option<&pb::Value>) -> usize {
    match value.and_then(|value| value.kind.as_ref()) {
        Some(pb::value::Kind::Data(data)) => data.len(),
        Some(pb::value::Kind::Text(text) | pb::value::Kind::Json(text)) => text.len(),
        None => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn data(value: Option<pb::Value>) -> Bytes {
        match value.unwrap().kind.unwrap() {
            pb::value::Kind::Data(data) => data,
            pb::value::Kind::Text(_) | pb::value::Kind::Json(_) => unreachable!(),
        }
    }

    #[test]
    fn a_detached_value_has_memory_of_its_own() {
        let buffer = || Bytes::from(vec![7; 8192]);
        let value = |data| Some(pb::Value { kind: Some(pb::value::Kind::Data(data)) });
        let shared = data(value(buffer().slice(..10)));
        assert!(BytesMut::from(shared).capacity() >= 8192, "else nothing is to be mended");
        let own = data(detached(value(buffer().slice(..10))));
        assert_eq!(own, vec![7; 10]);
        assert!(BytesMut::from(own).capacity() < 100);
    }
}
