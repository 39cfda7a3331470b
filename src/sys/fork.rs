//! What `fork` must not share.
//!
//! A child inherits every descriptor, and with it our locks: the kernel would believe that a parent
//! that died still lives. So the child closes them, first thing, in a `pthread_atfork` handler, and
//! only closes: unlocking would unlock the parent. What is open is a bitmap by descriptor number.
//!
//! Whatever the child inherited in memory belongs to its parent too. Each handle remembers the
//! *generation* of the process that made it, and is foreign where that differs. The generation lies
//! in a page that the kernel wipes in children (`MADV_WIPEONFORK`), so that children made by a raw
//! system call, in which no handler runs, notice as well (their copies of the descriptors stay open
//! until they exit or call `exec`).
//!
//! Opening with registering, and closing with unregistering, exclude a fork by another thread: it
//! would leave the child a descriptor that nobody closes, or close a number that is somebody
//! else's. That lock is in the wiped page too, so that no child inherits it locked.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::errno::Os;
use super::futex;

/// Descriptors that can be registered: the kernel's own limit, unless an administrator raised it.
const FD_MAX: usize = 1 << 20;
/// How long a fork waits for others' opening and closing: for ever would be a deadlock when a
/// signal handler forks amid one of them.
const PATIENCE: Duration = Duration::from_secs(1);
/// A generation in the making.
const RENEWING: u64 = u64::MAX;
/// `Page::gate` counts those who open or close (below) and those who fork (from this bit).
const FORKING: u32 = 1 << 20;

#[repr(C, align(4096))]
struct Page {
    generation: AtomicU64,
    gate: AtomicU32,
}

impl Page {
    const fn new() -> Page {
        Page { generation: AtomicU64::new(0), gate: AtomicU32::new(0) }
    }
}

/// In use when no page can be mapped: then only the fork handlers tell.
static FALLBACK: Page = Page::new();
static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());
/// The last generation given in this process or an ancestor: a child's is always greater than those
/// of the processes it could have inherited from. Not wiped.
static LAST: AtomicU64 = AtomicU64::new(0);
static READY: AtomicBool = AtomicBool::new(false);
static INSTALL: Mutex<()> = Mutex::new(());

static OPEN: [AtomicU64; FD_MAX / 64] = [const { AtomicU64::new(0) }; FD_MAX / 64];
/// Words of `OPEN` that were ever used.
static OPEN_WORDS: AtomicUsize = AtomicUsize::new(0);

extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
}

/// The generation of this process; never 0.
#[inline]
pub fn generation() -> u64 {
    match current() {
        0 | RENEWING => renew(),
        g => g,
    }
}

/// Whether `generation` was read in another process than this one, that is: before a fork.
#[inline]
pub fn is_foreign(generation: u64) -> bool {
    current() != generation
}

/// 0 before the first use, and in a child that no handler ran in.
#[inline]
fn current() -> u64 {
    // Acquire (fork-page): the page is zeroed before its address is published.
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: null or a page that is never unmapped.
    match unsafe { page.as_ref() } {
        // Relaxed: a number without data behind it.
        Some(page) => page.generation.load(Ordering::Relaxed),
        None => 0,
    }
}

#[cold]
fn renew() -> u64 {
    let generation = &page().generation;
    // Not bounded: whoever is renewing only clears a table.
    loop {
        match generation.compare_exchange(0, RENEWING, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => break,
            Err(RENEWING) => std::thread::yield_now(),
            Err(g) => return g,
        }
    }
    // The first use in this process, or in a child that no handler ran in: it may have closed what
    // its parent registered, and given those numbers to others. Done before anybody registers.
    each_open(|_| ());
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    generation.store(fresh, Ordering::Relaxed);
    fresh
}

fn page() -> &'static Page {
    // Acquire and Release (fork-page): as in `current`.
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: null or a page that is never unmapped.
    if let Some(page) = unsafe { page.as_ref() } {
        return page;
    }
    let fresh = map_page();
    match PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: never unmapped from here on.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            if !ptr::eq(fresh, &FALLBACK) {
                // SAFETY: mapped just above and given to nobody.
                unsafe { libc::munmap(fresh.cast(), size_of::<Page>()) };
            }
            // SAFETY: not null, and never unmapped.
            unsafe { &*other }
        }
    }
}

