//! The library's one thread: signals descriptors, prepares pages, flushes at intervals.
//!
//! Started when first needed, with all signals blocked; it ends when no open needs it any more.

use std::cell::Cell;
use std::sync::atomic::AtomicPtr;
use std::sync::Arc;
use std::time::Duration;

use super::handles::{wake_word, SLEEP_MAX};
use super::pages::Pinned;
use super::{Deadline, Shared};
use crate::engine::sleepers::FOR_ROOM;
use crate::error::{Error, Result, DC_AGAIN};
use crate::layout::control::member_at;
use crate::options::{NO_THREAD, SYNC_INTERVAL};
use crate::sync::{Acquire, Condvar, Memory, Mutex, Relaxed, SeqCst};
use crate::sys::{clock, fork, futex, thread};

thread_local! {
    /// Whether this is the library thread.
    static LIBRARY: Cell<bool> = const { Cell::new(false) };
}

/// The thread's state in one process; a forked child makes itself a new one.
struct Worker {
    generation: u64,
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    members: Vec<Arc<Shared>>,
    /// What the thread works on right now.
    working: Vec<Arc<Shared>>,
}

static WORKER: AtomicPtr<Worker> = AtomicPtr::new(std::ptr::null_mut());

fn worker() -> &'static Worker {
    let generation = fork::generation();
    loop {
        let found = WORKER.load(Acquire);
        // SAFETY: workers are never freed.
        if let Some(w) = unsafe { found.as_ref() }.filter(|w| w.generation == generation) {
            return w;
        }
        let made = Box::into_raw(Box::new(Worker {
            generation,
            state: Mutex::new(State::default()),
            released: Condvar::new(),
        }));
        if WORKER.compare_exchange(found, made, SeqCst, Acquire).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

impl Shared {
    /// Make this open known to the library thread, which may not run yet. Starting it later allocates
    /// nothing, so that a send can.
    pub(crate) fn enlist(self: &Arc<Self>) {
        if self.flags & NO_THREAD != 0 {
            return;
        }
        let mut state = worker().state.lock();
        if !state.members.iter().any(|m| Arc::ptr_eq(m, self)) {
            state.members.push(self.clone());
        }
    }

    /// See to it that the library thread works for this open.
    pub(crate) fn start_worker(self: &Arc<Self>) -> Result<()> {
        if self.flags & NO_THREAD != 0 {
            return Ok(());
        }
        self.enlist();
        let worker = worker();
        let mut state = worker.state.lock();
        if !state.running {
            thread::spawn(run, worker)
                .map_err(|e| Error::os(e, format_args!("cannot start the library thread")))?;
            state.running = true;
        } else if let Some(busy) = state.working.first() {
            // It sleeps on the words of those it knows.
            busy.nudge_self();
        }
        Ok(())
    }

    fn nudge_self(&self) {
        if self.read_only {
            return;
        }
        self.nudge(self.member);
    }

    /// One round of work; true: there was some.
    fn tend(&self, scan: bool) -> bool {
        let mut worked = false;
        let wanted = self.wanted_page.swap(0, SeqCst);
        if wanted != 0 {
            worked = true;
            self.prepare_ahead(wanted);
        }
        if self.durability == SYNC_INTERVAL && !self.read_only {
            let now = clock::coarse_ms();
            if now.saturating_sub(self.last_flush.load(Relaxed)) >= self.sync_interval_ms.into() {
                self.last_flush.store(now, Relaxed);
                worked |= self.flush_interval();
            }
        }
        self.tend_descriptors(scan);
        worked
    }

    fn prepare_ahead(&self, wanted: u64) {
        if wanted < self.newest() || wanted > self.newest() + 1 {
            return;
        }
        // A failure (a full disk) is for the send that needs the page to report.
        if self.prepare(wanted).is_ok() {
            if let Ok(Pinned::Page(page)) = self.pin(wanted) {
                let file = page.file.clone();
                // Not while pinned: a fast ring may want to reuse the file before this is done.
                drop(page);
                let _ = file.populate(self.geometry.payload_at() + (2 << 20));
            }
        }
        if FOR_ROOM.any(&self.ctl) {
            self.wake(FOR_ROOM, None);
        }
    }

    /// Flush what the interval asks for; true: there was something.
    fn flush_interval(&self) -> bool {
        let Ok(end) = self.end() else { return false };
        let behind = self.durable() < end;
        if behind {
            // A failure poisons the channel; nobody waits for this flush.
            let _ = self.flush_to(end, Deadline::Now, super::flush::Waiter::Placed);
        }
        let _ = self.flush_groups();
        behind
    }
}

fn run(worker: &'static Worker) {
    let _ = LIBRARY.try_with(|l| l.set(true));
    let mut next_scan = 0;
    loop {
        let working = {
            let mut state = worker.state.lock();
            state.working.clear();
            worker.released.notify_all();
            if state.members.is_empty() {
                state.running = false;
                return;
            }
            state.working = state.members.clone();
            state.working.clone()
        };
        // What happens from here on changes a word and ends the wait below at once.
        let words: Vec<(*const u32, u32)> = working
            .iter()
            .filter(|s| !s.read_only)
            .map(|s| (wake_word(&s.ctl, s.member), s.ctl.load(member_at(s.member), SeqCst) as u32))
            .collect();
        let now = clock::coarse_ms();
        let scan = now >= next_scan;
        if scan {
            next_scan = now + SLEEP_MAX.as_millis() as u64 / 2;
        }
        for shared in &working {
            shared.tend(scan);
        }
        let read_only = working.iter().any(|s| s.read_only);
        let interval = working.iter().filter(|s| s.durability == SYNC_INTERVAL);
        let interval = interval.map(|s| s.sync_interval_ms).min().unwrap_or(u32::MAX);
        let most = if read_only { 10 } else { SLEEP_MAX.as_millis() as u64 / 2 };
        let idle = working.iter().all(|s| !s.has_listeners());
        let most = if idle { 1000 } else { most }.min(interval.max(1).into());
        drop(working);
        if words.is_empty() {
            std::thread::sleep(Duration::from_millis(most));
        } else {
            futex::wait_many(&words, Duration::from_millis(most));
        }
    }
}

/// The last handle of an open went: the thread lets go of it before this returns, so that a channel
/// that was closed is closed.
pub(super) fn leave(shared: &Arc<Shared>) {
    let worker = worker();
    let mut state = worker.state.lock();
    let before = state.members.len();
    state.members.retain(|m| !Arc::ptr_eq(m, shared));
    // A task's waker that closes the open is called by the thread itself.
    if state.members.len() == before || LIBRARY.try_with(Cell::get) == Ok(true) {
        return;
    }
    while state.working.iter().any(|m| Arc::ptr_eq(m, shared)) {
        shared.nudge_self();
        let waited = worker.released.wait_timeout(state, Duration::from_millis(20));
        state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    }
}

/// The thread's work, done by the caller.
pub(super) fn maintain(shared: &Arc<Shared>, deadline: Deadline) -> Result<()> {
    // Bounded by the deadline.
    loop {
        let word = shared.ctl.load(member_at(shared.member), SeqCst) as u32;
        if shared.tend(true) {
            return Ok(());
        }
        let left = deadline.left();
        if left.is_zero() {
            return Err(Error::silent(DC_AGAIN));
        }
        let due = match shared.durability {
            SYNC_INTERVAL => Duration::from_millis(shared.sync_interval_ms.into()),
            _ => SLEEP_MAX,
        };
        let most = left.min(due).min(SLEEP_MAX);
        match futex::wait(wake_word(&shared.ctl, shared.member), word, most) {
            futex::Wake::Interrupted => return Err(Error::silent(-libc::EINTR)),
            _ => continue,
        }
    }
}
