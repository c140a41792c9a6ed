use std::marker::PhantomData;
use std::ops::RangeInclusive;

use bytesize::ByteSize;
use config::ValueKind;

use super::super::toml::quoted;
use super::{ValueType, as_integer, as_text, mismatch};

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// A size such as `64KiB`, or a plain number of bytes.
pub(crate) fn size<T>(range: RangeInclusive<u64>) -> Size<T> {
    Size { range, value: PhantomData }
}

pub(crate) struct Size<T> {
    range: RangeInclusive<u64>,
    value: PhantomData<T>,
}

impl<T> ValueType for Size<T>
where
    T: TryFrom<u64> + TryInto<u64> + Copy,
{
    type Value = T;

    fn parse(&self, raw: &ValueKind) -> Result<T, String> {
        let named = || as_text(raw)?.parse().ok().map(|size: ByteSize| size.as_u64());
        let bytes = as_integer(raw)
            .or_else(named)
            .ok_or_else(|| mismatch("a size such as 64KiB, 1MiB or 1048576", raw))?;
        let (min, max) = (text_of(*self.range.start()), text_of(*self.range.end()));
        T::try_from(bytes)
            .ok()
            .filter(|_| self.range.contains(&bytes))
            .ok_or_else(|| mismatch(format_args!("a size from {min} to {max}"), raw))
    }

    fn render(&self, value: &T) -> String {
        quoted(&text_of((*value).try_into().unwrap_or(u64::MAX)))
    }
}

/// Writes a size in the largest unit that divides it: `1MiB`, `1536KiB`, `1000B`.
pub(crate) fn text_of(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    units
        .iter()
        .find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}
