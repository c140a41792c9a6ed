//! Values as they are sent, and how types become them.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    DecodeError, EncodeError, json_writer::to_json, pb, plain_value::PlainValue, top_value,
};

/// A value as it is sent. A codec refuses the forms that it does not have:
///
/// ```
/// use larder_client::{DecodeError, Encoded};
///
/// fn text(encoded: Encoded) -> Result<String, DecodeError> {
///     match encoded {
///         Encoded::Text(text) => Ok(text),
///         _ => Err(DecodeError("expected text".to_owned())),
///     }
/// }
/// ```
///
/// ```compile_fail,E0004
/// # use larder_client::Encoded;
/// fn len(encoded: Encoded) -> usize {
///     match encoded {
///         Encoded::Text(text) | Encoded::Json(text) => text.len(),
///         Encoded::Data(data) => data.len(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoded {
    /// Text.
    Text(String),
    /// Bytes.
    Data(Bytes),
    /// One JSON document without white space.
    Json(String),
}

impl Encoded {
    pub(crate) fn from_wire(value: Option<pb::Value>) -> Result<Self, DecodeError> {
        match value.and_then(|value| value.kind) {
            Some(pb::value::Kind::Text(text)) => Ok(Self::Text(text)),
            Some(pb::value::Kind::Data(data)) => Ok(Self::Data(data)),
            Some(pb::value::Kind::Json(json)) => Ok(Self::Json(json)),
            None => Err(DecodeError("a value of an unknown kind".to_owned())),
        }
    }

    pub(crate) fn into_wire(self) -> pb::Value {
        let kind = match self {
            Self::Text(text) => pb::value::Kind::Text(text),
            Self::Data(data) => pb::value::Kind::Data(data),
            Self::Json(json) => pb::value::Kind::Json(json),
        };
        pb::Value { kind: Some(kind) }
    }

    /// Bytes of the value.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Data(data) => data.len(),
        }
    }
}

/// Turns values of a type into what is sent, and back.
pub trait Codec<V>: Send + Sync + 'static {
    /// The value as it is sent.
    ///
    /// # Errors
    ///
    /// The value cannot be sent.
    fn encode(&self, value: &V) -> Result<Encoded, EncodeError>;

    /// The value of what was sent.
    ///
    /// # Errors
    ///
    /// It cannot be read, which makes it a miss.
    fn decode(&self, encoded: Encoded) -> Result<V, DecodeError>;
}

/// Equal for codecs that are the same: by type if it has no state, or else by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CodecId {
    Type(TypeId),
    Address(usize),
}

impl CodecId {
    pub(crate) fn of<C: 'static>(codec: &Arc<C>) -> Self {
        if size_of::<C>() == 0 {
            return Self::Type(TypeId::of::<C>());
        }
        Self::Address(Arc::as_ptr(codec).cast::<()>() as usize)
    }
}

/// Text as text, bytes (`Bytes`, `Vec<u8>` and what serde calls bytes) as bytes, everything else as
/// JSON. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Auto;

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Codec<V> for Auto {
    fn encode(&self, value: &V) -> Result<Encoded, EncodeError> {
        let any: &dyn Any = value;
        if let Some(bytes) = any.downcast_ref::<Bytes>() {
            return Ok(Encoded::Data(bytes.clone()));
        }
        if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
            return Ok(Encoded::Data(Bytes::copy_from_slice(bytes)));
        }
        top_value::encode(value)
    }

    fn decode(&self, encoded: Encoded) -> Result<V, DecodeError> {
        if let Encoded::Json(json) = &encoded {
            return serde_json::from_str(json).map_err(|error| DecodeError(error.to_string()));
        }
        let mut value: Option<V> = None;
        let any: &mut dyn Any = &mut value;
        match encoded {
            Encoded::Data(data) => {
                if let Some(bytes) = any.downcast_mut::<Option<Bytes>>() {
                    *bytes = Some(data);
                } else if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
                    *bytes = Some(data.into());
                } else {
                    return V::deserialize(PlainValue::Data(data));
                }
            }
            Encoded::Text(text) | Encoded::Json(text) => {
                if let Some(place) = any.downcast_mut::<Option<String>>() {
                    *place = Some(text);
                } else {
                    return V::deserialize(PlainValue::Text(text));
                }
            }
        }
        value.ok_or_else(|| DecodeError("no value".to_owned()))
    }
}

/// Everything as JSON, text included. Reads JSON only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Encoded, EncodeError> {
        to_json(value).map(Encoded::Json)
    }

    fn decode(&self, encoded: Encoded) -> Result<V, DecodeError> {
        match encoded {
            Encoded::Json(json) => {
                serde_json::from_str(&json).map_err(|error| DecodeError(error.to_string()))
            }
            Encoded::Text(_) => Err(DecodeError("expected JSON, got text".to_owned())),
            Encoded::Data(_) => Err(DecodeError("expected JSON, got bytes".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Shape {
        Unit,
        New(u8),
        Pair(u8, u8),
        Named { a: Option<i64> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name(String);

    fn round<V>(value: V, encoded: Encoded)
    where
        V: Serialize + DeserializeOwned + Send + Sync + PartialEq + std::fmt::Debug + 'static,
    {
        assert_eq!(Auto.encode(&value), Ok(encoded.clone()));
        assert_eq!(Auto.decode(encoded), Ok(value));
    }

    fn json(text: &str) -> Encoded {
        Encoded::Json(text.to_owned())
    }

    #[test]
    fn types_are_sent_as_the_contract_says() {
        round("a".to_owned(), Encoded::Text("a".to_owned()));
        round(Some("a".to_owned()), Encoded::Text("a".to_owned()));
        round(Name("a".to_owned()), Encoded::Text("a".to_owned()));
        round(Bytes::from_static(b"\x01"), Encoded::Data(Bytes::from_static(b"\x01")));
        round(vec![1_u8, 2], Encoded::Data(Bytes::from_static(b"\x01\x02")));
        round(None::<String>, json("null"));
        round(5, json("5"));
        round(u128::MAX, json("340282366920938463463374607431768211455"));
        round(vec!["a\n".to_owned()], json(r#"["a\n"]"#));
        round(BTreeMap::from([(1, true)]), json(r#"{"1":true}"#));
        round(vec![Shape::Unit, Shape::New(1)], json(r#"["unit",{"new":1}]"#));
        round(Shape::Pair(1, 2), json(r#"{"pair":[1,2]}"#));
        round(Shape::Named { a: None }, json(r#"{"named":{"a":null}}"#));
        let number: serde_json::Value = serde_json::from_str("[1.5,12]").unwrap_or_default();
        round(number, json("[1.5,12]"));
    }

    #[test]
    fn what_json_cannot_represent_is_refused_with_its_place() {
        let value = BTreeMap::from([("total", vec![1.0, f64::INFINITY])]);
        let error = to_json(&value).err();
        assert_eq!(
            error.map(|error| error.to_string()),
            Some("value.total[1]: inf is no number of JSON".to_owned())
        );
    }

    #[test]
    fn other_kinds_are_not_decodable() {
        assert!(<Auto as Codec<u8>>::decode(&Auto, Encoded::Text("7".to_owned())).is_err());
        assert!(<Auto as Codec<String>>::decode(&Auto, json("7")).is_err());
        assert!(<Auto as Codec<String>>::decode(&Auto, json("{broken")).is_err());
    }
}
