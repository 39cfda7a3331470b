//! Counts of times, in classes no wider than a 64th of their value: fixed memory, nothing is allocated while it records.

use std::path::Path;

use anyhow::{ensure, Result};

/// Classes of a power of two.
const STEPS: u64 = 64;
const SHIFT: u32 = STEPS.trailing_zeros();
/// Values up to 2^40 ns, a quarter of an hour.
const CLASSES: usize = (STEPS as usize) * (40 - SHIFT as usize + 1);

pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; CLASSES].into_boxed_slice(), count: 0, most: 0 }
    }
}

/// Below [`STEPS`] each value has its own class; above, its leading bits say which.
fn class(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = value.ilog2() - SHIFT;
    let class = (STEPS * u64::from(power) + (value >> power)) as usize;
    class.min(CLASSES - 1)
}

/// The largest value of a class.
fn top(class: usize) -> u64 {
    let class = class as u64;
    if class < STEPS {
        return class;
    }
    let power = class / STEPS - 1;
    ((class - STEPS * power + 1) << power) - 1
}

impl Histogram {
    pub fn record(&mut self, value: u64) {
        self.counts[class(value)] += 1;
        self.count += 1;
        self.most = self.most.max(value);
    }

    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The value that this share of all does not exceed; 1: the largest, exactly.
    pub fn at(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        if wanted >= self.count {
            return self.most;
        }
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return top(class).min(self.most);
            }
        }
        self.most
    }

    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let used: Vec<(usize, u64)> =
            self.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0).collect();
        Ok(std::fs::write(path, serde_json::to_vec(&(self.most, used))?)?)
    }

    pub fn read(path: &Path) -> Result<Histogram> {
        let (most, used): (u64, Vec<(usize, u64)>) = serde_json::from_slice(&std::fs::read(path)?)?;
        let mut histogram = Histogram { most, ..Histogram::default() };
        for (class, count) in used {
            ensure!(class < CLASSES, "{}: no such class", path.display());
            histogram.counts[class] = count;
            histogram.count += count;
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for value in (0..4096).chain((12..39).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 7])) {
            let class = class(value);
            assert!(class >= last, "{value}");
            last = class;
            assert!(top(class) >= value, "{value}");
            assert!(top(class) - value <= value / STEPS, "{value}: {}", top(class));
            assert!(class == 0 || top(class - 1) < value);
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn percentiles_of_known_values() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|v| histogram.record(v));
        for (share, exact) in [(0.5, 5000), (0.99, 9900), (0.9999, 9999)] {
            let at = histogram.at(share);
            assert!(at >= exact && at <= exact + exact / 64, "{share}: {at}");
        }
        assert_eq!((histogram.at(1.0), histogram.at(0.0)), (10_000, 1));
    }

    #[test]
    fn what_is_written_is_read_and_added() {
        let dir = tempfile::tempdir().unwrap();
        let mut histogram = Histogram::default();
        [5, 77, 1_000_000].into_iter().for_each(|v| histogram.record(v));
        histogram.write(&dir.path().join("h")).unwrap();
        let mut again = Histogram::read(&dir.path().join("h")).unwrap();
        again.add(&histogram);
        assert_eq!((again.count(), again.at(1.0), again.at(0.3)), (6, 1_000_000, 5));
    }
}
