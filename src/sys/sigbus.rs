//! The SIGBUS guard, installed only on request: a page of a channel that vanishes under us (its
//! file was truncated, its disk failed) becomes zeros and a flag instead of the program's end.
//!
//! The handler looks the address up in a table of our maps. If it is ours, it puts an anonymous page
//! there, marks the map lost, and returns: the instruction runs again and finds zeros. If not, the
//! signal goes to the handler that was there before us, or does what it did by default.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::errno::{self, Os};

/// Ranges guarded at once.
const SLOTS: usize = 4_096;

/// `si_code`s of SIGBUS (the same on every Linux) that name an address which can be replaced.
const BUS_ADRERR: c_int = 2;
const BUS_OBJERR: c_int = 3;
const BUS_MCEERR_AR: c_int = 4;
/// A memory error found in passing: informs of an address, but did not stop there.
const BUS_MCEERR_AO: c_int = 5;

struct Slot {
    /// Odd: being changed. The handler trusts what it read only between two equal even values.
    version: AtomicU32,
    taken: AtomicBool,
    lost: AtomicBool,
    base: AtomicUsize,
    /// One past the last byte; 0 when free.
    end: AtomicUsize,
}

impl Slot {
    const fn free() -> Slot {
        Slot {
            version: AtomicU32::new(0),
            taken: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            base: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
        }
    }

    /// Take a free slot.
    fn take(&self) -> bool {
        // Acquire (sigbus-slot): after the last owner's writes.
        !self.taken.load(Ordering::Relaxed)
            && self
                .taken
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Only by whoever has `taken` it.
    fn set(&self, base: usize, end: usize) {
        // Release (sigbus-range): odd before the fields change, even after.
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.base.store(base, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A seqlock's reader. A slot that changes meanwhile is not the one of the faulting map, which
    /// stays registered as long as it is used.
    fn contains(&self, address: usize) -> bool {
        // Acquire (sigbus-range): the fields lie between two reads of the version.
        let version = self.version.load(Ordering::Acquire);
        let base = self.base.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        version % 2 == 0
            && self.version.load(Ordering::Relaxed) == version
            && (base..end).contains(&address)
    }
}

static TABLE: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];
/// Slots that were ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// What was to be done on SIGBUS before us: written once, before our handler is installed.
struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);
// SAFETY: written under `INSTALL` before the handler that reads it is installed, then never again.
unsafe impl Sync for Previous {}
static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));
/// The handler before us asked to be called once, and was.
static SPENT: AtomicBool = AtomicBool::new(false);
static INSTALLED: AtomicBool = AtomicBool::new(false);
static INSTALL: Mutex<()> = Mutex::new(());

/// The size of a memory page.
pub fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: no preconditions.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4_096) as usize;
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Install the handler, once per process. A program that replaces it later loses the guard, and a
/// thread that blocks SIGBUS never had it: the kernel kills without asking.
pub fn install() -> Os<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let _guard = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    page_size(); // Known before the handler needs it.
                 // SAFETY: nobody else writes it (`INSTALL`), and nobody reads it yet.
    let previous = unsafe { &mut *PREVIOUS.0.get() };
    // SAFETY: with no new action, only writes the present one.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) } != 0 {
        return Err(errno::last());
    }
    // SAFETY: filled just above.
    let previous = unsafe { previous.assume_init_ref() };
    // SAFETY: a struct of integers, a mask and an optional pointer: zeros are a value of each.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction =
        handle as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    if is_function(previous) {
        // Called from within ours, it finds the signals blocked that it asked for.
        action.sa_mask = previous.sa_mask;
        action.sa_flags |= previous.sa_flags & libc::SA_NODEFER;
    }
    // SAFETY: `handle` is async-signal-safe.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        return Err(errno::last());
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// Whether the handler was installed: some open of this process asked for the guard.
pub fn installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

