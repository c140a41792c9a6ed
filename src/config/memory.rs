//! Settings of the embedded store: `[memory]`.

use super::value::{MIB, size};
use super::visitor::{ConfigVisitor, Section};

/// `[memory]`: the embedded store.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryConfig {
    /// Upper limit for the memory of the embedded store, with its bookkeeping, in bytes. A
    /// sixteenth is kept free for the allocator. Above the rest, the least recently used entries
    /// are evicted. Leases and hold-offs may take an eighth of it: see
    /// docs/operations.md#leases-in-the-embedded-store.
    pub max_bytes: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { max_bytes: 256 * MIB }
    }
}

impl Section for MemoryConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("max_bytes", &mut self.max_bytes, size(MIB..=(1 << 50)));
    }
}
