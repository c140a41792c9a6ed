//! Blocks: what an entry keeps as bytes, in one allocation that answers share.
//!
//! [`Bytes::from`] needs a second allocation for the counter of references as soon as a block is
//! shared. Small blocks therefore are arrays, which [`Bytes::from_owner`] puts behind the counter.

use bytes::Bytes;

use super::allocation::allocated;

/// Counter of references that `Bytes` puts before an array.
const COUNTER: usize = size_of::<usize>();
/// Bytes that `Bytes` allocates when a `Vec` is shared for the first time.
const SHARED: u64 = allocated(3 * size_of::<usize>(), align_of::<usize>());

/// Builds a block of a fixed size if it is large enough, and the next one otherwise.
macro_rules! array_sizes {
    ($($size:literal)*) => {
        /// Sizes of arrays. Each fills a size class of the allocator, with the counter.
        const ARRAY_SIZES: &[usize] = &[$($size),*];

        fn array_of(parts: &[&[u8]], len: usize) -> Option<Bytes> {
            $(if len <= $size {
                return Some(filled::<$size>(parts, len));
            })*
            None
        }
    };
}

array_sizes! {
    24 32 56 64 80 96 120 144 176 208 248 304 368 432 504 624 752 880 1016
}

/// Concatenates `parts` into a block.
pub(super) fn concat(parts: &[&[u8]]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    array_of(parts, len).unwrap_or_else(|| {
        let mut block = Vec::with_capacity(len);
        parts.iter().for_each(|part| block.extend_from_slice(part));
        block.into()
    })
}

/// Memory of a block of `len` bytes.
pub(super) fn memory(len: usize) -> u64 {
    match ARRAY_SIZES.iter().find(|size| len <= **size) {
        Some(size) => allocated(size + COUNTER, align_of::<usize>()),
        None => allocated(len, 1) + SHARED,
    }
}

fn filled<const SIZE: usize>(parts: &[&[u8]], len: usize) -> Bytes {
    let mut array = [0; SIZE];
    let mut filled = 0;
    for part in parts {
        array[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    let mut block = Bytes::from_owner(array);
    block.truncate(len);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_one_another_in_blocks_of_every_size() {
        for len in 0..2100 {
            let value: Vec<u8> =
                (0..len).map(|byte| u8::try_from(byte % 251).unwrap_or(0)).collect();
            let (first, second) = value.split_at(len / 3);
            assert_eq!(concat(&[first, &[], second]), value, "{len}");
        }
    }

    #[test]
    fn arrays_fill_the_size_classes_of_the_allocator() {
        for (index, size) in ARRAY_SIZES.iter().enumerate() {
            let class = memory(*size);
            assert!(allocated(size + 2 * COUNTER, COUNTER) > class, "{size} could be larger");
            if let Some(next) = ARRAY_SIZES.get(index + 1) {
                assert_eq!(memory(size + 1), memory(*next));
                let between = allocated(usize::try_from(class).unwrap_or(0) + 1, 1);
                assert_eq!(memory(*next), between, "there is a class between {size} and {next}");
            }
        }
    }

    #[test]
    fn large_blocks_count_the_allocation_that_sharing_needs() {
        assert_eq!(memory(1016), 1024);
        assert_eq!(memory(1024), 1024 + SHARED);
        assert_eq!(memory(65_536), 65_536 + SHARED);
        assert_eq!(SHARED, 32);
    }
}
