//! Memory that an allocation takes: more than was asked for, because the allocator rounds up.
//!
//! Follows mimalloc, which the binary uses: each size has its class, four classes per power of two.

/// Counters before the content of an `Arc`.
pub(super) const ARC_HEADER: usize = 2 * size_of::<usize>();

const WORD: usize = 8;
/// Classes up to this size are multiples of two words.
const MAX_LINEAR: usize = 8 * WORD;
/// Larger allocations have pages of their own.
const MAX_CLASS: usize = 512 * 1024;
const PAGE: usize = 4096;

/// Memory that the allocator takes for `size` bytes that are aligned to `align`.
pub(super) const fn allocated(size: usize, align: usize) -> u64 {
    if size == 0 {
        return 0;
    }
    let class = size_class(size);
    // Blocks are aligned only if their size is a power of two. The others are made larger, and the
    // address in them is rounded up.
    if align == 1 || (class.is_power_of_two() && align <= size) {
        return class as u64;
    }
    size_class(size + align - 1) as u64
}

const fn size_class(size: usize) -> usize {
    if size <= WORD {
        return WORD;
    }
    if size <= MAX_LINEAR {
        return size.next_multiple_of(2 * WORD);
    }
    if size > MAX_CLASS {
        return size.next_multiple_of(PAGE);
    }
    let last_word = (size - 1) / WORD;
    let shift = last_word.ilog2() - 2;
    (((last_word >> shift) + 1) * WORD) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_their_class() {
        let classes = [
            (0, 0),
            (1, 8),
            (9, 16),
            (17, 32),
            (64, 64),
            (65, 80),
            (80, 80),
            (113, 128),
            (128, 128),
            (129, 160),
            (1024, 1024),
            (1025, 1280),
            (65_536, 65_536),
            (65_537, 80 * 1024),
            (512 * 1024, 512 * 1024),
            (512 * 1024 + 1, 512 * 1024 + 4096),
            (1 << 20, 1 << 20),
        ];
        for (size, class) in classes {
            assert_eq!(allocated(size, 1), class, "{size}");
        }
    }

    #[test]
    fn aligned_sizes_that_are_no_power_of_two_are_made_larger() {
        for (size, class) in [(128, 128), (152, 160), (153, 160), (160, 192), (40, 48), (64, 64)] {
            assert_eq!(allocated(size, 8), class, "{size}");
        }
        assert_eq!(allocated(4, 8), 16, "too small to be aligned");
    }
}
