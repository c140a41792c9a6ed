//! JSON without white space. What JSON cannot represent is refused, with its place in the value.

use std::fmt::Display;

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use crate::{EncodeError, verbatim::Verbatim};

/// The server refuses JSON with more arrays and objects within each other.
const MAX_DEPTH: usize = 128;
/// Structs of `serde_json` whose only field is JSON: numbers with all digits, and raw values.
const VERBATIM: [&str; 2] = ["$serde_json::private::Number", "$serde_json::private::RawValue"];

type Result<T> = std::result::Result<T, EncodeError>;

impl ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

impl EncodeError {
    /// The error of a value within another.
    pub(crate) fn within(mut self, part: impl Display) -> Self {
        self.place.insert_str(0, &part.to_string());
        self
    }
}

/// JSON of a value.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut writer = Writer::default();
    value.serialize(&mut writer)?;
    Ok(writer.text)
}

#[derive(Default)]
pub(crate) struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn scalar<T: Serialize>(&mut self, value: T) -> Result<()> {
        let text = serde_json::to_string(&value);
        self.text.push_str(&text.map_err(|error| EncodeError::new(error.to_string()))?);
        Ok(())
    }

    fn open(&mut self, text: &str, close: &'static str) -> Result<Members<'_>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(EncodeError::new(format!("more than {MAX_DEPTH} levels")));
        }
        self.text.push_str(text);
        Ok(Members { writer: self, close, count: 0, key: 0..0, verbatim: false })
    }

    /// The begin of `{"variant":`, which `Members` closes.
    fn variant(&mut self, variant: &str, open: &str, close: &'static str) -> Result<Members<'_>> {
        self.text.push('{');
        self.scalar(variant)?;
        self.text.push(':');
        self.open(open, close)
    }
}

/// The members of an array or an object.
pub(crate) struct Members<'a> {
    writer: &'a mut Writer,
    close: &'static str,
    count: usize,
    /// The place of the last key in the text.
    key: std::ops::Range<usize>,
    verbatim: bool,
}

impl Members<'_> {
    fn separate(&mut self) {
        if self.count > 0 {
            self.writer.text.push(',');
        }
        self.count += 1;
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.separate();
        let index = self.count - 1;
        value.serialize(&mut *self.writer).map_err(|error| error.within(format!("[{index}]")))
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        if self.verbatim {
            return value.serialize(Verbatim(&mut self.writer.text));
        }
        self.separate();
        self.writer.scalar(name)?;
        self.writer.text.push(':');
        value.serialize(&mut *self.writer).map_err(|error| error.within(format!(".{name}")))
    }

    fn close(self) -> Result<()> {
        self.writer.depth -= 1;
        self.writer.text.push_str(self.close);
        Ok(())
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Members<'a>;
    type SerializeTuple = Members<'a>;
    type SerializeTupleStruct = Members<'a>;
    type SerializeTupleVariant = Members<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = Members<'a>;
    type SerializeStructVariant = Members<'a>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.text.push_str(&value.to_string());
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        if !value.is_finite() {
            return Err(EncodeError::new(format!("{value} is no number of JSON")));
        }
        self.scalar(value)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        if !value.is_finite() {
            return Err(EncodeError::new(format!("{value} is no number of JSON")));
        }
        self.scalar(value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.scalar(value)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<()> {
        Err(EncodeError::new("bytes within another value: encode them as text, or use a codec"))
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.text.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let mut members = self.open("{", "}")?;
        members.field(variant, value)?;
        members.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'a>> {
        self.open("[", "]")
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'a>> {
        self.open("[", "]")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'a>> {
        self.open("[", "]")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>> {
        self.variant(variant, "[", "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>> {
        self.open("{", "}")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Members<'a>> {
        if VERBATIM.contains(&name) {
            let members = self.open("", "")?;
            return Ok(Members { verbatim: true, ..members });
        }
        self.open("{", "}")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'a>> {
        self.variant(variant, "{", "}}")
    }
}

impl SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeTuple for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeTupleStruct for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeTupleVariant for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.element(value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.separate();
        let mut writer = Writer::default();
        key.serialize(&mut writer)?;
        let start = self.writer.text.len();
        match writer.text.as_bytes().first() {
            Some(b'"') => self.writer.text.push_str(&writer.text),
            Some(b'{' | b'[' | b'n') | None => {
                return Err(EncodeError::new("a key of a map that is neither text nor a number"));
            }
            Some(_) => self.writer.scalar(&*writer.text)?,
        }
        self.key = start..self.writer.text.len();
        self.writer.text.push(':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.writer).map_err(|error| {
            let key = self.writer.text.get(self.key.clone()).unwrap_or_default();
            error.within(format!(".{}", key.trim_matches('"')))
        })
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(name, value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}

impl SerializeStructVariant for Members<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(name, value)
    }

    fn end(self) -> Result<()> {
        self.close()
    }
}