fn is_function(action: &libc::sigaction) -> bool {
    !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

/// Guard a map; none when the table is full.
pub fn register(base: usize, len: usize) -> Option<usize> {
    let end = base.checked_add(len)?.checked_next_multiple_of(page_size())?;
    let (i, slot) = TABLE.iter().enumerate().find(|(_, slot)| slot.take())?;
    slot.lost.store(false, Ordering::Relaxed);
    slot.set(base, end);
    // Any order does: the handler that must see it runs in a thread that was given the map.
    USED.fetch_max(i + 1, Ordering::Relaxed);
    Some(i)
}

/// Guard it no longer; before it is unmapped.
pub fn unregister(slot: usize) {
    if let Some(slot) = TABLE.get(slot) {
        slot.set(0, 0);
        // Release (sigbus-slot): before the next owner's writes.
        slot.taken.store(false, Ordering::Release);
    }
}

/// Whether a page of the map vanished and was replaced by zeros.
pub fn lost(slot: usize) -> bool {
    // Acquire (sigbus-lost): the same thread's reads of zeros come after the flag by themselves;
    // other threads' see it no later than the data they were handed.
    TABLE.get(slot).is_some_and(|slot| slot.lost.load(Ordering::Acquire))
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = errno::last();
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let code = unsafe { (*info).si_code };
    if !(matches!(code, BUS_ADRERR | BUS_OBJERR | BUS_MCEERR_AR) && absorb(info)) {
        chain(signal, code, info, context);
    }
    errno::set(errno);
}

/// Replace the page of a guarded map; false when the address is not ours.
fn absorb(info: *mut libc::siginfo_t) -> bool {
    // SAFETY: these codes come with an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let used = USED.load(Ordering::Relaxed);
    let Some(slot) = TABLE.iter().take(used).find(|slot| slot.contains(address)) else {
        return false;
    };
    // Release (sigbus-lost): before the zeros appear.
    slot.lost.store(true, Ordering::Release);
    let size = page_size();
    let page = ptr::without_provenance_mut(address - address % size);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: replaces one page of a map that this crate made and that a thread is using right now.
    unsafe { libc::mmap(page, size, access, flags, -1, 0) != libc::MAP_FAILED }
}

/// Do what would have been done without us.
fn chain(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: written before this handler was installed.
    let previous = unsafe { (*PREVIOUS.0.get()).assume_init_ref() };
    let once = previous.sa_flags & libc::SA_RESETHAND != 0;
    if is_function(previous) && !(once && SPENT.swap(true, Ordering::Relaxed)) {
        // SAFETY: what sigaction returned is such a function, of the kind its flags say.
        unsafe {
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                let f: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                    std::mem::transmute(previous.sa_sigaction);
                f(signal, info, context);
            } else {
                let f: extern "C" fn(c_int) = std::mem::transmute(previous.sa_sigaction);
                f(signal);
            }
        }
        return;
    }
    // Sent, or found in passing: returning would not raise it again.
    let sent = code <= 0 || code == BUS_MCEERR_AO;
    if sent && previous.sa_sigaction == libc::SIG_IGN {
        return;
    }
    // The default even if it was ignored: so does the kernel, rather than fault for ever.
    // SAFETY: async-signal-safe calls; zeros are the default action.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &action, ptr::null_mut());
        if sent {
            libc::raise(signal); // Blocked here, so it arrives on return.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::Temp;
    use super::super::fork::tests::in_child;
    use super::super::map::Map;
    use super::*;

    fn truncated(guard: bool) -> (Temp, Map) {
        let temp = Temp::new();
        let fd = temp.dir().create_new("f").unwrap();
        fd.allocate(0, 3 * 4_096).unwrap();
        let map = Map::new(&fd, 3 * 4_096, true, guard).unwrap();
        // SAFETY: within the map.
        unsafe { map.base().write_bytes(5, 3 * 4_096) };
        // SAFETY: takes integers only.
        assert_eq!(unsafe { libc::ftruncate(fd.raw(), 4_096) }, 0);
        (temp, map)
    }

    fn byte(map: &Map, at: usize) -> u8 {
        // SAFETY: within the map.
        unsafe { map.base().add(at).read_volatile() }
    }

    #[test]
    fn a_vanished_page_becomes_zeros() {
        let (_temp, map) = truncated(true);
        assert_eq!(byte(&map, 4_095), 5);
        assert!(!map.lost());
        errno::set(7);
        assert_eq!(byte(&map, 4_096), 0);
        assert_eq!(errno::last(), 7);
        assert!(map.lost());
        // SAFETY: within the map.
        unsafe { map.base().add(3 * 4_096 - 1).write_volatile(6) };
        assert_eq!(byte(&map, 3 * 4_096 - 1), 6);
        drop(map);
        let (_temp, map) = truncated(true);
        assert!(!map.lost());
    }

    /// In a child: have found `action` (with `flags`) when we were installed.
    fn pretend(action: usize, flags: c_int) {
        // SAFETY: zeros are a value of it.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        previous.sa_sigaction = action;
        previous.sa_flags = flags;
        // SAFETY: the child has one thread, and no signal arrives meanwhile.
        unsafe { (*PREVIOUS.0.get()).write(previous) };
    }

    fn died(status: c_int) -> bool {
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS
    }

    #[test]
    fn what_is_not_ours_has_its_default_effect() {
        install().unwrap();
        let (_temp, map) = truncated(false);
        let fault = || c_int::from(byte(&map, 4_096));
        // SAFETY: a signal to itself.
        let sent = || unsafe { libc::raise(libc::SIGBUS) };
        assert!(died(in_child(fault))); // To Rust's own handler, which gives up.
        for ignored in [false, true] {
            let action = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
            let with = |f: &dyn Fn() -> c_int| {
                in_child(|| {
                    pretend(action, 0);
                    f()
                })
            };
            assert!(died(with(&fault)));
            assert_eq!(died(with(&sent)), !ignored);
        }
    }

    #[test]
    fn what_is_not_ours_reaches_the_handler_before() {
        extern "C" fn short(signal: c_int) {
            // SAFETY: no preconditions.
            unsafe { libc::_exit(if signal == libc::SIGBUS { 41 } else { 1 }) };
        }
        extern "C" fn long(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
            // SAFETY: a handler's siginfo.
            let at = unsafe { (*info).si_addr() } as usize;
            let good = at % 4_096 == 17 && !context.is_null();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(if good { 42 } else { 1 }) };
        }
        install().unwrap();
        let (_temp, map) = truncated(false);
        let (short, long) = (short as extern "C" fn(_), long as extern "C" fn(_, _, _));
        for (handler, flags, code) in
            [(short as usize, 0, 41), (long as usize, libc::SA_SIGINFO, 42)]
        {
            let status = in_child(|| {
                pretend(handler, flags);
                byte(&map, 4_096 + 17).into()
            });
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == code);
        }
    }

    #[test]
    fn the_table_has_an_end_and_is_reused() {
        let base = 1 << 46; // Nobody's addresses.
        let slots: Vec<_> = std::iter::from_fn(|| register(base, 1)).collect();
        assert!(slots.len() > SLOTS - 100);
        assert!(TABLE[slots[0]].contains(base + page_size() - 1));
        assert!(!TABLE[slots[0]].contains(base + page_size()));
        slots.iter().for_each(|slot| unregister(*slot));
        assert!(!TABLE[slots[0]].contains(base));
        let again = register(base, 1);
        unregister(again.unwrap());
        assert_eq!(register(usize::MAX, 2), None);
    }
}
