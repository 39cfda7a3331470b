//! Processes that share memory: forked, so that they have the library without loading it again, and
//! meant to be killed. What each of them did stands in memory that outlives it.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU8, Ordering::SeqCst};

use anyhow::{bail, Result};

/// Zeroed memory of one `T` that forked children share, unmapped when dropped.
pub struct SharedMemory<T>(*mut T);

impl<T> SharedMemory<T> {
    /// # Safety
    /// All zeros is a valid `T`, and all that changes in it is atomic.
    pub unsafe fn zeroed() -> Result<SharedMemory<T>> {
        let (len, prot) = (std::mem::size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            bail!("mmap: {}", std::io::Error::last_os_error());
        }
        Ok(SharedMemory(at.cast()))
    }
}

impl<T> Deref for SharedMemory<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: mapped until dropped; a valid `T` by the promise of `zeroed`.
        unsafe { &*self.0 }
    }
}

impl<T> Drop for SharedMemory<T> {
    fn drop(&mut self) {
        // SAFETY: our mapping, which no reference outlives.
        unsafe { libc::munmap(self.0.cast(), std::mem::size_of::<T>()) };
    }
}

/// The first failure of any process, in words.
pub struct Note {
    len: AtomicU32,
    text: [AtomicU8; 600],
}

impl Note {
    /// Keep `text`, unless there is one.
    pub fn put(&self, text: &str) {
        let len = text.len().min(self.text.len());
        if self.len.compare_exchange(0, len as u32, SeqCst, SeqCst).is_ok() {
            for (to, byte) in self.text.iter().zip(text.bytes()) {
                to.store(byte, SeqCst);
            }
        }
    }

    pub fn get(&self) -> Option<String> {
        let len = self.len.load(SeqCst) as usize;
        let bytes: Vec<u8> = self.text[..len].iter().map(|b| b.load(SeqCst)).collect();
        (len > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Run `body` in a process of its own: it exits with 0, or with 1 and the reason in `note`.
pub fn spawn(note: &Note, body: impl FnOnce() -> Result<()>) -> Result<libc::pid_t> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => bail!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: plain system calls; `_exit` runs no handlers of the parent.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                let code = match body() {
                    Ok(()) => 0,
                    Err(e) => {
                        note.put(&format!("{e:#}"));
                        1
                    }
                };
                libc::_exit(code)
            }
        }
        pid => Ok(pid),
    }
}

/// Run `body` in the first process of a PID namespace of its own; `None`: not allowed here.
pub fn spawn_in_namespace(
    note: &Note,
    body: impl FnOnce() -> Result<()>,
) -> Result<Option<libc::pid_t>> {
    use std::os::fd::AsRawFd;
    let own = std::fs::File::open("/proc/self/ns/pid")?;
    // SAFETY: plain system calls; children alone are affected.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return Ok(None);
    }
    let child = spawn(note, body);
    // SAFETY: a descriptor of this process's namespace, to have further children in it again.
    if unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWPID) } != 0 {
        bail!("setns: {}", std::io::Error::last_os_error());
    }
    child.map(Some)
}

/// A child's status once it has ended; `None`: it lives.
pub fn ended(pid: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: valid pointer.
    (unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG | libc::__WALL) } == pid)
        .then_some(status)
}

/// Send SIGKILL to a child and reap it; its status.
pub fn kill(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: our child, which is reaped here and nowhere else; valid pointer. A traced one may
    // report stops before its end.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, &mut status, libc::__WALL) == pid && libc::WIFSTOPPED(status) {}
    }
    status
}

/// Monotonic milliseconds.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Monotonic nanoseconds.
pub fn now_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Sleep so many microseconds.
pub fn sleep_us(us: u64) {
    std::thread::sleep(std::time::Duration::from_micros(us));
}
