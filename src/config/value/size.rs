//! Reads sizes in bytes.

use std::ops::RangeInclusive;

use bytesize::ByteSize;

use super::super::toml::quoted;
use super::{ValueType, as_integer, as_text, mismatch, value_type};

pub(in crate::config) const KIB: u64 = 1 << 10;
pub(in crate::config) const MIB: u64 = 1 << 20;
pub(in crate::config) const GIB: u64 = 1 << 30;

/// A size such as `64KiB`, or a plain number of bytes.
pub(in crate::config) fn size<T>(range: RangeInclusive<u64>) -> impl ValueType<Value = T>
where
    T: TryFrom<u64> + TryInto<u64> + Copy,
{
    value_type(
        move |raw| {
            let with_unit = || as_text(raw)?.parse().ok().map(|size: ByteSize| size.as_u64());
            let bytes = as_integer(raw)
                .or_else(with_unit)
                .ok_or_else(|| mismatch("a size such as 64KiB, 1MiB or 1048576", raw))?;
            let (min, max) = (format_size(*range.start()), format_size(*range.end()));
            T::try_from(bytes).ok().filter(|_| range.contains(&bytes)).ok_or_else(|| {
                let message = mismatch(format_args!("a size from {min} to {max}"), raw);
                // `64k` are 64,000 bytes, and perhaps not what was meant.
                let has_unit = as_integer(raw).is_none();
                if has_unit { format!("{message}, which is {bytes} bytes") } else { message }
            })
        },
        |value: &T| quoted(&format_size((*value).try_into().unwrap_or(u64::MAX))),
    )
}

/// Formats a size in the largest unit that divides it: `1MiB`, `1536KiB`, `1000B`.
pub(in crate::config) fn format_size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    units
        .iter()
        .find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}
