//! Reuse of entries, estimated from the reads and writes of a few keys.
//!
//! Sampling is spatial, as in SHARDS (Waldspurger and others, "Efficient MRC Construction with
//! SHARDS", FAST '15): a key whose hash is below a threshold is followed, with all its reads and
//! writes, and any other key is not. All replicas follow the same keys, so that their events can be
//! joined. For each followed key some other TTLs are simulated next to the one in force, as in
//! "Cache Modeling and Optimization using Miniature Simulations" (ATC '17).

pub mod counts;
pub mod event;
pub mod events;
pub mod record;
mod runs;
pub mod table;

use super::windows::Window;

/// All keys of a namespace are followed at first. Then the share is halved as often as it takes,
/// but no more than this.
pub const MAX_HALVINGS: u32 = 40;
/// Earlier releases follow one key in 128 at most, always.
const EARLIER_HALVINGS: u32 = 7;

/// The TTLs that are simulated, in milliseconds. A day is the longest: so long are keys followed.
pub const TTLS_MS: [u64; 16] = [
    1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
    7_200_000, 14_400_000, 28_800_000, 43_200_000, 86_400_000,
];

/// Counts are kept in buckets of 6 hours, of which five cover at least the last 24 hours.
pub const REUSE_WINDOW: Window = Window { bucket_ms: 6 * 3_600_000, buckets: 5 };

/// Keys are counted in groups by their hash: their spread is the error of an estimate.
pub const GROUPS: usize = 16;

/// Values of at least so many bytes are large.
pub const LARGE_BYTES: u64 = 64 * 1024;

/// Whether a key with this hash is followed in a namespace whose share was halved `halvings` times.
/// The upper bits decide; the lower ones are used to choose a shard.
fn is_below(hash: u64, halvings: u32) -> bool {
    hash.leading_zeros() >= halvings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_halving_keeps_a_subset_of_half_the_keys() {
        let hashes =
            (0..1_000_000_u64).map(|number| xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes()));
        let hashes: Vec<u64> = hashes.collect();
        for halvings in 0..11 {
            let below = hashes.iter().filter(|hash| is_below(**hash, halvings)).count() as f64;
            let expected = 1_000_000.0 / (1_u64 << halvings) as f64;
            assert!((below - expected).abs() < 5.0 * expected.sqrt(), "{below} of {expected}");
        }
        assert!(hashes.iter().all(|hash| is_below(*hash, 0)));
        assert!(hashes.iter().all(|hash| !is_below(*hash, 2) || is_below(*hash, 1)));
    }
}
