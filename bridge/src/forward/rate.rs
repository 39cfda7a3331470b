//! A limit on messages a second.

use std::time::{Duration, Instant};

/// So many messages a second: what was read too early is waited for.
pub(super) struct Rate {
    per_second: u64,
    free_at: Instant,
}

impl Rate {
    /// 0: no limit.
    pub(super) fn new(per_second: u64) -> Rate {
        Rate { per_second, free_at: Instant::now() }
    }

    pub(super) fn take(&mut self, messages: usize) {
        if self.per_second > 0 {
            let from = self.free_at.max(Instant::now());
            self.free_at = from + Duration::from_secs_f64(messages as f64 / self.per_second as f64);
        }
    }

    /// Until more may be read.
    pub(super) fn wait(&self) -> Duration {
        self.free_at.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_too_early_is_waited_for() {
        let mut rate = Rate::new(1000);
        assert!(rate.wait().is_zero());
        rate.take(60_000);
        let wait = rate.wait();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        let mut none = Rate::new(0);
        none.take(60_000);
        assert!(none.wait().is_zero());
    }
}
