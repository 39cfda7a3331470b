//! Pauses between attempts: doubled each time, up to a limit, and spread so that many bridges do not come back at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A number nobody can foresee; not for secrets.
pub fn random() -> u64 {
    // Its keys are drawn anew by every process, and differ each time.
    RandomState::new().hash_one(0)
}

pub struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most: most.max(first), attempts: 0 }
    }

    /// Things went well.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Pauses since things went well.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next pause: between half of the doubled time and all of it.
    pub fn next(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.attempts.min(20)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        spread(whole, random())
    }
}

fn spread(whole: Duration, random: u64) -> Duration {
    whole / 2 + (whole / 2).mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next();
            assert!(ms(whole) / 2 <= pause && pause <= ms(whole), "{pause:?} of {whole} ms");
        }
        assert_eq!(backoff.attempts(), 6);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert!(backoff.next() <= ms(100));
    }

    #[test]
    fn pauses_are_spread() {
        let whole = Duration::from_secs(2);
        assert_eq!(spread(whole, 0), whole / 2);
        assert!(spread(whole, u64::MAX) > whole.mul_f64(0.999));
        assert_ne!(random(), random());
    }
}
