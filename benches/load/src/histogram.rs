//! How long calls took: buckets of which each is at most 1.6 % wide, so that recording is one increment.

use std::time::Duration;

/// Buckets in each power of two.
const FINE: u64 = 64;

/// Powers of two of nanoseconds; the last is beyond nine minutes.
const POWERS: u64 = 34;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; (POWERS * FINE) as usize], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        self.counts[index(took.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    /// The time, in microseconds, within which this share of the calls was answered.
    pub fn micros(&self, share: f64) -> f64 {
        let rank = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index as u64) / 1000.0;
            }
        }
        0.0
    }
}

fn index(nanos: u64) -> usize {
    if nanos < FINE {
        return nanos as usize;
    }
    let power = u64::from(nanos.ilog2()) - u64::from(FINE.ilog2());
    let index = (power + 1) * FINE + ((nanos >> power) - FINE);
    index.min(POWERS * FINE - 1) as usize
}

fn middle(index: u64) -> f64 {
    if index < FINE {
        return index as f64;
    }
    let power = index / FINE - 1;
    let lowest = (FINE + index % FINE) << power;
    lowest as f64 + (1_u64 << power) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_narrow() {
        for nanos in [0, 1, 63, 64, 65, 1000, 123_456, 9_999_999_999] {
            let off = (middle(index(nanos) as u64) - nanos as f64).abs();
            assert!(off <= 1.0 + nanos as f64 / 64.0, "{nanos} is off by {off}");
        }
    }

    #[test]
    fn shares_are_ranks() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        assert!((histogram.micros(0.5) - 500.0).abs() < 8.0);
        assert!((histogram.micros(0.99) - 990.0).abs() < 16.0);
        assert_eq!(histogram.count(), 1000);
    }
}
