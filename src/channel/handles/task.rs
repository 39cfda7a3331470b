//! Tasks that wait for a handle: their wakers, and when these are called.
//!
//! A task registers its waker, arms the handle, looks once more, and only then is pending. Whoever makes news
//! signals the handle (S-SLEEP), which wakes everybody registered here: at once in the same process, by the
//! library thread in another. The lock around the wakers orders the rest (S-TASK): a signal that comes too early to
//! find a waker came before it was registered, so the look after that sees the news.

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::task::Waker;

use super::{Handle, Watch};
use crate::engine::sleepers::BY_TASK;
use crate::error::{fail, Result, DC_E_UNSUPPORTED};
use crate::options::NO_THREAD;
use crate::sync::{Acquire, AtomicBool, AtomicU64, Mutex, Relaxed, Release, SeqCst};

/// The tasks that wait for one handle: mostly one.
#[derive(Default)]
pub(crate) struct Tasks {
    /// There may be some, from now on.
    expected: AtomicBool,
    /// The last number given.
    last: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    one: Option<(u64, Waker)>,
    more: Vec<(u64, Waker)>,
}

impl Tasks {
    pub(super) fn expected(&self) -> bool {
        self.expected.load(Acquire)
    }

    /// Have `waker` woken by the next signal; `id` says which of the tasks it is, 0 that it is a new one.
    fn register(&self, id: &mut u64, waker: &Waker) {
        if *id == 0 {
            *id = self.last.fetch_add(1, Relaxed) + 1;
        }
        let (own, mut new) = (*id, waker.clone());
        let mut waiting = self.waiting.lock();
        let Waiting { one, more } = &mut *waiting;
        let free = one.is_none();
        let same = |w: &&mut (u64, Waker)| w.0 == own;
        match one.iter_mut().chain(more.iter_mut()).find(same) {
            Some(found) => std::mem::swap(&mut found.1, &mut new),
            None => {
                if free {
                    *one = Some((own, new));
                } else {
                    more.push((own, new));
                }
                return;
            }
        }
        drop(waiting);
        // The old one: what its drop does is not for us to know, so no lock is held.
        later(new, false);
    }

    /// A task waits no more; true: it was the last one.
    fn forget(&self, id: u64) -> bool {
        let mut waiting = self.waiting.lock();
        let mut gone = waiting.one.take_if(|w| w.0 == id);
        if let (None, Some(i)) = (&gone, waiting.more.iter().position(|w| w.0 == id)) {
            gone = Some(waiting.more.swap_remove(i));
        }
        let last = waiting.one.is_none() && waiting.more.is_empty();
        drop(waiting);
        if let Some((_, waker)) = gone {
            later(waker, false);
        }
        last
    }

    /// Wake whoever waits.
    pub(super) fn wake(&self) {
        if !self.expected() {
            return;
        }
        // S-TASK
        let Waiting { one, more } = std::mem::take(&mut *self.waiting.lock());
        for (_, waker) in one.into_iter().chain(more) {
            later(waker, true);
        }
    }
}

/// What a thread does with the wakers it is to call.
#[derive(Clone, Copy, PartialEq)]
enum Calls {
    Now,
    /// It is inside [`deferred`].
    Later,
    /// It is, and has put some aside.
    Waiting,
}

thread_local! {
    static CALLS: Cell<Calls> = const { Cell::new(Calls::Now) };
    /// The wakers put aside, and whether each is to be woken or dropped.
    static ASIDE: RefCell<Vec<(Waker, bool)>> = const { RefCell::new(Vec::new()) };
}

/// Wake or drop a waker, now or at the end of [`deferred`].
pub(crate) fn later(waker: Waker, wake: bool) {
    let mut waker = Some(waker);
    if CALLS.get() != Calls::Now {
        let _ = ASIDE.try_with(|all| all.borrow_mut().extend(waker.take().map(|w| (w, wake))));
        CALLS.set(Calls::Waiting);
    }
    // Not deferred, or the thread is about to end.
    if let Some(waker) = waker {
        call(waker, wake);
    }
}

/// What a waker's panic would unwind is not the waker's: a send that is done, or the library thread.
fn call(waker: Waker, wake: bool) {
    let _ = catch_unwind(AssertUnwindSafe(|| if wake { waker.wake() } else { drop(waker) }));
}

/// Do something under a lock; the wakers it calls are called once the lock is let go of, as they may want it.
#[inline(always)]
pub(crate) fn deferred<T>(act: impl FnOnce() -> T) -> T {
    struct End;
    impl Drop for End {
        #[inline(always)]
        fn drop(&mut self) {
            if CALLS.replace(Calls::Now) == Calls::Waiting {
                call_those_aside();
            }
        }
    }
    CALLS.set(Calls::Later);
    let _end = End;
    act()
}

#[cold]
fn call_those_aside() {
    // Bounded by what was put aside: what these calls wake is woken at once, unless they defer in turn.
    while let Ok(Some((waker, wake))) = ASIDE.try_with(|all| all.borrow_mut().pop()) {
        call(waker, wake);
    }
}

/// A handle's side of one or more tasks.
#[derive(Default)]
pub(crate) struct Listener {
    listening: bool,
    armed: bool,
}

impl Handle {
    /// Have the task woken when there is news. `Ok(true)`: there is some by now, by `ready`; look again.
    /// `watch` tells the library thread whether there is.
    pub(crate) fn listen(
        &self,
        listener: &mut Listener,
        id: &mut u64,
        waker: &Waker,
        watch: impl FnOnce() -> Watch,
        ready: impl Fn() -> bool,
    ) -> Result<bool> {
        if !listener.listening {
            self.expect_tasks(watch())?;
            listener.listening = true;
        }
        self.signal.tasks.register(id, waker);
        listener.armed = true;
        match self.index {
            Some(index) => self.set.arm(&self.shared.ctl, index, BY_TASK),
            None => self.signal.armed.store(true, SeqCst),
        }
        Ok(ready())
    }

    /// A task waits no more. True: a wake was spent on this handle; whoever does not use it up passes it on.
    pub(crate) fn unlisten(&self, listener: &mut Listener, id: &mut u64) -> bool {
        let id = std::mem::take(id);
        // Others that wait for the handle keep it armed.
        if id == 0 || !self.signal.tasks.forget(id) || !std::mem::take(&mut listener.armed) {
            return false;
        }
        match self.index {
            Some(index) => self.set.disarm(&self.shared.ctl, index),
            None => false,
        }
    }

    #[cold]
    fn expect_tasks(&self, watch: Watch) -> Result<()> {
        if self.shared.flags & NO_THREAD != 0 {
            return Err(fail!(
                DC_E_UNSUPPORTED,
                "tasks need the library thread, which DC_NO_THREAD forbids"
            ));
        }
        *self.signal.watch.lock() = Some(watch);
        self.signal.tasks.expected.store(true, Release);
        self.shared.arc().start_worker()
    }
}
