//! How many keys of a batch are read at once.

/// Adapts the number of keys per read to the size of their values, so that the memory of a batch
/// does not grow with its length.
#[derive(Debug, Clone)]
pub(super) struct ChunkSizer {
    keys: usize,
    limits: ChunkLimits,
}

/// Bounds of a [`ChunkSizer`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkLimits {
    /// Keys of the first read, when nothing is known of the size of the values.
    pub(super) first_keys: usize,
    /// Most keys of one read: small values may be followed by large ones.
    pub(super) max_keys: usize,
    /// How much a read may grow over the one before.
    pub(super) growth: usize,
    /// Size of the values of one read, in bytes.
    pub(super) target_bytes: usize,
}

impl ChunkSizer {
    pub(super) fn new(limits: ChunkLimits) -> Self {
        Self { keys: limits.first_keys, limits }
    }

    /// Keys of the next read.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// Adapts to a read of `keys` whose values had `bytes` together.
    pub(super) fn observe(&mut self, keys: usize, bytes: usize) {
        let mean = (bytes / keys.max(1)).max(1);
        let most = self.limits.max_keys.min(self.keys * self.limits.growth);
        self.keys = (self.limits.target_bytes / mean).clamp(1, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChunkLimits =
        ChunkLimits { first_keys: 16, max_keys: 100, growth: 4, target_bytes: 1000 };

    fn after(reads: &[(usize, usize)]) -> usize {
        let mut sizer = ChunkSizer::new(LIMITS);
        reads.iter().for_each(|(keys, bytes)| sizer.observe(*keys, *bytes));
        sizer.keys()
    }

    #[test]
    fn chunks_adapt_to_the_size_of_the_values() {
        assert_eq!(after(&[]), 16);
        assert_eq!(after(&[(16, 0)]), 64, "absent values: grows, but not at once to the limit");
        assert_eq!(after(&[(16, 0), (64, 0)]), 100, "never over the limit");
        assert_eq!(after(&[(16, 16 * 50)]), 20, "as many as reach the target");
        assert_eq!(after(&[(16, 16 * 5000)]), 1, "at least one");
        assert_eq!(after(&[(16, 16 * 5000), (1, 1)]), 4, "grows again from there");
        assert_eq!(after(&[(0, 0)]), 64, "an empty read does not divide by zero");
    }
}