/// A zeroed page that is zeroed again in every child.
fn map_page() -> *mut Page {
    let (len, access) = (size_of::<Page>(), libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new map, wherever there is room.
    let page = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return (&raw const FALLBACK).cast_mut();
    }
    // SAFETY: the page is ours. Kernels before 4.14 refuse, and the handlers have to suffice.
    unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) };
    page.cast()
}

/// Whether opening and closing is under way in this thread: no fork happens meanwhile.
pub(super) struct Entry(&'static Page);

/// Begin to open or close descriptors.
pub(super) fn enter() -> Os<Entry> {
    if !READY.load(Ordering::Acquire) {
        install()?;
    }
    generation();
    let page = page();
    // Not bounded: a fork waits at most `PATIENCE` before it ends, and a child's gate is open.
    loop {
        let gate = page.gate.load(Ordering::Relaxed);
        if gate >= FORKING {
            futex::wait(page.gate.as_ptr(), gate, Duration::from_millis(10));
            continue;
        }
        // Acquire (fork-gate): after the fork that ended here.
        let entered =
            page.gate.compare_exchange_weak(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed);
        if entered.is_ok() {
            return Ok(Entry(page));
        }
    }
}

impl Entry {
    /// Have children close `fd`.
    pub(super) fn register(&self, fd: c_int) -> Os<()> {
        let at = usize::try_from(fd).map_err(|_| libc::EBADF)?;
        let word = OPEN.get(at / 64).ok_or(libc::EMFILE)?;
        OPEN_WORDS.fetch_max(at / 64 + 1, Ordering::Relaxed);
        // Relaxed, here and wherever `OPEN` is: the gate orders it.
        word.fetch_or(1 << (at % 64), Ordering::Relaxed);
        Ok(())
    }

    /// Forget `fd`; whether it was registered.
    pub(super) fn unregister(&self, fd: c_int) -> bool {
        let Ok(at) = usize::try_from(fd) else {
            return false;
        };
        let Some(word) = OPEN.get(at / 64) else {
            return false;
        };
        let bit = 1 << (at % 64);
        word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Release (fork-gate): what was opened or closed, before the fork that waits for us.
        let before = self.0.gate.fetch_sub(1, Ordering::Release);
        if before > FORKING {
            futex::wake(self.0.gate.as_ptr(), i32::MAX);
        }
    }
}

/// Close a registered descriptor of this process.
pub(super) fn close(fd: c_int) {
    // Fails only before anything was registered.
    if let Ok(entry) = enter() {
        entry.unregister(fd);
        // SAFETY: the caller owns `fd`. Not retried: Linux has closed it even when interrupted.
        unsafe { libc::close(fd) };
    }
}

#[cold]
fn install() -> Os<()> {
    let _guard = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
    if READY.load(Ordering::Acquire) {
        return Ok(());
    }
    generation();
    // SAFETY: the handlers are functions of this library, and the C library forgets them when it
    // unloads the library.
    match unsafe { pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => {
            READY.store(true, Ordering::Release);
            Ok(())
        }
        e => Err(e),
    }
}

/// Before a fork, in the forking thread.
unsafe extern "C" fn prepare() {
    generation();
    let page = page();
    // Acquire (fork-gate): what was opened and closed until here.
    let mut gate = page.gate.fetch_add(FORKING, Ordering::Acquire) + FORKING;
    let start = Instant::now();
    while gate % FORKING != 0 && start.elapsed() < PATIENCE {
        futex::wait(page.gate.as_ptr(), gate, Duration::from_millis(10));
        gate = page.gate.load(Ordering::Acquire);
    }
}

/// After a fork, in the parent.
unsafe extern "C" fn parent() {
    let page = page();
    // Release (fork-gate): the fork, before what is opened and closed after it.
    page.gate.fetch_sub(FORKING, Ordering::Release);
    futex::wake(page.gate.as_ptr(), i32::MAX);
}

/// After a fork, in the child, which has only this thread: async-signal-safe.
unsafe extern "C" fn child() {
    let page = page();
    // Where the kernel did not wipe the page.
    page.gate.store(0, Ordering::Relaxed);
    page.generation.store(LAST.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    // SAFETY: a copy of a descriptor that the parent owns, and of which nobody here may make use.
    each_open(|fd| unsafe {
        libc::close(fd);
    });
}

/// Call `f` with each registered descriptor, and forget them all.
fn each_open(f: impl Fn(c_int)) {
    for (i, word) in OPEN.iter().take(OPEN_WORDS.load(Ordering::Relaxed)).enumerate() {
        let mut bits = word.swap(0, Ordering::Relaxed);
        while bits != 0 {
            f((i * 64) as c_int + bits.trailing_zeros() as c_int);
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::eventfd::EventFd;
    use super::super::file::tests::Temp;
    use super::super::lock;
    use super::*;

    /// Run `f` in a forked child and return its wait status. `f` does not panic.
    pub fn in_child(f: impl FnOnce() -> c_int) -> c_int {
        // SAFETY: the child only runs `f`.
        reap(unsafe { libc::fork() }, f)
    }

    fn reap(pid: libc::pid_t, f: impl FnOnce() -> c_int) -> c_int {
        assert!(pid >= 0);
        if pid == 0 {
            let code = f();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` is writable.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        status
    }

    fn is_open(fd: c_int) -> bool {
        // SAFETY: takes integers only.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    }

    #[test]
    fn a_child_closes_and_the_parent_keeps_its_lock() {
        let temp = Temp::new();
        let dir = temp.dir();
        let fd = dir.create_new("f").unwrap();
        let event = EventFd::new().unwrap();
        assert_eq!(lock::try_exclusive(&fd, 0, 1), Ok(true));
        let mine = generation();
        assert!(mine != 0 && !is_foreign(mine));
        let (fd_raw, event_raw) = (fd.raw(), event.raw());
        assert!(is_open(fd_raw) && is_open(event_raw));
        let status = in_child(|| {
            let closed = !is_open(fd_raw) && !is_open(event_raw);
            let foreign = is_foreign(mine) && generation() != mine && !is_foreign(generation());
            // Given to others in this child: dropping the old handle must leave them alone.
            // SAFETY: takes integers only.
            let reused =
                unsafe { libc::dup2(2, fd_raw) == fd_raw && libc::dup2(2, event_raw) >= 0 };
            let silent = fd.raw() == -1 && fd.stat().err() == Some(libc::EBADF);
            event.signal();
            // SAFETY: the child exits without using them again.
            unsafe {
                ptr::drop_in_place((&raw const fd).cast_mut());
                ptr::drop_in_place((&raw const event).cast_mut());
            }
            let kept = is_open(fd_raw) && is_open(event_raw);
            c_int::from(!(closed && foreign && reused && silent && kept))
        });
        assert_eq!(status, 0);
        assert!(is_open(fd_raw) && !is_foreign(mine));
        let other = dir.open_file("f", true).unwrap();
        assert_eq!(lock::try_exclusive(&other, 0, 1), Ok(false));
    }

    #[test]
    fn a_child_of_a_raw_system_call_is_foreign_too() {
        let temp = Temp::new();
        let fd = temp.dir().create_new("f").unwrap();
        let mine = generation();
        // SAFETY: as fork, without the handlers; the child allocates nothing.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        let status = reap(pid as libc::pid_t, || {
            let foreign = is_foreign(mine);
            let fresh = generation();
            let ok = foreign && fresh != mine && fresh != 0 && !is_foreign(fresh);
            c_int::from(!(ok && fd.raw() == -1 && !is_foreign(generation())))
        });
        assert_eq!(status, 0);
        assert!(!is_foreign(mine));
    }

    #[test]
    fn registering_has_bounds() {
        let entry = enter().unwrap();
        let last = FD_MAX as c_int - 1;
        assert_eq!(entry.register(-1), Err(libc::EBADF));
        assert_eq!(entry.register(last + 1), Err(libc::EMFILE));
        assert!(!entry.unregister(-1) && !entry.unregister(last) && !entry.unregister(last + 1));
        assert_eq!(entry.register(last), Ok(()));
        assert!(entry.unregister(last));
    }

    #[test]
    fn forks_and_opens_of_many_threads_do_not_block() {
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| (0..20).for_each(|_| assert_eq!(in_child(|| 0), 0)));
                s.spawn(|| (0..200).for_each(|_| drop(EventFd::new().unwrap())));
            }
        });
    }
}
