//! The limits of round trips between processes that sleep: a futex in shared memory, or an eventfd and `poll`.

use std::io::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{ensure, Context, Result};
use memmap2::MmapRaw;

use crate::maker::Maker;
use crate::payload::Checker;
use crate::peer::{Peer, RoundTrips, Work};
use crate::round_trip::Turns;
use crate::spec::{Spec, Wait};

pub struct RawSleep {
    /// Two words, each on a line of its own: how often each side was woken.
    map: MmapRaw,
    /// An eventfd of each side; its processes inherit them.
    fds: [i32; 2],
    wait: Wait,
}

impl RawSleep {
    pub fn create(spec: &Spec, dir: &Path) -> Result<RawSleep> {
        std::fs::File::create(dir.join("words"))?.set_len(4096)?;
        // SAFETY: plain integers. Without close-on-exec, on purpose: the roles inherit it.
        let fds = [(); 2].map(|()| unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) });
        ensure!(fds.iter().all(|fd| *fd >= 0), "eventfd: {}", Error::last_os_error());
        std::fs::write(dir.join("fds"), serde_json::to_string(&fds)?)?;
        RawSleep::join(spec, dir)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<RawSleep> {
        let file = std::fs::File::options().read(true).write(true).open(dir.join("words"))?;
        let text = std::fs::read_to_string(dir.join("fds")).context("no eventfds")?;
        let fds = serde_json::from_str(&text)?;
        Ok(RawSleep { map: MmapRaw::map_raw(&file)?, fds, wait: spec.wait })
    }

    fn word(&self, side: usize) -> &AtomicU32 {
        // SAFETY: aligned, within the map, and accessed as an atomic by all.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(128 * side).cast()) }
    }

    fn futex(&self, turns: Turns) -> Result<Vec<u64>> {
        let (own, other) =
            if turns.first { (self.word(0), self.word(1)) } else { (self.word(1), self.word(0)) };
        let mut turn = 0;
        let wake = |_: &[u8]| {
            other.fetch_add(1, Ordering::Release);
            // SAFETY: the word is mapped, and the call only looks at it.
            unsafe { libc::syscall(libc::SYS_futex, other.as_ptr(), libc::FUTEX_WAKE, 1) };
            Ok(())
        };
        turns.play(wake, || {
            while own.load(Ordering::Acquire) == turn {
                // SAFETY: as above; no timeout.
                unsafe {
                    let (word, none) = (own.as_ptr(), std::ptr::null::<libc::timespec>());
                    libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, turn, none)
                };
            }
            turn += 1;
            Ok(())
        })
    }

    fn eventfd(&self, turns: Turns) -> Result<Vec<u64>> {
        let [own, other] = if turns.first { self.fds } else { [self.fds[1], self.fds[0]] };
        let wake = |_: &[u8]| {
            // SAFETY: eight bytes are read.
            let done = unsafe { libc::write(other, (&raw const ONE).cast(), 8) };
            ensure!(done == 8, "write to an eventfd: {}", Error::last_os_error());
            Ok(())
        };
        turns.play(wake, || {
            let mut poll = libc::pollfd { fd: own, events: libc::POLLIN, revents: 0 };
            let mut value = 0u64;
            // SAFETY: one valid struct; eight bytes are written.
            let done = unsafe {
                libc::poll(&mut poll, 1, -1);
                libc::read(own, (&raw mut value).cast(), 8)
            };
            ensure!(done == 8, "read from an eventfd: {}", Error::last_os_error());
            Ok(())
        })
    }
}

static ONE: u64 = 1;

impl Peer for RawSleep {
    fn producer<'a>(&'a self, _maker: Maker<'a>) -> Result<Work<'a>> {
        anyhow::bail!("for round trips only")
    }

    fn consumer<'a>(&'a self, _group: usize, _checker: Checker<'a>) -> Result<Work<'a>> {
        anyhow::bail!("for round trips only")
    }

    fn round_trips(&self, _first: bool) -> Result<RoundTrips<'_>> {
        Ok(Box::new(move |turns| match self.wait {
            Wait::Poll => self.eventfd(turns),
            _ => self.futex(turns),
        }))
    }
}
