//! The request of a batch of reads, whose keys share their memory.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{pb, rpc::Rpc};

/// As [`pb::KeyRef`]: text and bytes are the same on the wire, and bytes can be shared.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SharedRef {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) namespace: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) key: Bytes,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) params: BTreeMap<String, String>,
}

/// As [`pb::BatchGetRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BatchGet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) keys: Vec<SharedRef>,
    #[prost(message, optional, tag = "2")]
    pub(crate) max_stale: Option<prost_types::Duration>,
    #[prost(enumeration = "pb::Consistency", tag = "3")]
    pub(crate) consistency: i32,
    #[prost(message, optional, tag = "7")]
    pub(crate) touch: Option<prost_types::Duration>,
}

impl Rpc for BatchGet {
    type Response = <pb::BatchGetRequest as Rpc>::Response;
    const NAME: &'static str = <pb::BatchGetRequest as Rpc>::NAME;
    const PATH: &'static str = <pb::BatchGetRequest as Rpc>::PATH;
}

/// The keys of a request: their texts are parts of one.
pub(crate) struct Refs {
    namespace: Bytes,
    texts: Vec<u8>,
    ends: Vec<(usize, BTreeMap<String, String>)>,
}

impl Refs {
    pub(crate) fn new(namespace: &str, count: usize) -> Self {
        Self {
            namespace: Bytes::copy_from_slice(namespace.as_bytes()),
            texts: Vec::new(),
            ends: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, key: &str, params: BTreeMap<String, String>) {
        self.texts.extend_from_slice(key.as_bytes());
        self.ends.push((self.texts.len(), params));
    }

    pub(crate) fn into_keys(self) -> Vec<SharedRef> {
        let texts = Bytes::from(self.texts);
        let mut begin = 0;
        let shared = |(end, params)| {
            let key = texts.slice(std::mem::replace(&mut begin, end)..end);
            SharedRef { namespace: self.namespace.clone(), key, params }
        };
        self.ends.into_iter().map(shared).collect()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_request_is_that_of_the_protos() {
        let params = BTreeMap::from([("language".to_owned(), "de".to_owned())]);
        let keys = [("user:1", BTreeMap::new()), ("straße", params)];
        let mut refs = Refs::new("users", keys.len());
        for (key, params) in keys.clone() {
            refs.push(key, params);
        }
        let second = prost_types::Duration { seconds: 1, nanos: 0 };
        let shared = BatchGet {
            keys: refs.into_keys(),
            max_stale: Some(second),
            consistency: pb::Consistency::Store.into(),
            touch: Some(second),
        };
        let own = pb::BatchGetRequest {
            keys: keys
                .map(|(key, params)| pb::KeyRef {
                    namespace: "users".to_owned(),
                    key: key.to_owned(),
                    params,
                })
                .to_vec(),
            max_stale: shared.max_stale,
            consistency: shared.consistency,
            touch: shared.touch,
            ..Default::default()
        };
        assert_eq!(pb::BatchGetRequest::decode(&*shared.encode_to_vec()).ok(), Some(own));
    }
}
