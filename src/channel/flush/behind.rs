//! Waiting for a message in front.

use std::time::Duration;

/// The pauses of one who waits for a message in front that is claimed and not published: they double while nothing moves,
/// so that waiting takes twice as long as it must at most, and little of a processor behind a producer that is suspended.
pub(super) struct Behind {
    next: Duration,
    /// The durable position at the last look, and since when it has been that, in nanoseconds.
    reached: u64,
    pub(super) since: u64,
}

impl Behind {
    const LEAST: Duration = Duration::from_micros(50);
    const MOST: Duration = Duration::from_millis(5);

    pub(super) fn new(reached: u64, now: u64) -> Behind {
        Behind { next: Behind::LEAST, reached, since: now }
    }

    /// How long to pause.
    pub(super) fn pause(&mut self, durable: u64, now: u64) -> Duration {
        if durable != self.reached {
            *self = Behind::new(durable, now);
        }
        let pause = self.next;
        self.next = (2 * pause).min(Behind::MOST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_while_nothing_moves() {
        let mut behind = Behind::new(10, 0);
        let pauses: Vec<u128> = (1..10).map(|now| behind.pause(10, now).as_micros()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(behind.since, 0);
        // Another message stands in front now, which is as likely to come soon as the first one was.
        assert_eq!(behind.pause(11, 20), Behind::LEAST);
        assert_eq!((behind.pause(11, 30), behind.since), (2 * Behind::LEAST, 20));
    }
}
