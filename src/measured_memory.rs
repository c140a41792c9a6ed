//! The memory that a unit test allocates.

#![allow(clippy::unwrap_used)]

/// Makes a value, and returns it with the memory that it has allocated and not freed, in bytes.
pub(crate) fn measured<T>(make: impl FnOnce() -> T) -> (T, u64) {
    let mut made = None;
    let allocated = allocation_counter::measure(|| made = Some(make()));
    (made.unwrap(), u64::try_from(allocated.bytes_current).unwrap())
}
