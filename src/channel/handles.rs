//! Handles: a record each in the shared state, sleeping, waking, interrupts, event descriptors.

pub(crate) mod task;
mod wake;

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(super) use self::wake::wake_word;
use super::{Shared, User};
use crate::engine::sleepers::{Set, BY_DESCRIPTOR};
use crate::error::{fail, Error, Result, DC_E_FORKED, DC_E_LIMIT, DC_E_UNSUPPORTED};
use crate::layout::control::{
    handle_at, ARMED, ASLEEP, HANDLES, KIND, KIND_PRODUCER, LOCK_HANDLES, MEMBER, SIGNAL, TAG,
};
use crate::options::NO_THREAD;
use crate::sync::{
    planted, Acquire, AtomicBool, AtomicU32, Memory, Mutex, Relaxed, Release, SeqCst,
};
use crate::sys::eventfd::EventFd;
use crate::sys::futex::{self, Wake};
use crate::sys::{fork, lock};

/// No sleep is longer: a waker may die between taking a sleeper's bit and waking it, a woken consumer
/// may die before it receives, and the look for leases of the dead rides on it.
pub(crate) const SLEEP_MAX: Duration = Duration::from_millis(200);

/// What other threads, and the library's, may touch of a handle.
pub(crate) struct Signal {
    interrupted: AtomicBool,
    fd: OnceLock<EventFd>,
    /// The futex word of a handle without a record (on a read-only channel).
    word: AtomicU32,
    /// Whether such a handle's descriptor wants a signal.
    armed: AtomicBool,
    /// Whether the descriptor should be made readable (or the tasks woken) by now; asked by the library thread.
    watch: Mutex<Option<Watch>>,
    tasks: task::Tasks,
}

pub(crate) type Watch = Box<dyn Fn() -> bool + Send>;

impl Signal {
    /// Signal the descriptor, if there is one, and wake the tasks that wait. No lock is held: a waker may do
    /// anything, close handles of this channel among it.
    fn raise(&self) {
        if let Some(fd) = self.fd.get() {
            fd.signal();
        }
        self.tasks.wake();
    }

    /// The descriptor, which there is.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.get().map_or(-1, EventFd::raw)
    }

    /// Whether the library thread is to look after it.
    fn listens(&self) -> bool {
        self.fd.get().is_some() || self.tasks.expected()
    }
}

/// A handle's place in the channel.
pub(crate) struct Handle {
    pub(crate) shared: User,
    pub(crate) signal: Arc<Signal>,
    /// Its record; none on a read-only channel.
    index: Option<usize>,
    set: Set,
}

/// Interrupts the waiting calls of one handle, from any thread or signal handler.
#[derive(Clone)]
pub struct Interrupter {
    signal: Arc<Signal>,
    shared: Arc<Shared>,
    index: Option<usize>,
}

impl Interrupter {
    /// Make the handle's waiting call, or its next one that would wait, return `-ECANCELED` once.
    pub fn interrupt(&self) -> Result<()> {
        if fork::is_foreign(self.shared.generation) {
            return Err(Error::silent(DC_E_FORKED));
        }
        self.signal.interrupted.store(true, SeqCst);
        match self.index {
            Some(index) => {
                let at = handle_at(index) + ASLEEP;
                self.shared.ctl.store(at, 0, SeqCst);
                futex::wake(self.shared.ctl.futex(at), 1);
            }
            None => {
                futex::wake(self.signal.word.as_ptr(), 1);
            }
        }
        self.signal.raise();
        Ok(())
    }
}

/// The local side of the handle records.
pub(crate) struct HandleTable {
    signals: Vec<Option<Arc<Signal>>>,
}

