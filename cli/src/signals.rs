//! SIGINT, SIGTERM and SIGHUP as a wish to end, which each command grants at a point where nothing is lost.
//!
//! The first one is only noted, and wakes whoever waits for input. The second one ends the process at once:
//! what hangs (a full pipe, a channel without room) must not hold the user.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::fail::{Failure, Result, SIGNALLED};

/// No wait in the library is longer before the wish to end is looked at again.
pub const SLICE: Duration = Duration::from_millis(100);

/// The wish to end.
pub struct Stop {
    signal: Arc<AtomicI32>,
    wake: UnixStream,
}

impl Stop {
    /// From here on signals are noted. `at_once` is what a second one does before the process ends.
    pub fn watch(at_once: impl Fn() + Send + 'static) -> Result<Stop> {
        let failed = |e: io::Error| Failure::io("cannot watch for signals", &e);
        let ignored = ignored();
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0);
        let mut signals = Signals::new(heeded).map_err(failed)?;
        let (wake, mut waker) = UnixStream::pair().map_err(failed)?;
        let signal = Arc::new(AtomicI32::new(0));
        let noted = signal.clone();
        std::thread::spawn(move || {
            for number in &mut signals {
                if noted.swap(number, Ordering::SeqCst) != 0 {
                    at_once();
                    std::process::exit(128 + number);
                }
                // The pair is open as long as the process: this cannot fail.
                let _ = waker.write_all(&[1]);
            }
        });
        Ok(Stop { signal, wake })
    }

    /// Whether to end.
    pub fn wanted(&self) -> bool {
        self.signal.load(Ordering::SeqCst) != 0
    }

    /// The exit code of a command that ended as it was wished, or `else_code`.
    pub fn code(&self, else_code: u8) -> u8 {
        match self.signal.load(Ordering::SeqCst) {
            0 => else_code,
            number => SIGNALLED + number as u8,
        }
    }

    /// Read, unless the wish to end comes first: then `None`.
    pub fn read(
        &self,
        from: &mut (impl Read + AsFd),
        into: &mut [u8],
    ) -> io::Result<Option<usize>> {
        loop {
            let mut fds = [
                PollFd::new(&self.wake, PollFlags::IN),
                PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) if self.wanted() => return Ok(None),
                Ok(_) if fds[1].revents().is_empty() => continue,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            }
            match from.read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(Some),
            }
        }
    }
}

/// The signals this process was started to ignore, a bit each: under `nohup`, in the background of a script.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether whoever read this pipe or socket has gone.
pub fn reader_left(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(1)) && fds[0].revents().contains(PollFlags::ERR)
}

/// How long a command waits, in pieces short enough to notice the wish to end.
pub struct Patience {
    until: Option<std::time::Instant>,
}

impl Patience {
    /// `None`: for ever.
    pub fn new(most: Option<Duration>) -> Patience {
        Patience { until: most.map(|most| std::time::Instant::now() + most) }
    }

    /// The next piece in the library's milliseconds; 0 once it is over.
    pub fn slice_ms(&self) -> i32 {
        let left = self.until.map(|u| u.saturating_duration_since(std::time::Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        // Rounded up, or the last millisecond would be spent asking again and again.
        slice.as_micros().div_ceil(1000) as i32
    }

    pub fn over(&self) -> bool {
        self.slice_ms() == 0
    }
}
