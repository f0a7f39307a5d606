//! What every component's `/metrics` is made of, in Prometheus' text form: a histogram that costs two atomic
//! operations an observation, and the head of a metric.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of values by upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last is what is above all of them. Not cumulated.
    counts: Box<[AtomicU64]>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    /// A histogram with these upper bounds, in ascending order.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never refuses.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Writes the lines of one set of labels; nothing when nothing was counted.
    ///
    /// # Errors
    /// None, when `out` takes all that is written.
    pub fn write(&self, out: &mut String, name: &str, labels: &str) -> fmt::Result {
        if self.count() == 0 {
            return Ok(());
        }
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (count, bound) in self.counts.iter().zip(self.bounds) {
            total += count.load(Ordering::Relaxed);
            writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
        }
        total += self.counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
        writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}")?;
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        if labels.is_empty() {
            writeln!(out, "{name}_sum {sum}\n{name}_count {total}")
        } else {
            writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {total}")
        }
    }
}

/// Writes what goes before a metric's lines.
///
/// # Errors
/// None, when `out` takes all that is written.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulated_when_they_are_written() {
        let histogram = Histogram::new(&[1.0, 2.5]);
        let mut out = String::new();
        histogram.write(&mut out, "x", "").unwrap();
        assert_eq!(out, "");
        for value in [0.5, 1.0, 2.0, 9.0] {
            histogram.observe(value);
        }
        histogram.write(&mut out, "x", "a=\"b\"").unwrap();
        assert_eq!(
            out,
            "x_bucket{a=\"b\",le=\"1\"} 2\nx_bucket{a=\"b\",le=\"2.5\"} 3\nx_bucket{a=\"b\",le=\"+Inf\"} 4\n\
             x_sum{a=\"b\"} 12.5\nx_count{a=\"b\"} 4\n"
        );
    }
}
