//! Bucket bounds that the histograms of all layers share.

/// Bounds of latency histograms, in seconds. They start at 50 µs, because a cache hit is faster
/// than the first bound of the usual defaults.
pub const LATENCY_BOUNDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
