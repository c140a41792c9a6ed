//! Bucket bounds shared by the latency histograms of all layers.

/// Bucket bounds for latencies of a cache, in seconds: 50 us to 10 s.
pub const LATENCY_SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
