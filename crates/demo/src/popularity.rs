//! Keys as callers choose them: a few are popular, and most are not.

/// Numbers from 0, by the law of Zipf: the number `n` is chosen in proportion to `1 / (n + 1)^s`.
pub(crate) struct Zipf {
    /// Sums of the weights up to each number.
    sums: Vec<f64>,
}

// === impl Zipf ===

impl Zipf {
    /// Numbers below `count`, which must not be zero. The larger `exponent`, the more popular are
    /// the first.
    pub(crate) fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=count).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// A number at random.
    pub(crate) fn choose(&self) -> usize {
        self.at(rand::random())
    }

    /// The number at a point between 0 and 1 of the weights.
    fn at(&self, point: f64) -> usize {
        let total = self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= point * total).min(self.sums.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_popular() {
        let zipf = Zipf::new(100, 1.0);
        // The first number has 1 of 5.19, the first two 1.5 of it.
        assert_eq!((zipf.at(0.0), zipf.at(0.19), zipf.at(0.20), zipf.at(0.28)), (0, 0, 1, 1));
        assert_eq!((zipf.at(0.30), zipf.at(1.0)), (2, 99));
    }
}
