//! Makes the messages of one producer, and, where a run wants it, ends it by time or takes the time of each send.

use anyhow::Result;
use libc::{c_void, iovec};

use crate::control::{now_ns, Control};
use crate::histogram::Histogram;
use crate::payload::{fill, filling, head, KINDS, WRITTEN};

/// Messages that a paced producer may be ahead of the consumers.
const AHEAD: u64 = 200_000;

/// What a producer does besides sending.
pub enum Watch<'a> {
    Nothing,
    /// Stops when the run says so, and tells how far it is, after every so many messages.
    Stop {
        control: &'a Control,
        every: u64,
    },
    /// Takes the time of each send, so many nanoseconds apart at least.
    Pace {
        control: &'a Control,
        consumers: std::ops::Range<usize>,
        period: u64,
        times: Box<Pace>,
    },
}

/// The times of the sends so far.
#[derive(Default)]
pub struct Pace {
    histogram: Histogram,
    first: u64,
    last: u64,
}

pub struct Maker<'a> {
    producer: usize,
    size: usize,
    sequence: u64,
    /// Where the next look at `watch` is due; without one: where it ends.
    end: u64,
    all: u64,
    buffers: Vec<Box<[u8]>>,
    parts: Vec<iovec>,
    watch: Watch<'a>,
}

impl<'a> Maker<'a> {
    /// Of `count` messages at most, `batch` at a time.
    pub fn new(
        producer: usize,
        size: usize,
        count: u64,
        batch: usize,
        watch: Watch<'a>,
    ) -> Maker<'a> {
        assert!(size >= 16);
        let buffers = if size > WRITTEN { batch.max(KINDS as usize) } else { batch.max(1) };
        let mut maker = Maker {
            producer,
            size,
            sequence: 0,
            end: if matches!(watch, Watch::Nothing) { count } else { 0 },
            all: count,
            buffers: (0..buffers).map(|_| vec![0; size].into_boxed_slice()).collect(),
            parts: vec![iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; batch.max(1)],
            watch,
        };
        for (i, buffer) in maker.buffers.iter_mut().enumerate() {
            fill(&mut buffer[8..], filling(size, i as u64));
        }
        maker
    }

    #[inline(always)]
    fn write(&mut self, i: usize) {
        let (size, sequence) = (self.size, self.sequence);
        let buffer = &mut self.buffers[i];
        buffer[..8].copy_from_slice(&head(self.producer, sequence).to_le_bytes());
        if size <= WRITTEN {
            fill(&mut buffer[8..], filling(size, sequence));
        }
        self.sequence += 1;
    }

    /// The next message; `None`: that was all. Between two calls lies the sending.
    #[inline(always)]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.sequence == self.end && !self.more() {
            return None;
        }
        let i = if self.size > WRITTEN { (self.sequence % KINDS) as usize } else { 0 };
        self.write(i);
        Some(&self.buffers[i])
    }

    /// The next messages, as many as a batch has; none: those were all.
    #[inline(always)]
    pub fn next_batch(&mut self) -> &[iovec] {
        if self.sequence == self.end && !self.more() {
            return &[];
        }
        let count = (self.end - self.sequence).min(self.parts.len() as u64) as usize;
        for i in 0..count {
            let from = self.sequence as usize % self.buffers.len();
            let at = if self.size > WRITTEN { from } else { i };
            self.write(at);
            self.parts[i] = iovec {
                iov_base: self.buffers[at].as_mut_ptr().cast::<c_void>(),
                iov_len: self.size,
            };
        }
        &self.parts[..count]
    }

    /// The end, or a look is due: whether it goes on.
    #[cold]
    fn more(&mut self) -> bool {
        let (done, batch) = (self.sequence, self.parts.len() as u64);
        let on = match &mut self.watch {
            Watch::Nothing => false,
            Watch::Stop { control, every } => {
                control.tell(self.producer, done);
                let on = !control.stopped() && !control.has_failed();
                if on && done == self.all {
                    control.ran_out();
                }
                self.end = (done + *every).min(self.all);
                on && done < self.all
            }
            Watch::Pace { control, consumers, period, times } => {
                times.sent(done);
                self.end = (done + batch).min(self.all);
                if done < self.all {
                    times.wait(control, consumers.clone(), done, *period);
                }
                done < self.all
            }
        };
        if let (false, Watch::Stop { control, .. }) = (on, &self.watch) {
            control.made_all(self.producer, done);
        }
        on
    }

    /// The times that were taken, written where the run finds them.
    fn keep(&self) -> Result<()> {
        if let Watch::Pace { control, times, .. } = &self.watch {
            times.histogram.write(&control.dir.join(format!("times-{}", self.producer)))?;
        }
        Ok(())
    }
}

impl Pace {
    fn sent(&mut self, done: u64) {
        let now = now_ns();
        if done > 0 {
            self.histogram.record(now - self.last);
        } else {
            self.first = now;
        }
    }

    fn wait(
        &mut self,
        control: &Control,
        consumers: std::ops::Range<usize>,
        done: u64,
        period: u64,
    ) {
        let received = || consumers.clone().map(|c| control.told(c)).sum::<u64>();
        while done % 1024 == 0 && done > received() + AHEAD && !control.has_failed() {
            std::hint::spin_loop();
        }
        let due = self.first + done * period;
        self.last = now_ns();
        while self.last < due {
            std::hint::spin_loop();
            self.last = now_ns();
        }
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.keep() {
            eprintln!("the times of producer {} are lost: {e:#}", self.producer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_where_messages_do() {
        let mut maker = Maker::new(0, 100, 21, 16, Watch::Nothing);
        let lengths: Vec<usize> = (0..3).map(|_| maker.next_batch().len()).collect();
        assert_eq!(lengths, [16, 5, 0]);
    }

    #[test]
    fn time_ends_a_producer_and_it_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::create(dir.path()).unwrap();
        let mut maker = Maker::new(0, 100, 1 << 40, 1, Watch::Stop { control: &control, every: 8 });
        for _ in 0..8 {
            assert!(maker.next().is_some());
        }
        assert_eq!(control.made(1), None);
        control.stop();
        assert!(maker.next().is_none());
        assert_eq!((control.told(0), control.made(1)), (8, Some(8)));
    }

    #[test]
    fn one_that_runs_out_before_its_time_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::create(dir.path()).unwrap();
        let mut maker = Maker::new(0, 100, 3, 1, Watch::Stop { control: &control, every: 8 });
        while maker.next().is_some() {}
        assert!(control.has_run_out());
    }

    #[test]
    fn the_time_of_every_send_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::create(dir.path()).unwrap();
        let pace =
            Watch::Pace { control: &control, consumers: 1..2, period: 1000, times: Box::default() };
        let mut maker = Maker::new(0, 100, 50, 1, pace);
        let begin = now_ns();
        while maker.next().is_some() {
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        assert!(now_ns() - begin >= 50 * 20_000);
        drop(maker);
        let times = Histogram::read(&dir.path().join("times-0")).unwrap();
        assert_eq!(times.count(), 50);
        assert!(times.at(0.0) >= 19_000, "{}", times.at(0.0));
    }
}
