//! How a whole value is sent: text as text, bytes as bytes, everything else as JSON.

use bytes::Bytes;
use serde::ser::{Impossible, Serialize, Serializer};

use crate::{EncodeError, codec::Encoded, json_writer::to_json};

type Never = Impossible<Encoded, Signal>;
type Result = std::result::Result<Encoded, Signal>;

/// The end of the look at a value.
#[derive(Debug)]
enum Signal {
    /// The value is neither text nor bytes.
    Other,
    Failed(EncodeError),
}

impl std::fmt::Display for Signal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Other => formatter.write_str("neither text nor bytes"),
            Self::Failed(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Signal {}

impl serde::ser::Error for Signal {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Failed(EncodeError::new(message.to_string()))
    }
}

/// The value as it is sent.
pub(crate) fn encode<V: Serialize + ?Sized>(
    value: &V,
) -> std::result::Result<Encoded, EncodeError> {
    match value.serialize(Top) {
        Ok(encoded) => Ok(encoded),
        Err(Signal::Other) => to_json(value).map(Encoded::Json),
        Err(Signal::Failed(error)) => Err(error),
    }
}

/// Takes text and bytes.
struct Top;

macro_rules! other {
    ($($name:ident($($kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(self, $(_: $kind),*) -> std::result::Result<$result, Signal> {
            Err(Signal::Other)
        })*
    };
}

impl Serializer for Top {
    type Ok = Encoded;
    type Error = Signal;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_str(self, value: &str) -> Result {
        Ok(Encoded::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result {
        Ok(Encoded::Data(Bytes::copy_from_slice(value)))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result {
        Err(Signal::Other)
    }

    other! {
        serialize_bool(bool) -> Encoded;
        serialize_i8(i8) -> Encoded;
        serialize_i16(i16) -> Encoded;
        serialize_i32(i32) -> Encoded;
        serialize_i64(i64) -> Encoded;
        serialize_i128(i128) -> Encoded;
        serialize_u8(u8) -> Encoded;
        serialize_u16(u16) -> Encoded;
        serialize_u32(u32) -> Encoded;
        serialize_u64(u64) -> Encoded;
        serialize_u128(u128) -> Encoded;
        serialize_f32(f32) -> Encoded;
        serialize_f64(f64) -> Encoded;
        serialize_char(char) -> Encoded;
        serialize_none() -> Encoded;
        serialize_unit() -> Encoded;
        serialize_unit_struct(&'static str) -> Encoded;
        serialize_unit_variant(&'static str, u32, &'static str) -> Encoded;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}
