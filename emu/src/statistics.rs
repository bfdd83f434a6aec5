//! Exact statistics of many counts in little memory.
//!
//! Guarantees
//! - Nothing is sampled or rounded: mean, percentiles, worst and total are those of all values.
//! - Percentiles are by nearest rank: p99 is the least value that at least 99 % of all values
//!   do not exceed, so it is always a value that occurred.
//!
//! Costs: one hash entry per *distinct* value (instruction counts repeat a lot); adding is O(1).

use rustc_hash::FxHashMap;
use serde::Serialize;

/// A multiset of counts.
#[derive(Default, Clone)]
pub struct Counts {
    times: FxHashMap<u64, u64>,
}

/// What is said of a multiset of counts. All zero when it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub least: u64,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The greatest.
    pub worst: u64,
    /// Their sum.
    pub total: u64,
}

impl Counts {
    /// Takes in one value.
    pub fn add(&mut self, value: u64) {
        *self.times.entry(value).or_insert(0) += 1;
    }

    /// The greatest values so far, the greatest first, each as often as it came.
    pub fn greatest(&self, most: usize) -> Vec<u64> {
        let mut values: Vec<(u64, u64)> = self.times.iter().map(|(value, times)| (*value, *times)).collect();
        values.sort_unstable_by(|one, other| other.cmp(one));
        let repeated = values.into_iter().flat_map(|(value, times)| std::iter::repeat_n(value, times as usize));
        repeated.take(most).collect()
    }

    /// Summarises all values so far.
    pub fn summary(&self) -> Summary {
        let mut sorted: Vec<(u64, u64)> = self.times.iter().map(|(v, n)| (*v, *n)).collect();
        sorted.sort_unstable();
        let count: u64 = sorted.iter().map(|(_, times)| times).sum();
        if count == 0 {
            return Summary::default();
        }
        let total: u64 = sorted.iter().map(|(value, times)| value * times).sum();
        let percentile = |percent: u64| {
            let rank = (count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            for (value, times) in &sorted {
                seen += times;
                if seen >= rank {
                    return *value;
                }
            }
            0
        };
        Summary {
            count,
            mean: total as f64 / count as f64,
            least: sorted[0].0,
            p50: percentile(50),
            p99: percentile(99),
            worst: sorted[sorted.len() - 1].0,
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_all_zero() {
        assert_eq!(Counts::default().summary(), Summary::default());
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut counts = Counts::default();
        for value in 1..=100 {
            counts.add(value);
        }
        counts.add(1000);
        let summary = counts.summary();
        assert_eq!((summary.count, summary.least, summary.worst), (101, 1, 1000));
        assert_eq!((summary.p50, summary.p99), (51, 100));
        assert_eq!(summary.total, 6050);
        assert!((summary.mean - 6050.0 / 101.0).abs() < 1e-9);
    }
}
