//! What can be watched: counters and figures, and their text for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One number.
#[derive(Default)]
pub struct Number(AtomicU64);

impl Number {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Why the bridge is where it is.
#[derive(Default)]
struct State {
    /// The last trouble, while it lasts.
    trouble: Option<String>,
    progress: Option<Instant>,
}

#[derive(Default)]
pub struct Metrics {
    pub messages: Number,
    pub stream_messages: Number,
    pub bytes: Number,
    pub lag: Number,
    pub oldest_age_ms: Number,
    pub in_flight: Number,
    pub retries: Number,
    pub duplicates: Number,
    pub reconnects: Number,
    pub connected: Number,
    pub oversized: Number,
    pub damaged: Number,
    pub lost: Number,
    pub sequence: Number,
    pub epoch: Number,
    state: Mutex<State>,
}

impl Metrics {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing can panic while it is held.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something was stored and acknowledged, or there is nothing to do.
    pub fn progress(&self) {
        let mut state = self.state();
        state.progress = Some(Instant::now());
        state.trouble = None;
    }

    pub fn trouble(&self, why: &str) {
        self.state().trouble = Some(why.to_string());
    }

    /// `Err`: why the bridge is not well.
    pub fn health(&self, stall_after: Duration) -> Result<(), String> {
        let state = self.state();
        if self.connected.get() == 0 {
            return Err("not connected to the cluster".into());
        }
        let stalled = state.progress.is_none_or(|at| at.elapsed() > stall_after);
        match (&state.trouble, stalled) {
            (Some(why), _) => Err(why.clone()),
            (None, true) if self.lag.get() > 0 => {
                Err(format!("no progress for {} s", stall_after.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// The text format of Prometheus; `labels` without braces.
    pub fn text(&self, labels: &str) -> String {
        let counters = [
            ("messages", "Channel messages carried over", &self.messages),
            ("stream_messages", "Stream messages stored or fetched", &self.stream_messages),
            ("bytes", "Payload bytes carried over", &self.bytes),
            (
                "retries",
                "Times the position in the cluster was asked for after trouble",
                &self.retries,
            ),
            ("duplicates", "Messages that were there already", &self.duplicates),
            ("reconnects", "Connections lost", &self.reconnects),
            ("oversized", "Messages too large for the other side", &self.oversized),
            ("damaged", "Damaged channel messages passed over", &self.damaged),
            (
                "lost",
                "Channel messages that retention dropped before they were forwarded",
                &self.lost,
            ),
        ];
        let gauges = [
            ("lag", "Messages waiting on the near side", &self.lag),
            ("in_flight", "Stream messages published and not acknowledged", &self.in_flight),
            ("connected", "1 while connected", &self.connected),
            ("stream_sequence", "Sequence of the last message stored or fetched", &self.sequence),
            ("epoch", "Number of this run among all of this stream", &self.epoch),
        ];
        let mut text = String::new();
        let mut line = |name: &str, help: &str, kind: &str, value: &dyn std::fmt::Display| {
            let _ = write!(
                text,
                "# HELP disk_chan_bridge_{name} {help}.\n# TYPE disk_chan_bridge_{name} {kind}\n\
                 disk_chan_bridge_{name}{{{labels}}} {value}\n"
            );
        };
        for (name, help, number) in counters {
            line(&format!("{name}_total"), help, "counter", &number.get());
        }
        for (name, help, number) in gauges {
            line(name, help, "gauge", &number.get());
        }
        let age = self.oldest_age_ms.get() as f64 / 1000.0;
        line(
            "oldest_age_seconds",
            "Age of the oldest message waiting, as seen by this run",
            "gauge",
            &age,
        );
        text
    }
}

/// How long the oldest message has been waiting, from where the channel ended when.
#[derive(Default)]
pub struct Ages {
    seen: std::collections::VecDeque<(Instant, u64)>,
}

impl Ages {
    /// At this time the channel ended before `end`, and everything before `done` was carried over.
    pub fn note(&mut self, now: Instant, end: u64, done: u64) -> Duration {
        if self.seen.back().is_none_or(|last| end > last.1) {
            self.seen.push_back((now, end));
        }
        while self.seen.front().is_some_and(|first| first.1 <= done) {
            self.seen.pop_front();
        }
        if self.seen.len() > 4096 {
            // Half as fine.
            let mut places = 0..;
            self.seen.retain(|_| places.next().is_some_and(|place| place % 2 == 0));
        }
        self.seen.front().map_or(Duration::ZERO, |first| now.saturating_duration_since(first.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_message_ages_until_it_is_carried_over() {
        let (mut ages, begin, s) = (Ages::default(), Instant::now(), Duration::from_secs);
        assert_eq!(ages.note(begin, 100, 100), s(0));
        assert_eq!(ages.note(begin + s(1), 150, 100), s(0));
        assert_eq!(ages.note(begin + s(3), 150, 100), s(2));
        assert_eq!(ages.note(begin + s(4), 190, 149), s(3));
        assert_eq!(ages.note(begin + s(5), 190, 150), s(1));
        assert_eq!(ages.note(begin + s(6), 190, 190), s(0));
    }

    #[test]
    fn health_is_what_is_in_the_way() {
        let metrics = Metrics::default();
        let after = Duration::from_secs(60);
        assert!(metrics.health(after).unwrap_err().contains("not connected"));
        metrics.connected.set(1);
        assert_eq!(metrics.health(after), Ok(()));
        metrics.lag.set(3);
        assert!(metrics.health(after).unwrap_err().contains("no progress"));
        metrics.progress();
        assert_eq!(metrics.health(after), Ok(()));
        metrics.trouble("the disk is full");
        assert_eq!(metrics.health(after), Err("the disk is full".into()));
        let text = metrics.text("stream=\"S\"");
        assert!(text.contains("\ndisk_chan_bridge_lag{stream=\"S\"} 3\n"), "{text}");
    }
}