impl HandleTable {
    /// One place for each record; on a read-only channel, which has none, places come as needed.
    pub(super) fn new(read_only: bool) -> HandleTable {
        HandleTable { signals: if read_only { Vec::new() } else { vec![None; HANDLES] } }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slept {
    /// Look again; somebody may have taken this handle's bit to wake it.
    Again { woken: bool },
    /// A signal handler ran.
    Signalled,
}

impl Handle {
    /// Register a handle; `kind` and `tag` as in the layout, a tag of 0 is its own.
    pub(crate) fn new(shared: User, set: Set, kind: u64, tag: u64) -> Result<Handle> {
        let signal = Arc::new(Signal {
            interrupted: AtomicBool::new(false),
            fd: OnceLock::new(),
            word: AtomicU32::new(0),
            armed: AtomicBool::new(false),
            watch: Mutex::new(None),
            tasks: task::Tasks::default(),
        });
        let index = if shared.read_only { None } else { Some(shared.take_record(&signal)?) };
        shared.provide_pages();
        if let Some(index) = index {
            let (ctl, at) = (&shared.ctl, handle_at(index));
            for word in [ASLEEP, ARMED, SIGNAL] {
                ctl.store(at + word, 0, Relaxed);
            }
            let own = 1 << 63 | index as u64;
            ctl.store(at + TAG, if tag == 0 { own } else { tag }, Relaxed);
            ctl.store(at + MEMBER, shared.member as u64, Relaxed);
            crate::engine::abandoned::register(ctl, at);
            ctl.store(at + KIND, kind, Release);
        }
        Ok(Handle { shared, signal, index, set })
    }

    /// Where the record lies; the caller's channel is writable.
    pub(crate) fn record(&self) -> usize {
        handle_at(self.index.unwrap_or(0))
    }

    pub(crate) fn interrupter(&self) -> Interrupter {
        let shared = self.shared.arc().clone();
        Interrupter { signal: self.signal.clone(), shared, index: self.index }
    }

    /// Fails in a forked child.
    #[inline(always)]
    pub(crate) fn check_fork(&self) -> Result<()> {
        if fork::is_foreign(self.shared.generation) {
            return Err(forked());
        }
        Ok(())
    }

    /// Take a pending interrupt.
    pub(crate) fn interrupted(&self) -> bool {
        self.signal.interrupted.swap(false, SeqCst)
    }

    /// Sleep until woken, at most `most`, unless `ready`.
    pub(crate) fn sleep(&self, most: Duration, ready: impl Fn() -> bool) -> Slept {
        let most = most.min(SLEEP_MAX);
        let Some(index) = self.index else {
            // Read-only: nobody can see that we sleep. News is looked for every 10 ms.
            let most = most.min(Duration::from_millis(10));
            if self.signal.interrupted.load(SeqCst) {
                return Slept::Again { woken: false };
            }
            return match futex::wait(self.signal.word.as_ptr(), 0, most) {
                Wake::Interrupted => Slept::Signalled,
                _ => Slept::Again { woken: false },
            };
        };
        let ctl = &self.shared.ctl;
        let mut wake = Wake::Changed;
        let woken = self.set.sleep(ctl, index, || {
            if !ready() && !self.signal.interrupted.load(SeqCst) {
                wake = futex::wait(ctl.futex(handle_at(index) + ASLEEP), 1, most);
            }
        });
        match wake {
            Wake::Interrupted => Slept::Signalled,
            _ => Slept::Again { woken },
        }
    }

    /// The event descriptor, made and armed on the first call. `watch` tells whether it should be
    /// readable; the library thread asks it now and then.
    pub(crate) fn fd(&self, watch: Watch) -> Result<RawFd> {
        self.check_fork()?;
        if let Some(fd) = self.signal.fd.get() {
            return Ok(fd.raw());
        }
        if self.shared.flags & NO_THREAD != 0 {
            return Err(fail!(
                DC_E_UNSUPPORTED,
                "event descriptors need the library thread, which DC_NO_THREAD forbids"
            ));
        }
        let fd = EventFd::new()
            .map_err(|e| Error::os(e, format_args!("cannot make an event descriptor")))?;
        let raw = fd.raw();
        let _ = self.signal.fd.set(fd);
        *self.signal.watch.lock() = Some(watch);
        if self.index.is_none() {
            self.shared.register_local(&self.signal);
        }
        self.shared.arc().start_worker()?;
        Ok(raw)
    }

    /// Whether there is a descriptor to keep armed.
    #[inline(always)]
    pub(crate) fn has_fd(&self) -> bool {
        self.signal.fd.get().is_some()
    }

    /// Nothing was found: make the descriptor unreadable and ask to be told; true: `ready` turned true
    /// meanwhile, and the descriptor is readable.
    pub(crate) fn arm(&self, ready: impl Fn() -> bool) -> bool {
        let Some(fd) = self.signal.fd.get() else {
            return false;
        };
        fd.drain();
        if let Some(index) = self.index {
            self.set.arm(&self.shared.ctl, index, BY_DESCRIPTOR);
        } else {
            self.signal.armed.store(true, SeqCst);
        }
        if ready() || self.signal.interrupted.load(SeqCst) {
            fd.signal();
            return true;
        }
        false
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if fork::is_foreign(self.shared.generation) {
            return;
        }
        *self.signal.watch.lock() = None;
        self.shared.release_pages();
        match self.index {
            Some(index) => self.shared.give_record(index, self.set),
            None => self.shared.forget_local(&self.signal),
        }
    }
}

pub(crate) fn forked() -> Error {
    fail!(
        DC_E_FORKED,
        "this handle was opened before fork in the parent process: open the channel anew in the child"
    )
}

impl Shared {
    fn take_record(&self, signal: &Arc<Signal>) -> Result<usize> {
        let mut table = self.handles.lock();
        let err = |e: i32| Error::os(e, format_args!("cannot lock a handle record"));
        // Records that look free first, then those a dead process may have left.
        for pass in 0..2 {
            for index in 0..HANDLES {
                let kind = self.ctl.load(handle_at(index) + KIND, Acquire);
                if table.signals[index].is_some() || (kind == 0) != (pass == 0) {
                    continue;
                }
                let byte = LOCK_HANDLES + index as u64;
                if lock::try_exclusive(&self.file, byte, 1).map_err(err)? {
                    table.signals[index] = Some(signal.clone());
                    return Ok(index);
                }
            }
        }
        Err(fail!(
            DC_E_LIMIT,
            "{}: all {HANDLES} handles of the channel are in use: close some",
            self.path.display()
        ))
    }

    fn give_record(&self, index: usize, set: Set) {
        let mut table = self.handles.lock();
        self.ctl.store(handle_at(index) + KIND, 0, SeqCst);
        self.ctl.store(handle_at(index) + ARMED, 0, SeqCst);
        set.take(&self.ctl, index);
        lock::unlock(&self.file, LOCK_HANDLES + index as u64, 1);
        table.signals[index] = None;
    }

    fn register_local(&self, signal: &Arc<Signal>) {
        self.handles.lock().signals.push(Some(signal.clone()));
    }

    fn forget_local(&self, signal: &Arc<Signal>) {
        let is = |s: &Option<Arc<Signal>>| s.as_ref().is_some_and(|s| Arc::ptr_eq(s, signal));
        self.handles.lock().signals.retain(|s| !is(s));
    }

    /// Whether the owner of a handle record lives.
    pub(crate) fn alive(&self, index: usize) -> bool {
        if self.handles.lock().signals.get(index).is_some_and(Option::is_some) {
            return true;
        }
        if planted!("dead_taken_for_alive") {
            return true;
        }
        // An error says nothing about its death: take it for alive.
        lock::held_by_other(&self.file, LOCK_HANDLES + index as u64, 1).unwrap_or(true)
    }

    /// Live producers and consumers.
    pub(crate) fn count_handles(&self) -> (u64, u64) {
        let (mut producers, mut consumers) = (0, 0);
        for index in 0..HANDLES {
            let kind = self.ctl.load(handle_at(index) + KIND, Acquire);
            if kind != 0 && self.alive(index) {
                *(if kind == KIND_PRODUCER { &mut producers } else { &mut consumers }) += 1;
            }
        }
        (producers, consumers)
    }
}
